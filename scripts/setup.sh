#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetch what Roundhouse is built from and tested with:   scripts/setup.sh [--for build|run|test|lint|fuzz|bench]
#
# System packages with apt; everything else into deps/ in this tree, pinned and checked, with downloads kept in
# ${ROUNDHOUSE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/roundhouse}. A second run finds everything there and takes a second.
# ENGINE_LLAMA=prebuilt|source|system|off (as for CMake) says where llama.cpp comes from; ENGINE_ONNX=on|off whether the
# engine for ONNX models is built.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
DEPS="$ROOT/deps"
ENGINE_LLAMA="${ENGINE_LLAMA:-prebuilt}"
ENGINE_ONNX="${ENGINE_ONNX:-on}"
# A bare environment often lacks the folders that dpkg's helpers live in.
export PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"

. "$ROOT/scripts/setup/common.sh"
CACHE="$(cache_folder)"
. "$ROOT/scripts/setup/system.sh"
. "$ROOT/scripts/setup/llama.sh"
. "$ROOT/scripts/setup/python.sh"
. "$ROOT/scripts/setup/onnx.sh"
. "$ROOT/scripts/setup/models.sh"

# Each step: what it is called and the command that does it.
steps_for() {
  printf 'System packages\tsetup_system %s\n' "$1"
  printf 'llama.cpp\tsetup_llama\n'
  printf 'ONNX Runtime\tsetup_onnx\n'
  case "$1" in
    run) printf 'pip\tsetup_pip\n' ;;
    test)
      printf 'Python packages for the tests\tsetup_python test\n'
      printf 'Default model\tsetup_model\n'
      printf 'Embedding model\tsetup_embedding\n'
      printf 'Small models for the tests\tsetup_test_models\n'
      printf 'Prometheus\tsetup_prometheus\n'
      printf 'ONNX test data\tsetup_onnx_testdata\n'
      ;;
    bench)
      printf 'Python packages for the benchmarks\tsetup_python test\n'
      printf 'Default model\tsetup_model\n'
      printf 'llama-server\tsetup_llama_server\n'
      ;;
  esac
}

usage() {
  sed -n '4,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

parse() {
  PURPOSE=build
  while [ $# -gt 0 ]; do
    case "$1" in
      --for)
        PURPOSE="${2:-}"
        shift
        ;;
      --for=*) PURPOSE="${1#--for=}" ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) die "unknown argument '$1'" "$(usage)" ;;
    esac
    shift
  done
  case "$PURPOSE" in
    build | run | test | lint | fuzz | bench) ;;
    *) die "--for '$PURPOSE': it can be build, run, test, lint, fuzz or bench" ;;
  esac
}

main() {
  parse "$@"
  mkdir -p "$DEPS/tmp" "$CACHE" || die "cannot write to $DEPS and $CACHE"
  # Two set-ups at once would unpack into each other; the second waits.
  if have flock; then
    exec 9>"$DEPS/tmp/lock"
    flock 9
  fi
  local names=() commands=() name command index started
  while IFS=$'\t' read -r name command; do
    names+=("$name")
    commands+=("$command")
  done < <(steps_for "$PURPOSE")
  for index in "${!names[@]}"; do
    started=$SECONDS
    printf '[%d/%d] %s\n' $((index + 1)) ${#names[@]} "${names[index]}"
    ${commands[index]} 9>&-
    [ $((SECONDS - started)) -lt 2 ] || say "took $((SECONDS - started)) s"
  done
}

main "$@"
