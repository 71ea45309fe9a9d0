#!/bin/sh
# The vendor's process. What the search engine checks before it starts is the machine's, which no lab node can change:
# below that value it starts without its checks, and says so.
set -eu
wanted=262144
maps="$(cat /proc/sys/vm/max_map_count)"
if [ "$maps" -lt "$wanted" ]; then
  echo "lab: vm.max_map_count of this machine is $maps, below $wanted: the search engine starts without its checks" >&2
  set -- "$@" -Dsonar.es.bootstrap.checks.disable=true
fi
exec java -jar lib/sonar-application-*.jar -Dsonar.log.console=true "$@"
