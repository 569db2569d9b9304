#!/usr/bin/env bash
# Runs the Flink job to the end offsets of the topics.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need_run
exec java -Xmx1500m -XX:+UseParallelGC -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
  -Dorg.slf4j.simpleLogger.log.fleet=info \
  --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED \
  -cp "$PEERS_CACHE/flink/classes:$PEERS_CACHE/flink/libs/*" fleet.flink.FlinkJob
