#!/usr/bin/env bash
# Fetches Spark's jars and compiles the job into $PEERS_CACHE/spark.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need PEERS_CACHE
java_peer spark peer.version=version peer.fastdoubleparser=fastdoubleparser
