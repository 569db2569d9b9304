#!/usr/bin/env bash
# Builds vmagent and the bridge from Go modules into $PEERS_CACHE/victoriametrics.
#
# vmagent is built as a dependency: its own go.mod has replacements, which `go install` refuses.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need PEERS_CACHE
here=$(cd "$(dirname "$0")" && pwd)
work=$PEERS_CACHE/victoriametrics
agent=github.com/VictoriaMetrics/VictoriaMetrics
now=$(stamp "$here"/bridge/*.go "$here/peer.toml" "$here/setup.sh")
if [ "$(cat "$work/stamp" 2>/dev/null)" = "$now" ]; then exit 0; fi
requirements=()
for pair in $agent=version github.com/twmb/franz-go=franz-go github.com/valyala/fastjson=fastjson \
  github.com/golang/snappy=snappy; do
  version=$(pinned victoriametrics "${pair#*=}")
  requirements+=("-require=${pair%%=*}@$version")
done
rm -rf "$work"
mkdir -p "$work"
cp "$here"/bridge/*.go "$work/"
cd "$work"
go mod init fleet/bridge 2>/dev/null
go mod edit "${requirements[@]}"
go build -mod=mod -o bridge .
go build -mod=mod -o vmagent $agent/app/vmagent
echo "$now" >stamp
