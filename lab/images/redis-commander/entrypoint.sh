#!/bin/sh
# The part of the official entry point that this project uses: settings come from config/*.json, which must be there.
umask 0027
[ -e "$HOME/config/local-$NODE_ENV.json" ] || echo "{}" > "$HOME/config/local-$NODE_ENV.json"
exec node ./bin/redis-commander.js "$@"
