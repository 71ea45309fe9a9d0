#!/bin/sh
# Anything but `minio ...` is taken as arguments of minio, as in the official image.
[ "${1:-}" = minio ] || set -- minio "$@"
exec "$@"
