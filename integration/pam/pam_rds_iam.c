/* A PAM module that asks the rds-sandbox judge whether a token lets a database user in.
 *
 * PostgreSQL's `pam` method asks its client for a clear-text password and hands it to PAM: on RDS and here
 * that password is an IAM token. Debian's pam_exec cuts a password at 511 bytes, and a token is longer.
 *
 * The judge listens on the unix socket that RDS_SANDBOX_JUDGE names in the database server's environment,
 * so several sandboxes share one /etc/pam.d/rds-sandbox.
 *   request:  "<bytes of user> <bytes of token>\n" user token
 *   reply:    "OK\n" or "NO\n"
 */
#define _GNU_SOURCE
#include <errno.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define JUDGE_SECONDS_MAX 10

static int connect_to_judge(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = JUDGE_SECONDS_MAX};
    const char *path = secure_getenv("RDS_SANDBOX_JUDGE");
    if (path == NULL || strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);

    int judge = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (judge < 0)
        return -1;
    setsockopt(judge, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(judge, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(judge, (struct sockaddr *)&address, sizeof address) == 0)
        return judge;
    close(judge);
    return -1;
}

static int send_all(int judge, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(judge, bytes, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return 0;
        bytes += sent;
        count -= (size_t)sent;
    }
    return 1;
}

static int judge_accepts(const char *user, const char *token)
{
    char header[64];
    char reply[3] = {0};
    int judge = connect_to_judge();
    if (judge < 0)
        return 0;
    int length = snprintf(header, sizeof header, "%zu %zu\n", strlen(user), strlen(token));
    int accepted = send_all(judge, header, (size_t)length) && send_all(judge, user, strlen(user)) &&
                   send_all(judge, token, strlen(token)) &&
                   recv(judge, reply, sizeof reply, MSG_WAITALL) == (ssize_t)sizeof reply &&
                   memcmp(reply, "OK\n", sizeof reply) == 0;
    close(judge);
    return accepted;
}

int pam_sm_authenticate(pam_handle_t *pam, int flags, int argc, const char **argv)
{
    const char *user = NULL;
    const char *token = NULL;
    (void)flags, (void)argc, (void)argv;
    if (pam_get_user(pam, &user, NULL) != PAM_SUCCESS || user == NULL)
        return PAM_USER_UNKNOWN;
    if (pam_get_authtok(pam, PAM_AUTHTOK, &token, NULL) != PAM_SUCCESS || token == NULL)
        return PAM_AUTH_ERR;
    return judge_accepts(user, token) ? PAM_SUCCESS : PAM_AUTH_ERR;
}

int pam_sm_setcred(pam_handle_t *pam, int flags, int argc, const char **argv)
{
    (void)pam, (void)flags, (void)argc, (void)argv;
    return PAM_SUCCESS;
}

int pam_sm_acct_mgmt(pam_handle_t *pam, int flags, int argc, const char **argv)
{
    (void)pam, (void)flags, (void)argc, (void)argv;
    return PAM_SUCCESS;
}
