#!/usr/bin/env bash
# A PostgreSQL that behaves like RDS, an emulated AWS, rds-sidecar between them and psql: what a test sees, and what is
# behind it. Everything it starts is stopped at the end; exits 0 only if all of it went as told.
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

say "1. The sandbox: OIDC issuer, STS and a PostgreSQL that takes RDS tokens"
rds-sandbox up --env-file "$work/env" >"$work/sandbox.log" 2>&1 &
started+=($!)
wait_until 60 grep -qx ready "$work/sandbox.log"
# shellcheck disable=SC1091
. "$work/env"
echo "a CI job would have: RDS_SIDECAR_ROLE_ARN=$RDS_SIDECAR_ROLE_ARN"
echo "                     RDS_SIDECAR_ID_TOKEN=${RDS_SIDECAR_ID_TOKEN:0:16}... (an OIDC ID token, never shown)"
echo "                     RDS_SIDECAR_DATABASES=$RDS_SIDECAR_DATABASES"
claims=$(cut -d. -f2 <<<"$RDS_SIDECAR_ID_TOKEN" | tr '_-' '/+' | base64 -d 2>/dev/null || true)
echo "the token's claims:  $(grep -oE '"(iss|sub|aud)":"[^"]*"' <<<"$claims" | tr '\n' ' ')"

say "2. rds-sidecar, with that environment and nothing else"
port=$(free_port) admin=$(free_port)
serve() { # serve NAME LISTEN ADMIN [VARIABLE=VALUE...]
    local name=$1 listen=$2 at=$3
    shift 3
    env "$@" rds-sidecar run --listen "127.0.0.1:$listen" --admin "127.0.0.1:$at" >"$work/$name.log" 2>&1 &
    started+=($!)
}
serve sidecar "$port" "$admin"
show rds-sidecar wait --timeout 30s --admin "127.0.0.1:$admin" || fail "rds-sidecar did not become ready"
sed 's/^/    /' "$work/sidecar.log"

say "3. psql, as a test would: any user, any password, no TLS"
export PGCONNECT_TIMEOUT=20 PGPASSWORD=whatever PGHOST=localhost PGPORT=$port PGDATABASE=app PGUSER=anybody PGSSLMODE=disable
question="select current_user, current_database(), ssl as tls_to_the_server, version as tls, cipher
from pg_stat_ssl where pid = pg_backend_pid()"
show psql -X -P pager=off -c "$question" || fail "the query failed"
[ "$(psql -X -At -c 'select ssl from pg_stat_ssl where pid = pg_backend_pid()')" = t ] || fail "TLS to the server is off"

say "4. What opened the door: an RDS token, signed for this user and endpoint, valid for 15 minutes, never stored"
token=$(RDS_SIDECAR_LOG_LEVEL=warn rds-sidecar token "$RDS_SIDECAR_DATABASES")
for key in Action DBUser X-Amz-Date X-Amz-Expires; do
    printf '    %s\n' "$(grep -o "$key=[^&]*" <<<"$token")"
done
echo "    ... and a signature that the server's PAM module re-computes ($((${#token})) characters in all)"

say "5. The pool: five psql runs, one after the other, share one upstream connection"
pids=$(for _ in 1 2 3 4 5; do psql -X -At -c 'select pg_backend_pid()'; done)
echo "backend pids:" $pids
[ "$(sort -u <<<"$pids" | wc -l)" -eq 1 ] || fail "expected one upstream connection"

say "6. A refusal, explained where it is seen: this role may not connect to the database (no rds-db:connect)"
denied=$(free_port)
serve denied "$denied" "$(free_port)" RDS_SIDECAR_ROLE_ARN="${RDS_SIDECAR_ROLE_ARN%/*}/ci-no-database"
wait_until 30 bash -c ": </dev/tcp/127.0.0.1/$denied"
if show psql -X -p "$denied" -c 'select 1' 2>&1 | tee "$work/denied.txt"; then
    fail "the refused role reached the database"
fi
grep -q rds-db:connect "$work/denied.txt" || fail "the refusal does not name rds-db:connect"

say "7. And this one is not trusted at all: STS says no"
untrusted=$(free_port)
serve untrusted "$untrusted" "$(free_port)" RDS_SIDECAR_ROLE_ARN="${RDS_SIDECAR_ROLE_ARN%/*}/ci-other-project"
wait_until 30 bash -c ": </dev/tcp/127.0.0.1/$untrusted"
if show psql -X -p "$untrusted" -c 'select 1' 2>&1 | tee "$work/untrusted.txt"; then
    fail "the untrusted role reached the database"
fi
grep -q AccessDenied "$work/untrusted.txt" || fail "the refusal does not name AccessDenied"

say "Done: rows over verified TLS, with an identity that lives minutes and no stored secret."
