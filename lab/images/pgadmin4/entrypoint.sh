#!/bin/bash
# What the official image's entry point does with the variables this project uses, in its order: settings, first start,
# list of servers, gunicorn.
set -euo pipefail

# Exported, as there: the server is left with the password in its environment.
export PGADMIN_DEFAULT_PASSWORD
if [ -n "${PGADMIN_DEFAULT_PASSWORD_FILE:-}" ]; then
  [ -z "${PGADMIN_DEFAULT_PASSWORD:-}" ] || { echo "both PGADMIN_DEFAULT_PASSWORD and its _FILE are set" >&2; exit 1; }
  PGADMIN_DEFAULT_PASSWORD="$(< "$PGADMIN_DEFAULT_PASSWORD_FILE")"
  unset PGADMIN_DEFAULT_PASSWORD_FILE
fi

# Settings: every PGADMIN_CONFIG_<NAME> is a line of Python, written once, into an empty file.
export CONFIG_DISTRO_FILE_PATH="${PGADMIN_CUSTOM_CONFIG_DISTRO_FILE:-/pgadmin4/config_distro.py}"
if [ ! -s "$CONFIG_DISTRO_FILE_PATH" ]; then
  {
    echo "CA_FILE = '/etc/ssl/certs/ca-certificates.crt'"
    echo "LOG_FILE = '/dev/null'"
    echo "DEFAULT_BINARY_PATHS = {'pg': '/usr/local/pgsql-17', 'pg-17': '/usr/local/pgsql-17'}"
    for name in "${!PGADMIN_CONFIG_@}"; do
      value="${!name}"
      case "${value,,}" in true) value=True ;; false) value=False ;; esac
      echo "${name#PGADMIN_CONFIG_} = $value"
    done
  } > "$CONFIG_DISTRO_FILE_PATH"
fi

load_servers() {
  local file="${PGADMIN_SERVER_JSON_FILE:-/pgadmin4/servers.json}"
  [ -f "$file" ] || return 0
  /venv/bin/python3 /pgadmin4/setup.py load-servers "$file" --user "$PGADMIN_DEFAULT_EMAIL" "$@"
}

replace=()
[ "${PGADMIN_REPLACE_SERVERS_ON_STARTUP:-}" != True ] || replace=(--replace)
if [ ! -f /var/lib/pgadmin/pgadmin4.db ]; then
  [ -n "${PGADMIN_DEFAULT_EMAIL:-}" ] && [ -n "${PGADMIN_DEFAULT_PASSWORD:-}" ] \
    || { echo "PGADMIN_DEFAULT_EMAIL and PGADMIN_DEFAULT_PASSWORD or its _FILE must be set" >&2; exit 1; }
  export PGADMIN_SETUP_EMAIL="$PGADMIN_DEFAULT_EMAIL" PGADMIN_SETUP_PASSWORD="$PGADMIN_DEFAULT_PASSWORD"
  /venv/bin/python3 run_pgadmin.py
  load_servers "${replace[@]}"
elif [ ${#replace[@]} -gt 0 ]; then
  load_servers "${replace[@]}"
fi

# One worker: sessions live in it.
exec /venv/bin/python3 /venv/bin/gunicorn --timeout 86400 \
  --bind "${PGADMIN_LISTEN_ADDRESS:-[::]}:${PGADMIN_LISTEN_PORT:-8080}" --workers 1 \
  --threads "${GUNICORN_THREADS:-25}" --access-logfile "${GUNICORN_ACCESS_LOGFILE:--}" run_pgadmin:app
