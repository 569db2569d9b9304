#!/usr/bin/env bash
# Makes a virtual environment with Bytewax in $PEERS_CACHE/bytewax.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need PEERS_CACHE
venv_peer bytewax bytewax=version confluent-kafka=confluent-kafka polars=polars
