#!/usr/bin/env bash
# Fetches the jars of Kafka Streams and compiles the job into $PEERS_CACHE/kafka-streams.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need PEERS_CACHE
java_peer kafka-streams peer.version=version peer.fastdoubleparser=fastdoubleparser peer.slf4j=slf4j
