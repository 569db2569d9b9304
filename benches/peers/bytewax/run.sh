#!/usr/bin/env bash
# Runs the Bytewax job, one process a worker, to the end offsets of the topics.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
need_run
here=$(cd "$(dirname "$0")" && pwd)
python=$PEERS_CACHE/bytewax/venv/bin/python
# The workers share the cores among themselves.
export POLARS_MAX_THREADS=1 PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
addresses=$("$python" - "$PARALLELISM" <<'EOF'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(";".join(f"127.0.0.1:{s.getsockname()[1]}" for s in sockets))
EOF
)
workers=()
trap 'kill "${workers[@]}" 2>/dev/null || true' EXIT
for ((worker = 0; worker < PARALLELISM; worker++)); do
  "$python" -m bytewax.run flow:flow -i "$worker" -a "$addresses" &
  workers+=($!)
done
for worker in "${workers[@]}"; do wait "$worker"; done
trap - EXIT
