#!/usr/bin/env bash
# Fetches Flink's jars and compiles the job into $PEERS_CACHE/flink-sql.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need PEERS_CACHE
java_peer flink-sql peer.version=version peer.connector=connector peer.slf4j=slf4j
