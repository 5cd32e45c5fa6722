#!/bin/sh
# Honours POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB as the official image does.
set -eu
: "${POSTGRES_PASSWORD:?must be set}"
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    secret=$(mktemp)
    printf '%s' "$POSTGRES_PASSWORD" >"$secret"
    initdb --username="$user" --pwfile="$secret" --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --no-sync >/dev/null
    rm "$secret"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        echo "create database \"$database\"" | postgres --single -j postgres >/dev/null
    fi
fi
exec "$@" -c listen_addresses='*'
