#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Run each fuzz target for FUZZ_SECONDS (60):   scripts/fuzz.sh [target...]
#
# Starts from tests/fuzz/corpus/<name>/. New inputs go to build/fuzz/corpus, crashing ones to build/fuzz/findings; copy
# what is worth keeping into the repository's corpus by hand.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${FUZZ_SECONDS:-60}"
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(find build/fuzz -maxdepth 1 -type f -name 'fuzz_*' -perm -u+x -printf '%f\n' | sort)
fi
[ ${#targets[@]} -gt 0 ] || { echo "fuzz: no targets in build/fuzz" >&2; exit 1; }

failed=0
for target in "${targets[@]}"; do
  name="${target#fuzz_}"
  mkdir -p "build/fuzz/corpus/$name" build/fuzz/findings
  folders=("build/fuzz/corpus/$name")
  [ ! -d "tests/fuzz/corpus/$name" ] || folders+=("tests/fuzz/corpus/$name")
  printf '=== %s: %s s\n' "$target" "$seconds"
  if ! "build/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="build/fuzz/findings/$name-" "${folders[@]}"; then
    failed=1
  fi
done
exit "$failed"
