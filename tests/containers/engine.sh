#!/bin/sh
# Makes sure that a container engine answers. On Debian as root it installs and starts one; elsewhere it
# says on stderr why there is none and exits with 1.
set -eu

answers() { docker info >/dev/null 2>&1; }
none() { echo "no container engine: $1" >&2; exit 1; }

answers && exit 0
[ "$(id -u)" = 0 ] || none "none answers, and only root may start one"
if ! command -v dockerd >/dev/null; then
    command -v apt-get >/dev/null || none "dockerd is not installed"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq docker.io >&2 || none "apt-get cannot install docker.io"
fi

# An engine that was killed leaves these behind, and dockerd takes a zombie for a running one.
for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    [ -f "$file" ] || continue
    state=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$(cat "$file")/status" 2>/dev/null | cut -c 1)
    case $state in "" | Z) rm -f "$file" ;; esac
done

log=/var/log/dockerd.log
# A session of its own, so that it outlives this script and is not reached by its Ctrl-C.
setsid dockerd >"$log" 2>&1 </dev/null &
tries=0
until answers; do
    tries=$((tries + 1))
    [ "$tries" -le 150 ] || none "dockerd does not start: $(tail -n 1 "$log")"
    sleep 0.2
done
