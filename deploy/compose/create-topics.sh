#!/bin/sh
# Waits until all brokers are there, then creates the topics of the pipeline file, or verifies them.
set -eu
config=${1:-/etc/tidewatch/tidewatch.toml}
attempt=0
until tidewatch topics -c "$config" --timeout 30s; do
    attempt=$((attempt + 1))
    if [ "$attempt" -ge 10 ]; then
        echo "the topics could not be made: see the lines above" >&2
        exit 1
    fi
    sleep 3
done
