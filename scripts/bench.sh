#!/usr/bin/env bash
# rds-sidecar beside PgBouncer and a direct connection, in one run of about ten minutes. What it prints is explained in
# docs/benchmarks.md; --record puts it there. Further arguments go to the benchmark (--rounds, --cell, ...; see --help).
# usage: scripts/bench.sh [--record] [ARG...]
set -euo pipefail
cd "$(dirname "$0")/.."
command=$0${*:+ $*}
record=
if [ "${1:-}" = --record ]; then
    record=1
    shift
fi

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cargo build --quiet --release --locked --bin rds-sidecar
# The benchmark itself only watches: its own speed is in no figure.
cargo bench --quiet --profile dev --locked -p rds-sandbox --bench postgres --no-run
# Each of the 1,000 idle clients takes a descriptor here and two in the proxy.
ulimit -n "$(ulimit -Hn)"
result=$target/bench.md
cargo bench --quiet --profile dev --locked -p rds-sandbox --bench postgres -- --sidecar "$target/release/rds-sidecar" "$@" |
    tee "$result"
if [ -n "$record" ]; then
    document=docs/benchmarks.md
    head=$(sed '/^## Results/,$d' $document)
    printf '%s\n\n## Results\n\n`%s`, %s, commit %s:\n\n%s\n' "$head" "$command" \
        "$(date -u +%Y-%m-%d)" "$(git rev-parse --short HEAD)" "$(cat "$result")" >$document
fi
