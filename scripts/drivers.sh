#!/usr/bin/env bash
# Puts the Python and Node drivers that the end-to-end tests use into target/drivers, once per version of their lock files.
# Tests find them as target/drivers/python/bin/python and target/drivers/node/node_modules.
set -euo pipefail
cd "$(dirname "$0")/.."
into=${CARGO_TARGET_DIR:-target}/drivers
mkdir -p "$into"

fresh() { # fresh STAMP FILE...: the stamp holds the checksum of these files
    local stamp=$1
    shift
    [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(cat "$@" | sha256sum)" ]
}

python() {
    local lock=integration/drivers/requirements.txt
    fresh "$into/python.stamp" $lock && return
    rm -rf "$into/python"
    python3 -m venv "$into/python"
    # mysqlclient comes as source only.
    "$into/python/bin/pip" install -q --disable-pip-version-check --only-binary :all: --no-binary mysqlclient -r $lock
    cat $lock | sha256sum >"$into/python.stamp"
}

node() {
    local lock=integration/drivers/package-lock.json
    fresh "$into/node.stamp" $lock && return
    mkdir -p "$into/node"
    cp integration/drivers/package.json $lock "$into/node/"
    npm ci --prefix "$into/node" --no-audit --no-fund --silent
    cat $lock | sha256sum >"$into/node.stamp"
}

python
node
