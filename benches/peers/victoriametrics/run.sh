#!/usr/bin/env bash
# Runs vmagent and its bridge to the end of the topic of metrics.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need_run
here=$(cd "$(dirname "$0")" && pwd)
case ,$QUERIES, in
  *,q1,*) ;;
  *) exit 0 ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
work=$PEERS_CACHE/victoriametrics
"$work/bridge" "$work/vmagent" "$here/stream.yml" "$folder"
