#!/usr/bin/env bash
# Fetches Flink's jars and compiles the job into $PEERS_CACHE/flink.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need PEERS_CACHE
java_peer flink peer.version=version peer.connector=connector peer.fastdoubleparser=fastdoubleparser peer.slf4j=slf4j
