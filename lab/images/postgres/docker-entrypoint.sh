#!/bin/bash
# First start: make the cluster; then serve. Understands what this project sets of the official image's variables:
# POSTGRES_PASSWORD_FILE, POSTGRES_INITDB_ARGS and PGDATA. It never runs as root.
set -euo pipefail

if [ "${1:-}" != postgres ]; then exec "$@"; fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  read -r -a arguments <<< "$POSTGRES_INITDB_ARGS"
  initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" "${arguments[@]}"
  printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
fi
exec "$@"
