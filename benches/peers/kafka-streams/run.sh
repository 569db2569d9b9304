#!/usr/bin/env bash
# Runs the Kafka Streams job until it has seen every record.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need_run
STATE_DIR=$(mktemp -d)
export STATE_DIR
trap 'rm -rf "$STATE_DIR"' EXIT
java -Xmx1500m -XX:+UseParallelGC -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
  -cp "$PEERS_CACHE/kafka-streams/classes:$PEERS_CACHE/kafka-streams/libs/*" fleet.streams.StreamsJob
