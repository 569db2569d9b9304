#!/usr/bin/env bash
# Runs the Spark job on what is in the topics at its start.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need_run
CHECKPOINTS=$(mktemp -d)
export CHECKPOINTS
trap 'rm -rf "$CHECKPOINTS"' EXIT
opens=()
for package in java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.util java.util.concurrent \
  java.util.concurrent.atomic jdk.internal.ref sun.nio.ch sun.nio.cs sun.security.action sun.util.calendar; do
  opens+=("--add-opens=java.base/$package=ALL-UNNAMED")
done
java -Xmx2g -XX:+UseParallelGC "${opens[@]}" -Djdk.reflect.useDirectMethodHandle=false \
  -Dlog4j2.configurationFile="$(dirname "$0")/log4j2.properties" \
  -cp "$PEERS_CACHE/spark/classes:$PEERS_CACHE/spark/libs/*" fleet.spark.SparkJob
