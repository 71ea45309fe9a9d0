#!/bin/sh
# As the image's: GF_X__FILE becomes GF_X, for this process and all that come of it.
set -eu
for name in $(env | sed -n 's/^\(GF_[^=]*\)__FILE=..*/\1/p'); do
  eval "value=\${$name:-} file=\$${name}__FILE"
  if [ -n "$value" ]; then
    echo "ERROR: Both $name and ${name}__FILE are set (but are exclusive)" >&2
    exit 1
  fi
  export "$name=$(cat "$file")"
  unset "${name}__FILE"
done
exec grafana server "$@"
