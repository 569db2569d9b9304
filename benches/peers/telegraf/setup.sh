#!/usr/bin/env bash
# Builds Telegraf with the few plugins it needs from Go modules into $PEERS_CACHE/telegraf.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need PEERS_CACHE
work=$PEERS_CACHE/telegraf
plugins=custom,inputs.kafka_consumer,parsers.json,processors.rename,aggregators.basicstats,outputs.file,serializers.csv
version=$(pinned telegraf version)
now="$version $plugins"
if [ "$(cat "$work/stamp" 2>/dev/null)" = "$now" ]; then exit 0; fi
rm -rf "$work"
mkdir -p "$work"
GOBIN=$work go install -tags "$plugins" "github.com/influxdata/telegraf/cmd/telegraf@$version"
echo "$now" >"$work/stamp"
