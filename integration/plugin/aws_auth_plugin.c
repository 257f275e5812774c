/* The server plugin AWSAuthenticationPlugin, which asks the rds-sandbox judge whether a token lets a user in.
 *
 * With it, MariaDB and MySQL take RDS's own SQL (CREATE USER u IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS')
 * and ask the client for mysql_clear_password as RDS does. One file serves both servers: each looks for symbols
 * of its own. The structs restate their public plugin interfaces, as far as they are used here, so that no server
 * headers are needed:
 *   MySQL    include/mysql/plugin.h, plugin_auth.h, plugin_auth_common.h
 *   MariaDB  include/mysql/plugin.h, plugin_auth.h, plugin_auth_common.h
 *
 * The judge listens on the unix socket that RDS_SANDBOX_JUDGE names in the database server's environment.
 *   request:  "<bytes of user> <bytes of token>\n" user token
 *   reply:    "OK\n" or "NO\n"
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define JUDGE_SECONDS_MAX 10

#define NAME "AWSAuthenticationPlugin"
#define AUTHOR "rds-sandbox"
#define DESCRIPTION "RDS IAM authentication, judged by rds-sandbox"
#define CLIENT_PLUGIN "mysql_clear_password"

#define KIND_AUTHENTICATION 7
#define LICENSE_GPL 1
#define ANSWER_ACCEPTED (-1)
#define ANSWER_REFUSED 0

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

static int judge_accepts(const char *user, size_t user_length, const char *token, size_t token_length)
{
    char header[64];
    char reply[3] = {0};
    int judge = connect_to_judge();
    if (judge < 0)
        return 0;
    int length = snprintf(header, sizeof header, "%zu %zu\n", user_length, token_length);
    int accepted = send_all(judge, header, (size_t)length) && send_all(judge, user, user_length) &&
                   send_all(judge, token, token_length) &&
                   recv(judge, reply, sizeof reply, MSG_WAITALL) == (ssize_t)sizeof reply &&
                   memcmp(reply, "OK\n", sizeof reply) == 0;
    close(judge);
    return accepted;
}

/* What both servers hand to a plugin. */
struct channel {
    int (*read_packet)(struct channel *, unsigned char **);
    int (*write_packet)(struct channel *, const unsigned char *, int);
    void (*info)(struct channel *, void *);
};
struct login {
    const char *user_name;
    unsigned user_name_length;
    const char *auth_string;
    unsigned long auth_string_length;
};

static int authenticate(struct channel *channel, const struct login *login, int *password_used)
{
    unsigned char *packet;
    int length = channel->read_packet(channel, &packet);
    if (length < 0)
        return ANSWER_REFUSED;
    if (length > 0 && packet[length - 1] == '\0')
        length--; /* the client ends the password with a NUL */
    *password_used = length > 0;
    return judge_accepts(login->user_name, login->user_name_length, (const char *)packet, (size_t)length)
               ? ANSWER_ACCEPTED
               : ANSWER_REFUSED;
}

static int nothing_to_do(void *plugin)
{
    (void)plugin;
    return 0;
}

/* MySQL 8 and 9 */

struct mysql_login {
    struct login login;
    char authenticated_as[32 * 3 + 1];
    char external_user[512];
    int password_used; /* lets a refusal read "(using password: YES)" */
};
struct mysql_handler {
    int interface_version;
    const char *client_plugin;
    int (*authenticate)(struct channel *, struct mysql_login *);
    int (*generate)(char *, unsigned *, const char *, unsigned);
    int (*validate)(char *, unsigned);
    int (*set_salt)(const char *, unsigned, unsigned char *, unsigned char *);
    unsigned long flags;
    void *compare;
};
struct mysql_plugin {
    int kind;
    void *handler;
    const char *name, *author, *description;
    int license;
    int (*init)(void *), (*check_uninstall)(void *), (*deinit)(void *);
    unsigned version;
    void *status_variables, **system_variables, *reserved;
    unsigned long flags;
};

static int mysql_authenticate(struct channel *channel, struct mysql_login *login)
{
    return authenticate(channel, &login->login, &login->password_used);
}

static int mysql_generate(char *out, unsigned *out_length, const char *in, unsigned in_length)
{
    (void)out, (void)in, (void)in_length;
    *out_length = 0;
    return 0;
}

static int mysql_validate(char *auth_string, unsigned length)
{
    (void)auth_string, (void)length;
    return 0;
}

static int mysql_set_salt(const char *password, unsigned length, unsigned char *salt, unsigned char *salt_length)
{
    (void)password, (void)length, (void)salt;
    *salt_length = 0;
    return 0;
}

static struct mysql_handler mysql_handler = {
    .interface_version = 0x0201,
    .client_plugin = CLIENT_PLUGIN,
    .authenticate = mysql_authenticate,
    .generate = mysql_generate,
    .validate = mysql_validate,
    .set_salt = mysql_set_salt,
};

int _mysql_plugin_interface_version_ = 0x010b;
int _mysql_sizeof_struct_st_plugin_ = sizeof(struct mysql_plugin);
struct mysql_plugin _mysql_plugin_declarations_[] = {
    {
        .kind = KIND_AUTHENTICATION,
        .handler = &mysql_handler,
        .name = NAME,
        .author = AUTHOR,
        .description = DESCRIPTION,
        .license = LICENSE_GPL,
        .init = nothing_to_do,
        .check_uninstall = nothing_to_do,
        .deinit = nothing_to_do,
        .version = 0x0100,
    },
    {0},
};

/* MariaDB, which prefers these symbols to MySQL's */

#define MATURITY_STABLE 5

struct mariadb_login {
    struct login login;
    char authenticated_as[512 + 1];
    char external_user[512 + 1];
    int password_used;
};
struct mariadb_handler {
    int interface_version;
    const char *client_plugin;
    int (*authenticate)(struct channel *, struct mariadb_login *);
    int (*hash_password)(const char *, size_t, char *, size_t *);
    int (*preprocess_hash)(const char *, size_t, unsigned char *, size_t *);
};
struct mariadb_plugin {
    int kind;
    void *handler;
    const char *name, *author, *description;
    int license;
    int (*init)(void *), (*deinit)(void *);
    unsigned version;
    void *status_variables, **system_variables;
    const char *version_text;
    unsigned maturity;
};

static int mariadb_authenticate(struct channel *channel, struct mariadb_login *login)
{
    return authenticate(channel, &login->login, &login->password_used);
}

static int mariadb_preprocess_hash(const char *hash, size_t length, unsigned char *out, size_t *out_length)
{
    (void)hash, (void)length, (void)out;
    *out_length = 0;
    return 0;
}

static struct mariadb_handler mariadb_handler = {
    .interface_version = 0x0202,
    .client_plugin = CLIENT_PLUGIN,
    .authenticate = mariadb_authenticate,
    .preprocess_hash = mariadb_preprocess_hash,
};

int _maria_plugin_interface_version_ = 0x010f;
int _maria_sizeof_struct_st_plugin_ = sizeof(struct mariadb_plugin);
struct mariadb_plugin _maria_plugin_declarations_[] = {
    {
        .kind = KIND_AUTHENTICATION,
        .handler = &mariadb_handler,
        .name = NAME,
        .author = AUTHOR,
        .description = DESCRIPTION,
        .license = LICENSE_GPL,
        .init = nothing_to_do,
        .deinit = nothing_to_do,
        .version = 0x0100,
        .version_text = "1.0",
        .maturity = MATURITY_STABLE,
    },
    {0},
};
