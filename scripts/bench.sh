#!/usr/bin/env bash
# rds-sidecar beside PgBouncer and a direct connection to PostgreSQL, then beside HAProxy and a direct connection to
# MariaDB: two runs of about ten minutes together. What it prints is explained in docs/benchmarks.md; --record puts it
# there. Further arguments go to the benchmarks (--rounds, --cell, ...; see --help).
# usage: scripts/bench.sh [--record] [postgres|mysql] [ARG...]
set -euo pipefail
cd "$(dirname "$0")/.."
command=$0${*:+ $*}
record=
if [ "${1:-}" = --record ]; then
    record=1
    shift
fi
engines=(postgres mysql)
case ${1:-} in
postgres | mysql)
    engines=("$1")
    shift
    ;;
esac

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
document=docs/benchmarks.md
cargo build --quiet --release --locked --bin rds-sidecar
# The benchmark itself only watches: its own speed is in no figure.
bench=(cargo bench --quiet --profile dev --locked -p rds-sandbox)
"${bench[@]}" "${engines[@]/#/--bench=}" --no-run
# Each of the 1,000 idle clients takes a descriptor here and two in the proxy.
ulimit -n "$(ulimit -Hn)"

replace() { # replace HEADING FILE: the section of that name becomes the file; a new one goes to the end
    awk -v heading="## $1" -v file="$2" '
        function section() {
            print heading "\n"
            while ((getline line < file) > 0) print line
            replaced = 1
        }
        /^## / { inside = $0 == heading; if (inside) section(); else if (replaced) print "" }
        !inside { print }
        END { if (!replaced) { print ""; section() } }' $document >"$target/benchmarks.md"
    cp "$target/benchmarks.md" $document
}
for engine in "${engines[@]}"; do
    result=$target/bench-$engine.md
    "${bench[@]}" --bench "$engine" -- --sidecar "$target/release/rds-sidecar" "$@" | tee "$result"
    if [ -n "$record" ]; then
        printf '`%s`, %s, commit %s:\n\n%s\n' "$command" "$(date -u +%Y-%m-%d)" "$(git rev-parse --short HEAD)" \
            "$(cat "$result")" >"$result.section"
        replace "Results: $engine" "$result.section"
    fi
done
