#!/usr/bin/env bash
# Runs Telegraf until its rows count as many records as the topic of metrics has.
#
# Telegraf has no bounded read. It pushes an aggregate every ten seconds, so the last rows come up to ten seconds after
# the last record, idle; a run that stops counting for a minute has lost records and ends with what there is.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need_run
here=$(cd "$(dirname "$0")" && pwd)
case ,$QUERIES, in
  *,q1,*) ;;
  *) exit 0 ;;
esac
file=$OUT/q1-telegraf.csv
export GROUP="fleet-$$-$RANDOM" GOMAXPROCS=$PARALLELISM
"$PEERS_CACHE/telegraf/telegraf" --strict-env-handling --config "$here/telegraf.conf" &
telegraf=$!
trap 'kill "$telegraf" 2>/dev/null || true' EXIT
counted=0
silent=0
size=0
while [ "$counted" -lt "$METRICS_RECORDS" ] && [ "$silent" -lt 60 ]; do
  sleep 1
  if ! kill -0 "$telegraf" 2>/dev/null; then wait "$telegraf"; fi
  now=$(stat -c %s "$file" 2>/dev/null || echo 0)
  if [ "$now" = "$size" ]; then
    silent=$((silent + 1))
    continue
  fi
  silent=0
  size=$now
  counted=$(awk -F, '{ sum += $4 } END { printf "%.0f", sum }' "$file")
done
kill "$telegraf"
wait "$telegraf" || true
trap - EXIT
echo "counted=$counted of $METRICS_RECORDS" >&2
