# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Programs and libraries of the operating system. On Debian and its relatives they are installed with apt; elsewhere we
# look whether they are there and name those that are not.

# The Debian packages for one purpose, one a line.
system_packages() {
  cat <<'LIST'
build-essential
ca-certificates
cmake
git
libcurl4-openssl-dev
libedit-dev
libhiredis-dev
libjansson-dev
libmicrohttpd-dev
libpcre2-dev
libsqlite3-dev
libssl-dev
libutf8proc-dev
ninja-build
pkg-config
python3
python3-venv
LIST
  if needs_npm "$1"; then printf 'npm\n'; fi
  case "$1" in
    test) printf 'libcmocka-dev\nlibsimde-dev\nredis-server\n' ;;
    lint) printf 'libcmocka-dev\nclang-format\nclang-tidy\n' ;;
    fuzz) printf 'clang\nllvm\n' ;;
  esac
}

# For llama.cpp, and for one of the tests' models.
needs_npm() {
  case "$1-$ENGINE_ONNX" in
    test-on) return 0 ;;
  esac
  [ "$ENGINE_LLAMA" != off ] && [ "$ENGINE_LLAMA" != system ]
}

# Whether what we need from a Debian package is there, wherever it came from.
package_present() {
  case "$1" in
    build-essential) have cc && have c++ && have make ;;
    ca-certificates) [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -d /etc/pki/tls/certs ] ;;
    libcmocka-dev) have pkg-config && pkg-config --exists cmocka ;;
    libcurl4-openssl-dev) have pkg-config && pkg-config --exists libcurl ;;
    libedit-dev) have pkg-config && pkg-config --exists libedit ;;
    libhiredis-dev) have pkg-config && pkg-config --exists hiredis ;;
    libjansson-dev) have pkg-config && pkg-config --exists jansson ;;
    libmicrohttpd-dev) have pkg-config && pkg-config --exists libmicrohttpd ;;
    libpcre2-dev) have pkg-config && pkg-config --exists 'libpcre2-8 >= 10.40' ;;
    libsqlite3-dev) have pkg-config && pkg-config --exists 'sqlite3 >= 3.38' ;;
    libsimde-dev) has_header simde/x86/avx512/dpbusd.h ;;
    libssl-dev) have pkg-config && pkg-config --exists libcrypto ;;
    libutf8proc-dev) have pkg-config && pkg-config --exists libutf8proc ;;
    llvm) have llvm-symbolizer ;;
    ninja-build) have ninja ;;
    python3-venv) [ -n "$(find_python)" ] ;;
    *) have "$1" ;;
  esac
}

# Whether the compiler finds a header that has no program and no pkg-config file to ask.
has_header() { printf '#include <%s>\n' "$1" | cc -E -x c - >/dev/null 2>&1; }

# A Python 3.11 or newer that can make virtual environments, the system's own first: others in PATH may be anything.
find_python() {
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
}

missing_packages() {
  local package
  for package in $(system_packages "$1"); do
    package_present "$package" || printf '%s\n' "$package"
  done
}

# Run apt-get as root without questions; Retries are apt's own, the lock's time-out waits for another apt to end.
apt_get() {
  local prefix=()
  [ "$(id -u)" -eq 0 ] || prefix=(sudo)
  "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

# sudo may be used when it asks for nothing, or when somebody sits there to answer.
may_install() {
  have apt-get || return 1
  [ "$(id -u)" -eq 0 ] && return 0
  have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }
}

# Fresh package lists, at most once in one set-up.
apt_update() {
  [ -z "${APT_UPDATED:-}" ] || return 0
  apt_get update >"$DEPS/tmp/apt.log" 2>&1 || { cat "$DEPS/tmp/apt.log" >&2; return 1; }
  APT_UPDATED=1
}

setup_system() {
  local missing
  mapfile -t missing < <(missing_packages "$1")
  if [ ${#missing[@]} -eq 0 ]; then
    say "all there"
    return
  fi
  local command="apt-get install --no-install-recommends ${missing[*]}"
  if ! may_install; then
    have apt-get || die "these are missing (Debian's names): ${missing[*]}" "Install them with your system's package manager."
    die "these packages are missing and may not be installed from here: ${missing[*]}" \
      "As an administrator, type:  $command" "then run this again."
  fi
  say "installing: ${missing[*]}"
  mkdir -p "$DEPS/tmp"
  local log="$DEPS/tmp/apt.log"
  try apt_update || die "apt-get update failed; the messages are above" "Then type yourself:  $command"
  if ! apt_get install --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    die "apt-get could not install the packages; its last messages are above" "Type yourself:  $command"
  fi
  mapfile -t missing < <(missing_packages "$1")
  [ ${#missing[@]} -eq 0 ] || die "installed, but still not usable: ${missing[*]}" "Python must be 3.11 or newer, and PATH complete; it is: $PATH"
}

# Debian's Prometheus for the tests: unpacked, not installed, because its package would start a service.
setup_prometheus() {
  if have prometheus; then
    say "$(command -v prometheus)"
    return
  fi
  if [ -x "$DEPS/bin/prometheus" ] && "$DEPS/bin/prometheus" --version >/dev/null 2>&1; then
    say "up to date"
    return
  fi
  have apt-get || die "prometheus is missing" "Install it with your system's package manager, or put it into PATH."
  local folder package
  mkdir -p "$CACHE/deb"
  package="$(find "$CACHE/deb" -name "prometheus_*_$(dpkg --print-architecture).deb" | sort | tail -n 1)"
  if [ -z "$package" ]; then
    # The first try may fail only because this machine has no package lists yet.
    if ! (cd "$CACHE/deb" && apt-get -q -o APT::Sandbox::User=root download prometheus) 2>/dev/null; then
      may_install || die "prometheus is missing and cannot be fetched" "Type:  apt-get install prometheus"
      try apt_update || die "apt-get update failed; the messages are above"
      (cd "$CACHE/deb" && try apt-get -q -o APT::Sandbox::User=root download prometheus) ||
        die "apt-get could not fetch prometheus" "Type:  apt-get install prometheus"
    fi
    package="$(find "$CACHE/deb" -name "prometheus_*_$(dpkg --print-architecture).deb" | sort | tail -n 1)"
  fi
  folder="$(scratch prometheus)"
  if ! dpkg-deb --extract "$package" "$folder"; then
    rm -f "$package"
    die "the cached package $package was damaged and has been removed" "Run this again."
  fi
  replace "$folder/usr/bin/prometheus" "$DEPS/bin/prometheus"
  "$DEPS/bin/prometheus" --version 2>&1 | head -n 1 | sed 's/^/      /'
}
