#!/usr/bin/env bash
# Everything CI checks, in the order that fails soonest. The last line says how it went.
set -euo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
step=start
trap 'status=$?; [ $status -eq 0 ] || echo "make test: FAILED at: $step (exit $status)" >&2' EXIT
run() { # run NAME COMMAND...
    local began=$SECONDS
    step=$1
    shift
    echo "== $step: $*"
    "$@"
    echo "== $step: ok, $((SECONDS - began)) s"
}

run format cargo fmt --all --check
run lints cargo clippy --workspace --all-targets --locked -- -D warnings
run docs env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --lib --locked
# The bans and licences of deny.toml are held by proxy/tests/tidy too; cargo-deny adds the sources of git and registry.
if command -v cargo-deny >/dev/null; then
    run dependencies cargo deny --all-features check bans licenses sources
fi
run drivers scripts/drivers.sh
run tests cargo test --workspace --locked
echo "make test: all passed in $((SECONDS - started)) s"
