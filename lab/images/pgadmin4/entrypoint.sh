#!/bin/bash
# What the official image's entry point does with the variables this project sets, in its order: settings, first start,
# list of servers, gunicorn.
set -euo pipefail

# Every PGADMIN_CONFIG_<NAME> is a line of Python.
export CONFIG_DISTRO_FILE_PATH="$PGADMIN_CUSTOM_CONFIG_DISTRO_FILE"
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

if [ ! -f /var/lib/pgadmin/pgadmin4.db ]; then
  # Exported, as there: the server is left with the password in its environment.
  PGADMIN_SETUP_PASSWORD="$(< "$PGADMIN_DEFAULT_PASSWORD_FILE")"
  export PGADMIN_SETUP_EMAIL="$PGADMIN_DEFAULT_EMAIL" PGADMIN_SETUP_PASSWORD
  /venv/bin/python3 run_pgadmin.py
fi
/venv/bin/python3 /pgadmin4/setup.py load-servers "$PGADMIN_SERVER_JSON_FILE" --user "$PGADMIN_DEFAULT_EMAIL" --replace

# One worker: sessions live in it.
exec /venv/bin/python3 /venv/bin/gunicorn --timeout 86400 --bind "$PGADMIN_LISTEN_ADDRESS:$PGADMIN_LISTEN_PORT" --workers 1 \
  --threads "$GUNICORN_THREADS" --access-logfile "$GUNICORN_ACCESS_LOGFILE" run_pgadmin:app
