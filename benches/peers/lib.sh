# shellcheck shell=bash
# What the scripts of all peers share; each sources it after `set -euo pipefail`.

peers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Fails unless each named variable is set.
need() {
  local name
  for name in "$@"; do
    if [ -z "${!name:-}" ]; then
      echo "environment: \`$name\` is missing" >&2
      exit 2
    fi
  done
}

# need_run: the variables that every run gets.
need_run() {
  need BOOTSTRAP METRICS_TOPIC LOGS_TOPIC QUERIES OUT METRICS_RECORDS LOGS_RECORDS PARALLELISM ERROR_THRESHOLD PEERS_CACHE
}

# pinned PEER KEY: a version out of PEER/peer.toml, the only place where versions stand.
pinned() {
  local value
  value=$(sed -n "s/^$2 = \"\(.*\)\"\$/\1/p" "$peers/$1/peer.toml")
  if [ -z "$value" ]; then
    echo "$1/peer.toml: \`$2\` is missing" >&2
    exit 2
  fi
  echo "$value"
}

# stamp FILE...: a checksum of what a build is made of, to know whether it is still current.
stamp() {
  cat "$@" | cksum | tr ' ' '-'
}

# java_peer PEER PROPERTY=KEY...: jars and classes of a Java peer into $PEERS_CACHE/PEER, with what it needs of java/. The
# PROPERTY of its pom.xml is set to the version KEY of its peer.toml.
java_peer() {
  local peer=$1 pair value arguments=() sources shared now work=$PEERS_CACHE/$1
  shift
  mapfile -t sources < <(find "$peers/$peer/src" -name '*.java' | sort)
  mapfile -t shared < <(find "$peers/java" -name '*.java' | sort)
  now=$(stamp "$peers/$peer/pom.xml" "$peers/$peer/peer.toml" "${shared[@]}" "${sources[@]}")
  if [ "$(cat "$work/stamp" 2>/dev/null)" = "$now" ]; then return; fi
  for pair in "$@"; do
    value=$(pinned "$peer" "${pair#*=}")
    arguments+=("-D${pair%%=*}=$value")
  done
  rm -rf "$work"
  mkdir -p "$work/classes"
  cp "$peers/$peer/pom.xml" "$work/"
  (cd "$work" && mvn -B -ntp -q "${arguments[@]}" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory=libs -DincludeScope=runtime)
  # Names of parameters are what Flink calls the state of a table function by.
  javac -nowarn -parameters --release 17 -cp "$work/libs/*" -sourcepath "$peers/java" -implicit:class -d "$work/classes" "${sources[@]}"
  echo "$now" >"$work/stamp"
}

# venv_peer PEER PACKAGE=KEY...: a virtual environment in $PEERS_CACHE/PEER/venv with each PACKAGE at the version KEY of
# the peer's peer.toml.
venv_peer() {
  local peer=$1 pair value packages=() now work=$PEERS_CACHE/$1
  shift
  for pair in "$@"; do
    value=$(pinned "$peer" "${pair#*=}")
    packages+=("${pair%%=*}==$value")
  done
  now="${packages[*]}"
  if [ "$(cat "$work/stamp" 2>/dev/null)" = "$now" ]; then return; fi
  rm -rf "$work"
  mkdir -p "$work"
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install -q --disable-pip-version-check "${packages[@]}"
  echo "$now" >"$work/stamp"
}
