#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# All static checks: include rules, formatting, clang-tidy, and shellcheck where it is installed.
# scripts/lint.sh --fix formats the sources instead of checking them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -d '' -t sources < <(find src tests -name '*.[ch]' -print0 | sort -z)
if [ "${1:-}" = --fix ]; then
  clang-format -i "${sources[@]}"
  exit 0
fi

failed=0
check() {
  printf '=== %s\n' "$1"
  shift
  "$@" || failed=1
}

# shellcheck disable=SC2317  # called through check()
tidy() {
  scripts/build.sh debug fixtures >build/debug/lint.log 2>&1 || { cat build/debug/lint.log; return 1; }
  find src -name '*.c' -print0 | sort -z | xargs -0 -n 1 -P "$(nproc)" clang-tidy --quiet -p build/debug 2>/dev/null
}

mkdir -p build/debug
check layers scripts/check_layers.py
check 'layers self-test' scripts/check_layers.py --self-test
check clang-format clang-format --dry-run -Werror "${sources[@]}"
check clang-tidy tidy
if command -v shellcheck >/dev/null; then
  check shellcheck shellcheck -x scripts/*.sh scripts/setup/*.sh .ci/run
fi
[ "$failed" -eq 0 ] && echo "lint: all clean"
exit "$failed"
