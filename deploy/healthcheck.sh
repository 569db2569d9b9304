#!/bin/bash
# Asks tidewatch on this machine for a path and succeeds when the answer is 200: healthcheck /readyz [PORT]
set -eu
path=${1:-/healthz}
port=${2:-9464}
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$path" >&3
read -r _ status _ <&3
[ "$status" = 200 ]
