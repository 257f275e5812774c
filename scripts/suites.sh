#!/usr/bin/env bash
# Runs one foreign test suite twice, straight to a PostgreSQL and through rds-sidecar, and shows what differs.
# See docs/compatibility.md for how to start both. The suites of PostgreSQL and lib/pq are Debian's source packages
# (deb-src, `apt-get source`); the others are run from a checkout of the driver's repository.
set -euo pipefail

usage() {
    cat >&2 <<'TEXT'
usage: DIRECT_PORT=N SIDECAR_PORT=N scripts/suites.sh NAME FOLDER
  regress, isolation, pipeline   FOLDER: postgresql-15-15.N of `apt-get source postgresql-15`
  lib-pq                         FOLDER: golang-github-lib-pq-N of `apt-get source golang-github-lib-pq`
  psycopg, psycopg2, asyncpg     FOLDER: a checkout; PYTHON=python with the driver and what its tests import
  porsager, dbd-pg               FOLDER: a checkout
Logs go to ${SUITES_OUT:-/tmp/suites}; the exit code is that of the comparison.
TEXT
    exit 64
}
[ $# = 2 ] && [ -d "$2" ] && [ -n "${DIRECT_PORT-}" ] && [ -n "${SIDECAR_PORT-}" ] || usage

suite=$1
folder=$(realpath "$2")
out=${SUITES_OUT:-/tmp/suites}/$suite
python=${PYTHON:-python3}
bin=$(pg_config --bindir)
pgxs=$(dirname "$(pg_config --pgxs)")/../test
export PGHOST=127.0.0.1 PGUSER=postgres PGPASSWORD=any
mkdir -p "$out"

fresh_database() { # each way has its own: the sidecar's idle connections would keep the other from dropping it
    psql -qX -d postgres -c "DROP DATABASE IF EXISTS $1" -c "CREATE DATABASE $1"
    export PGDATABASE=$1
}

build_regress() {
    local tests=$folder/src/test/regress
    local name
    cc -O1 -fPIC -shared -I"$(pg_config --includedir-server)" -o "$tests/regress.so" "$tests/regress.c"
    for name in autoinc refint; do
        cc -O1 -fPIC -shared -I"$(pg_config --includedir-server)" -o "$tests/$name.so" "$folder/contrib/spi/$name.c"
    done
    chmod -R a+rX "$folder" # the server's own user reads the data files
}

# Each prints, or leaves in its log, one line a test.
run_regress() {
    build_regress
    mkdir -p "$work"/{results,sql,expected,testtablespace}
    chmod -R 777 "$work" # COPY TO writes here as the server's user
    "$pgxs/regress/pg_regress" --inputdir="$folder/src/test/regress" --dlpath="$folder/src/test/regress" \
        --outputdir="$work" --bindir="$bin" --host=$PGHOST --port="$PGPORT" --user=$PGUSER \
        --max-concurrent-tests=20 --schedule="$folder/src/test/regress/parallel_schedule" || true
}
run_isolation() {
    PGSSLMODE=disable "$pgxs/isolation/pg_isolation_regress" --inputdir="$folder/src/test/isolation" --outputdir="$work" \
        --bindir="$bin" --host=$PGHOST --port="$PGPORT" --user=$PGUSER \
        --schedule="$folder/src/test/isolation/isolation_schedule" || true
    # Its name stands in the tests. Dropped the way it was used, or the sidecar's idle connections keep it.
    psql -qX -d postgres -c "DROP DATABASE IF EXISTS isolation_regression"
}
run_pipeline() {
    local here=$folder/src/test/modules/libpq_pipeline
    cc -O1 -I"$(pg_config --includedir)" -I"$(pg_config --includedir-server)" -o "$work/libpq_pipeline" \
        "$here/libpq_pipeline.c" -lpq -L"$(pg_config --pkglibdir)" -lpgcommon -lpgport
    fresh_database "pipeline_$way"
    local name trace
    for name in $("$work/libpq_pipeline" tests); do
        trace=none
        "$work/libpq_pipeline" -r 700 -t "$work/$name" "$name" "dbname=pipeline_$way" >&2 || name="$name FAILED"
        [ ! -f "$here/traces/$name.trace" ] || { cmp -s "$here/traces/$name.trace" "$work/$name" && trace=same || trace=other; }
        echo "test $name trace=$trace"
    done
}
run_lib-pq() {
    fresh_database pqgotest
    (cd "$folder" && GOPROXY=off GOFLAGS=-mod=mod PGSSLMODE=disable go test -v .) || true
}
run_psycopg() {
    fresh_database "psycopg_$way"
    (cd "$folder" && "$python" -P -m pytest tests -v -p no:randomly -m "not slow" --ignore tests/test_typing.py \
        --ignore tests/test_module.py --test-dsn "host=$PGHOST port=$PGPORT user=$PGUSER dbname=$PGDATABASE") || true
}
run_psycopg2() {
    fresh_database "psycopg2_$way"
    psql -qX -c "CREATE EXTENSION hstore"
    ln -sfn "$folder/tests" "$work/tests" # beside no source of the driver: the installed one is tested
    (cd "$work" && PSYCOPG2_TESTDB=$PGDATABASE PSYCOPG2_TEST_REPL_DSN="dbname=$PGDATABASE" \
        "$python" -m unittest -v tests.test_suite 2>&1) || true
}
run_asyncpg() {
    fresh_database "asyncpg_$way"
    ln -sfn "$folder/tests" "$work/tests"
    (cd "$work" && "$python" -m pytest tests -v -p no:randomly --ignore tests/test__sourcecode.py) || true
}
run_porsager() {
    psql -qX -d postgres -c "DROP DATABASE IF EXISTS postgres_js_test"
    (cd "$folder" && unset PGPASSWORD && node tests/index.js 2>&1) || true
}
run_dbd-pg() {
    fresh_database "dbdpg_$way"
    (cd "$folder" && DBI_DSN="dbi:Pg:dbname=$PGDATABASE;host=$PGHOST;port=$PGPORT" DBI_USER=$PGUSER DBI_PASS=any \
        DBDPG_TEST_ALWAYS_ENV=1 DBDPG_TEST_NOHELPFILE=1 PERL_HASH_SEED=0 prove -v -It/lib t/*.t) || true
}

# What a log says of each test, without times.
verdicts() {
    grep -aE '^(test |ok |not ok |tests/| *--- |test_|[0-9]+ of [0-9]+| All [0-9]+)| failed $' "$1" |
        sed -E 's/ +[0-9]+ ms$//; s/ \([0-9.]+s\)$//; s/ +\[ *[0-9]+%\]$//' | LC_ALL=C sort
}

declare -F "run_$suite" >/dev/null || usage
for way in direct through; do
    PGPORT=$DIRECT_PORT
    [ $way = direct ] || PGPORT=$SIDECAR_PORT
    export PGPORT
    work=$out/$way
    rm -rf "$work"
    mkdir -p "$work"
    echo "== $suite, $way: $out/$way.log"
    "run_$suite" >"$out/$way.log" 2>"$out/$way.err" || { tail -5 "$out/$way.err" >&2; exit 1; }
    verdicts "$out/$way.log" >"$out/$way.verdicts"
done
[ -s "$out/direct.verdicts" ] || { echo "$suite: no test ran, see $out/direct.log and $out/direct.err" >&2; exit 1; }
echo "$(wc -l <"$out/direct.verdicts") lines direct, $(wc -l <"$out/through.verdicts") through; differences:"
diff "$out/direct.verdicts" "$out/through.verdicts" && echo none
