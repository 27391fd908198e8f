# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the parts of scripts/setup.sh share: messages, retries, checksums, stamps. Sourced, never run.

say() { printf '      %s\n' "$*"; }

# Explain what stopped us and what to do about it, then leave.
die() {
  printf '\nsetup: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The folder for downloads, outside the tree, so that a second clone needs no network. HOME may be unset (cron, CI).
cache_folder() {
  if [ -n "${ROUNDHOUSE_CACHE:-}" ]; then
    printf '%s\n' "$ROUNDHOUSE_CACHE"
  else
    printf '%s/roundhouse\n' "${XDG_CACHE_HOME:-$(home_folder)/.cache}"
  fi
}

home_folder() {
  local home="${HOME:-}"
  [ -n "$home" ] || home="$(getent passwd "$(id -u)" | cut -d: -f6)"
  [ -n "$home" ] || die "cannot tell your home folder" "Set HOME, or ROUNDHOUSE_CACHE and XDG_DATA_HOME."
  printf '%s\n' "$home"
}

# try COMMAND...: up to three times, with a growing pause. Registries and networks have bad moments.
try() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return 0
    [ "$attempt" -eq 3 ] || { say "that failed; trying again in $((attempt * 4)) s"; sleep $((attempt * 4)); }
  done
  return 1
}

digest() { "sha$1sum" "$2" | cut -d' ' -f1; }

# Stamps say which version of a dependency lies in deps/: a digest of everything it depends on.
stamp_is() { [ -f "$DEPS/stamps/$1" ] && [ "$(cat "$DEPS/stamps/$1")" = "$2" ]; }
stamp_set() {
  mkdir -p "$DEPS/stamps"
  printf '%s\n' "$2" >"$DEPS/stamps/$1"
}
stamp_of() { printf '%s\n' "$@" | sha256sum | cut -d' ' -f1; }

# A fresh empty folder below deps/, on the same file system as what will be moved out of it.
scratch() {
  rm -rf "$DEPS/tmp/$1"
  mkdir -p "$DEPS/tmp/$1"
  printf '%s\n' "$DEPS/tmp/$1"
}

# replace NEW OLD: put a finished file or folder in its place; an interrupted run never leaves half of one there.
replace() {
  rm -rf "$2"
  mkdir -p "$(dirname "$2")"
  mv "$1" "$2"
}

# Hard link where both lie on one file system, else copy.
link_or_copy() {
  mkdir -p "$(dirname "$2")"
  ln -f "$1" "$2" 2>/dev/null || { cp "$1" "$2.part" && mv "$2.part" "$2"; }
}
