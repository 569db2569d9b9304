#!/usr/bin/env bash
# Runs the SQL job to the end offsets of the topics.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need_run
java -Xmx2500m -XX:+UseParallelGC -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
  --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED \
  -cp "$PEERS_CACHE/flink-sql/classes:$PEERS_CACHE/flink-sql/libs/*" fleet.flinksql.FlinkSqlJob
# The file system connector makes a folder for each table, and names the files in it by itself.
for query in ${QUERIES//,/ }; do
  part=0
  for file in "$OUT/$query"/part-*; do
    if [ -e "$file" ]; then mv "$file" "$OUT/$query-$part.csv"; fi
    part=$((part + 1))
  done
done
