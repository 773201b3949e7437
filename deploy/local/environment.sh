# Sourced by the scripts in this folder and by tests/run: where things lie, and how a script says what it does.
# shellcheck shell=bash

QUARTET_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
QUARTET_CACHE=${QUARTET_CACHE:-$HOME/.cache/quartet}
QUARTET_MODELS=$QUARTET_CACHE/models
QUARTET_LIBRARIES=$QUARTET_CACHE/libraries
QUARTET_VENV=$QUARTET_CACHE/venv
QUARTET_RUN=${QUARTET_RUN:-$QUARTET_CACHE/run}
QUARTET_BUILD=${QUARTET_BUILD:-$QUARTET_ROOT/build/release}
QUARTET_BIN=$QUARTET_BUILD/bin
# Where setup puts Node.js if the machine has none that is new enough.
QUARTET_NODE_HOME=$QUARTET_CACHE/node
PATH=$QUARTET_NODE_HOME/bin:$PATH
export QUARTET_CACHE PATH
# Lets a second checkout reuse what the first one compiled.
export CCACHE_BASEDIR=$QUARTET_ROOT CCACHE_NOHASHDIR=1

# say MESSAGE: one line with the seconds since the script started.
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

# fail MESSAGE: says it and ends the script.
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# quietly LOG COMMAND...: runs it with its output in LOG; if it fails, shows the end of LOG.
quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    fail "failed: $* (whole output: $log)"
  fi
}

# is_configured FOLDER: whether CMake has written it since the libraries were last built.
is_configured() {
  [[ -f $1/build.ninja && ! $QUARTET_LIBRARIES/xgrammar/stamp -nt $1/build.ninja ]]
}

# server_pid: prints the process id of the server that deploy/local/up started, if it still runs.
server_pid() {
  local pid
  pid=$(cat "$QUARTET_RUN/quartet.pid" 2>/dev/null) || return 1
  # The id may belong to somebody else by now.
  [[ -r /proc/$pid/cmdline ]] || return 1
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'quartet serve' || return 1
  printf '%s\n' "$pid"
}
