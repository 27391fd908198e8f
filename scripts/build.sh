#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Configure and build one preset:   scripts/build.sh release|debug|asan|tsan|fuzz [target...]
#
# ENGINE_LLAMA chooses where llama.cpp comes from and ENGINE_ONNX whether there is an engine for ONNX models, except in the
# presets that leave them out. With CI set, warnings are errors in every preset.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset="${1:?which preset?}"
shift
options=()
case "$preset" in
  tsan | fuzz) ;;
  *) options+=("-DENGINE_LLAMA=${ENGINE_LLAMA:-prebuilt}" "-DENGINE_ONNX=${ENGINE_ONNX:-on}") ;;
esac
[ -z "${CI:-}" ] || options+=(-DRH_WERROR=ON)

folder=build
[ "$preset" = release ] || folder="build/$preset"
mkdir -p "$folder"
if ! cmake --preset "$preset" "${options[@]}" >"$folder/configure.log" 2>&1; then
  cat "$folder/configure.log" >&2
  exit 1
fi
targets=()
[ $# -eq 0 ] || targets=(--target "$@")
cmake --build "$folder" "${targets[@]}"
