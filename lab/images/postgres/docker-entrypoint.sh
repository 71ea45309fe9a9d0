#!/bin/bash
# First start: make the cluster, the database and what /docker-entrypoint-initdb.d asks for; then serve.
# Understands the official image's POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS,
# POSTGRES_HOST_AUTH_METHOD, each also as <NAME>_FILE, and PGDATA.
set -euo pipefail

# from_file NAME DEFAULT: exports the variable, with the content of the file NAME_FILE names. As in the official image
# it stays in the environment of the server.
from_file() {
  local file_name="$1_FILE" value="${!1:-$2}"
  if [ -n "${!1:-}" ] && [ -n "${!file_name:-}" ]; then
    echo "$1 and $file_name are both set; give one of them" >&2
    exit 1
  fi
  if [ -n "${!file_name:-}" ]; then value="$(< "${!file_name}")"; fi
  export "$1=$value"
  unset "$file_name"
}

run_init_files() {
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
      *.sql) "${psql[@]}" --dbname "$database" --file "$file" ;;
      *.sql.gz) gunzip --stdout "$file" | "${psql[@]}" --dbname "$database" ;;
    esac
  done
}

if [ "${1:-}" != postgres ] && [ "${1:0:1}" != - ]; then exec "$@"; fi
if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi

from_file POSTGRES_PASSWORD ''
from_file POSTGRES_USER postgres
from_file POSTGRES_DB "$POSTGRES_USER"
from_file POSTGRES_INITDB_ARGS ''

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA"
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user="$POSTGRES_USER" database="$POSTGRES_DB" password="$POSTGRES_PASSWORD"
  method="${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}"
  if [ -z "$password" ] && [ "$method" != trust ]; then
    echo 'No POSTGRES_PASSWORD_FILE (or POSTGRES_PASSWORD): a database for the network needs a password' >&2
    exit 1
  fi
  read -r -a arguments <<< "$POSTGRES_INITDB_ARGS"
  if [ -n "$password" ]; then arguments+=("--pwfile=$(mktemp)"); printf '%s\n' "$password" > "${arguments[-1]#*=}"; fi
  initdb --username="$user" "${arguments[@]}"
  if [ -n "$password" ]; then rm "${arguments[-1]#*=}"; fi
  printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
  # Only the local socket until everything is in place: nobody meets a half-made database.
  PGUSER="$user" PGPASSWORD="$password" pg_ctl --pgdata="$PGDATA" --options="-c listen_addresses=''" --wait start
  psql=(psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$user" --no-password)
  export PGPASSWORD="$password" PGUSER="$user"
  if [ "$database" != postgres ]; then "${psql[@]}" --dbname postgres --command "CREATE DATABASE \"$database\""; fi
  run_init_files
  pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
  unset PGPASSWORD PGUSER
fi
exec "$@"
