#!/bin/sh
# Makes sure that there is an image of Postgres to test with, and prints its name: $TOOLKIT_POSTGRES_IMAGE
# if it is set, postgres:17 where it can be pulled, and where not, one built from Debian's own packages.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
built=toolkit-postgres:15
base=toolkit-debian:bookworm

there() { docker image inspect "$1" >/dev/null 2>&1; }

"$here/engine.sh"

if [ -n "${TOOLKIT_POSTGRES_IMAGE:-}" ]; then
    there "$TOOLKIT_POSTGRES_IMAGE" || docker pull -q "$TOOLKIT_POSTGRES_IMAGE" >&2
    echo "$TOOLKIT_POSTGRES_IMAGE"
    exit 0
fi
if there postgres:17 || { ! there "$built" && timeout 60 docker pull -q postgres:17 >/dev/null 2>&1; }; then
    echo postgres:17
    exit 0
fi
if ! there "$built"; then
    if ! there "$base"; then
        if ! command -v debootstrap >/dev/null; then
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap >&2
        fi
        root=$(mktemp -d)
        trap 'rm -rf "$root"' EXIT
        # From the same place that this machine's apt uses.
        mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1)
        debootstrap --variant=minbase bookworm "$root/debian" ${mirror:+"$mirror"} >&2
        tar -C "$root/debian" -c . | docker import - "$base" >&2
    fi
    # The host's network, for a sandbox may let nothing else out.
    docker build --network host --build-arg "BASE=$base" -t "$built" "$here" >&2
fi
echo "$built"
