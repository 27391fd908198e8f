#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Write scripts/deps/requirements-test.txt anew from requirements-test.in: exact versions and the digests of their files.
# All files of each version are listed, so that the lock serves every machine. Names no package index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/deps"

tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
/usr/bin/python3 -m venv "$tools"
"$tools/bin/pip" --quiet install pip-tools
{
  printf '# Written by "make lock" from requirements-test.in.\n'
  "$tools/bin/pip-compile" --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file - requirements-test.in
} >"$tools/lock"
mv "$tools/lock" requirements-test.txt
