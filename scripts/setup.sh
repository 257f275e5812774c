#!/usr/bin/env bash
# Installs what cargo does not bring: a compiler, PostgreSQL, MariaDB, PAM headers, driver runtimes. Safe to run again;
# with everything in place it takes no time and touches nothing.
# usage: scripts/setup.sh [demo|test|bench]
set -euo pipefail
purpose=${1:-test}

missing=()
have() { command -v "$1" >/dev/null; }
need() { # need PACKAGE CHECK...: the package is wanted unless the check passes
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
any_file() { compgen -G "$1" >/dev/null; }

want_build() {
    need gcc have cc
    need libc6-dev test -e /usr/include/stdio.h
    need make have make
    need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
}
want_servers() {
    # Debian's meta package names the release's own version: 15 on bookworm, 17 on trixie. pgbench comes with it.
    need postgresql any_file '/usr/lib/postgresql/*/bin/initdb'
    need postgresql-client have psql
    need openssl have openssl
    need libpam0g-dev test -e /usr/include/security/pam_modules.h
    # The server without Debian's service around it. MySQL itself the sandbox fetches, where it can be had.
    need mariadb-server-core have /usr/sbin/mariadbd
    need mariadb-client-core have mariadb
}
want_drivers() {
    need python3 have python3
    need python3-venv python3 -c 'import venv, ensurepip'
    need nodejs have node
    need npm have npm
    # mysqlclient is built from source.
    need python3-dev test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"
    need libmariadb-dev have mariadb_config
    need pkg-config have pkg-config
    need php-cli have php
    need php-mysql php -r 'new ReflectionClass("mysqli");'
    # Connector/J, and a shell that runs it.
    need default-jre-headless have java
    need libmariadb-java test -e /usr/share/java/mariadb-java-client.jar
    need libh2-java test -e /usr/share/java/h2.jar
}

want_build
want_servers
case $purpose in
demo) ;;
test) want_drivers ;;
bench)
    need pgbouncer have /usr/sbin/pgbouncer
    need haproxy have /usr/sbin/haproxy
    need sysbench have sysbench
    ;;
*)
    echo "setup: unknown purpose '$purpose'; usage: scripts/setup.sh [demo|test|bench]" >&2
    exit 64
    ;;
esac
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
advise() {
    echo "setup: these packages are missing: ${missing[*]}" >&2
    echo "setup: $1 Run this, then try again:" >&2
    echo "    $2" >&2
    exit 1
}
install_command="apt-get install --no-install-recommends ${missing[*]}"
have apt-get || advise "this is not a Debian or Ubuntu machine." "(your package manager's equivalent of) $install_command"
if [ "$(id -u)" -ne 0 ]; then
    # Without a terminal sudo cannot ask for a password.
    if have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=(sudo)
    else
        advise "installing them takes root." "sudo $install_command"
    fi
fi
run() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@"; }

policy=/usr/sbin/policy-rc.d
keep_services_down() { # a PostgreSQL that starts itself would take port 5432, which is ours
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | run tee $policy >/dev/null
        run chmod 755 $policy
        trap 'run rm -f $policy' EXIT
    fi
    if [ ! -e /etc/postgresql-common ]; then
        run mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | run tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
}
update() { # apt's list lock has no time-out option: try again instead
    for _ in 1 2 3 4 5 6; do
        run apt-get -q update && return
        sleep 5
    done
    echo "setup: 'apt-get update' failed; see its output above" >&2
    return 1
}
install() {
    run apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
}

echo "setup: installing ${missing[*]}"
keep_services_down
# The lists may be absent (a fresh image) or old (the mirror has moved on): refresh them only then.
apt-cache show "${missing[@]}" >/dev/null 2>&1 || update
install || { update && install; }
