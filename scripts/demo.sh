#!/usr/bin/env bash
# A PostgreSQL and a MariaDB that behave like RDS, an emulated AWS, rds-sidecar between them and psql and mariadb: what a
# test sees, and what is behind it. Everything it starts is stopped at the end; exits 0 only if all of it went as told.
set -euo pipefail
cd "$(dirname "$0")/.."

bold=$'\e[1m' plain=$'\e[0m'
[ -t 1 ] || bold='' plain=''
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { # show COMMAND...: print it as one would type it, then run it
    local word line='$'
    for word; do
        [[ $word =~ ^[A-Za-z0-9_./:=-]+$ ]] || word="'$word'"
        line+=" $word"
    done
    printf '%s\n' "$line"
    "$@"
}

say "Building (the first time takes a minute or two)"
cargo build --quiet --locked --bin rds-sidecar --bin rds-sandbox
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/debug
PATH=$bin:$PATH

work=$(mktemp -d)
started=()
stop_all() { # by the ids of what this script started, youngest first
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        kill "${started[i]}" 2>/dev/null || true
        wait "${started[i]}" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap stop_all EXIT
fail() {
    echo "demo: $*" >&2
    tail -n 40 "$work"/*.log >&2 2>/dev/null || true
    exit 1
}
wait_until() { # wait_until SECONDS COMMAND...
    local tenths=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        ((tenths-- > 0)) || fail "gave up waiting for: $*"
        sleep 0.1
    done
}
free_port() { # one that nobody answers on just now
    local port
    while port=$((20000 + RANDOM % 10000)); (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

say "1. The sandbox: OIDC issuer, STS, and a PostgreSQL and a MariaDB that take RDS tokens"
rds-sandbox up --postgres --mysql --env-file "$work/env" >"$work/sandbox.log" 2>&1 &
started+=($!)
wait_until 60 grep -qx ready "$work/sandbox.log"
# shellcheck disable=SC1091
. "$work/env"
read -r postgres_url mysql_url <<<"$RDS_SIDECAR_DATABASES"
echo "a CI job would have: RDS_SIDECAR_ROLE_ARN=$RDS_SIDECAR_ROLE_ARN"
echo "                     RDS_SIDECAR_ID_TOKEN=${RDS_SIDECAR_ID_TOKEN:0:16}... (an OIDC ID token, never shown)"
echo "                     RDS_SIDECAR_DATABASES=$postgres_url"
echo "                                           $mysql_url"
claims=$(cut -d. -f2 <<<"$RDS_SIDECAR_ID_TOKEN" | tr '_-' '/+' | base64 -d 2>/dev/null || true)
echo "the token's claims:  $(grep -oE '"(iss|sub|aud)":"[^"]*"' <<<"$claims" | tr '\n' ' ')"

say "2. rds-sidecar, with that environment and a free port for each"
port=$(free_port) mysql_port=$(free_port) admin=$(free_port)
serve() { # serve NAME POSTGRES_PORT MYSQL_PORT ADMIN [VARIABLE=VALUE...]
    local name=$1 at=$4
    local urls="$postgres_url&listen=127.0.0.1:$2 $mysql_url&listen=127.0.0.1:$3"
    shift 4
    env RDS_SIDECAR_DATABASES="$urls" "$@" rds-sidecar run --admin "127.0.0.1:$at" >"$work/$name.log" 2>&1 &
    started+=($!)
}
serve sidecar "$port" "$mysql_port" "$admin"
show rds-sidecar wait --timeout 30s --admin "127.0.0.1:$admin" || fail "rds-sidecar did not become ready"
sed 's/^/    /' "$work/sidecar.log"

say "3. psql, as a test would: any user, any password, no TLS"
export PGCONNECT_TIMEOUT=20 PGPASSWORD=whatever PGHOST=127.0.0.1 PGPORT=$port PGDATABASE=app PGUSER=anybody PGSSLMODE=disable
question="select current_user, current_database(), ssl as tls_to_the_server, version as tls, cipher
from pg_stat_ssl where pid = pg_backend_pid()"
show psql -X -P pager=off -c "$question" || fail "the query failed"
[ "$(psql -X -At -c 'select ssl from pg_stat_ssl where pid = pg_backend_pid()')" = t ] || fail "TLS to the server is off"

say "4. mariadb, the same"
# Newer versions of the client insist on TLS, even on loopback.
client=(mariadb --skip-ssl --host=127.0.0.1 --user=anybody --password=whatever --database=app)
question='select current_user(), database(), version(), (select variable_value from information_schema.session_status
where variable_name = "SSL_CIPHER") as cipher_to_the_server'
show "${client[@]}" --port="$mysql_port" -e "$question" || fail "the query failed"
"${client[@]}" --port="$mysql_port" -e "show status like 'Ssl_cipher'" | grep -q TLS || fail "TLS to the server is off"

say "5. What opened the door: an RDS token, signed for this user and endpoint, valid for 15 minutes, never stored"
token=$(RDS_SIDECAR_LOG_LEVEL=warn rds-sidecar token "$postgres_url")
for key in Action DBUser X-Amz-Date X-Amz-Expires; do
    printf '    %s\n' "$(grep -o "$key=[^&]*" <<<"$token")"
done
echo "    ... and a signature that the server's PAM module re-computes ($((${#token})) characters in all)"

say "6. The pool: five psql runs, one after the other, share one upstream connection"
pids=$(for _ in 1 2 3 4 5; do psql -X -At -c 'select pg_backend_pid()'; done)
echo "backend pids:" $pids
[ "$(sort -u <<<"$pids" | wc -l)" -eq 1 ] || fail "expected one upstream connection"

say "7. A refusal, explained where it is seen: this role may not connect to the database (no rds-db:connect)"
denied=$(free_port) mysql_denied=$(free_port)
serve denied "$denied" "$mysql_denied" "$(free_port)" RDS_SIDECAR_ROLE_ARN="${RDS_SIDECAR_ROLE_ARN%/*}/ci-no-database"
wait_until 30 bash -c ": </dev/tcp/127.0.0.1/$denied"
if show psql -X -p "$denied" -c 'select 1' 2>&1 | tee "$work/denied.txt"; then
    fail "the refused role reached the database"
fi
grep -q rds-db:connect "$work/denied.txt" || fail "the refusal does not name rds-db:connect"
if show "${client[@]}" --port="$mysql_denied" -e 'select 1' 2>&1 | tee "$work/denied.txt"; then
    fail "the refused role reached the database"
fi
grep -q rds-db:connect "$work/denied.txt" || fail "the refusal does not name rds-db:connect"

say "8. And this one is not trusted at all: STS says no"
untrusted=$(free_port)
serve untrusted "$untrusted" "$(free_port)" "$(free_port)" RDS_SIDECAR_ROLE_ARN="${RDS_SIDECAR_ROLE_ARN%/*}/ci-other-project"
wait_until 30 bash -c ": </dev/tcp/127.0.0.1/$untrusted"
if show psql -X -p "$untrusted" -c 'select 1' 2>&1 | tee "$work/untrusted.txt"; then
    fail "the untrusted role reached the database"
fi
grep -q AccessDenied "$work/untrusted.txt" || fail "the refusal does not name AccessDenied"

say "Done: rows over verified TLS, with an identity that lives minutes and no stored secret."
