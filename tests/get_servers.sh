#!/usr/bin/env bash
# Gets PostgreSQL 15 for the server matrix: Debian's package, installed for root, unpacked below
# .cache for anybody else.  16, 17 and 18 come from PyPI with the extra "matrix".
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -x /usr/lib/postgresql/15/bin/postgres ] || [ -x .cache/usr/lib/postgresql/15/bin/postgres ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "PostgreSQL 15 comes from Debian's packages, and there is no apt-get here." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    mkdir -p /etc/postgresql-common
    # Only the programs are wanted, not a cluster that starts with the machine.
    grep -qs create_main_cluster /etc/postgresql-common/createcluster.conf ||
        echo "create_main_cluster = false" >>/etc/postgresql-common/createcluster.conf
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql-15
else
    mkdir -p .cache/debs
    packages=$(apt-get install -s --no-install-recommends postgresql-15 | awk '/^Inst/ {print $2}')
    # shellcheck disable=SC2086 # one word a package
    (cd .cache/debs && apt-get download $packages)
    for deb in .cache/debs/*.deb; do
        dpkg -x "$deb" .cache
    done
fi
