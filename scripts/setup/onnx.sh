# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ONNX Runtime into deps/onnxruntime: the C header out of Debian's libonnxruntime-dev, the library out of the wheel that
# scripts/deps/requirements-onnx.txt pins. Nothing is installed in the system. The program opens the library at run time
# and takes any newer one too (src/engine/onnx/README.md).

# The header's package: the first Debian that has it, and the digest of its file. Headers are the same for every processor.
ORT_HEADER_SUITE=trixie
ORT_HEADER_PACKAGE=libonnxruntime-dev
ORT_HEADER_SHA256=14f7d959d5deacbcf1504830d4189f91fc67382b399ed9ae9d3aa9c4050ced08

setup_onnx() {
  case "$ENGINE_ONNX" in
    on)
      setup_onnx_header
      setup_onnx_library
      ;;
    off) say "not needed with ENGINE_ONNX=off" ;;
    *) die "ENGINE_ONNX is '$ENGINE_ONNX'; it can be on or off" ;;
  esac
}

setup_onnx_header() {
  local stamp package folder
  stamp="$(stamp_of 1 "$ORT_HEADER_SHA256")"
  if stamp_is onnx-header "$stamp" && [ -f "$DEPS/onnxruntime/include/onnxruntime_c_api.h" ]; then
    say "header: up to date"
    return
  fi
  if [ -f /usr/include/onnxruntime/onnxruntime_c_api.h ]; then
    say "header: the system's own"
    return
  fi
  package="$CACHE/deb/$ORT_HEADER_PACKAGE.deb"
  if [ ! -f "$package" ] || [ "$(digest 256 "$package")" != "$ORT_HEADER_SHA256" ]; then
    have apt-get || die "the header onnxruntime_c_api.h is missing" \
      "Install your system's ONNX Runtime development package, or set ENGINE_ONNX=off."
    say "fetching $ORT_HEADER_PACKAGE of Debian $ORT_HEADER_SUITE"
    try ort_fetch_header "$package" || die "apt-get could not fetch $ORT_HEADER_PACKAGE; its messages are above" \
      "Install a package with onnxruntime_c_api.h yourself, or set ENGINE_ONNX=off."
  fi
  folder="$(scratch onnx-header)"
  dpkg-deb --extract "$package" "$folder" || die "the cached $package is damaged" "Remove it and run this again."
  mkdir -p "$DEPS/onnxruntime"
  replace "$folder/usr/include/onnxruntime" "$DEPS/onnxruntime/include"
  rm -rf "$folder"
  stamp_set onnx-header "$stamp"
  say "header: deps/onnxruntime/include"
}

# apt with lists of its own, for the newer suite on the mirror that this system uses anyway: the system's lists and
# priorities stay as they are. Translations and the catalogues of desktops are not asked for.
ort_fetch_header() {
  local folder mirror keyring found
  folder="$(scratch onnx-apt)"
  mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | head -n 1)"
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  if [ -z "$mirror" ]; then
    # A machine whose lists were cleared, as in containers, still has its sources.
    mirror="$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list \
      /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null | grep '/debian/\{0,1\}$' | head -n 1)"
  fi
  [ -n "$mirror" ] && [ -f "$keyring" ] || { echo "no Debian mirror among this system's package sources" >&2; return 1; }
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/parts"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: amd64\nSigned-By: %s\n' \
    "$mirror" "$ORT_HEADER_SUITE" "$keyring" >"$folder/newer.sources"
  local options=(-q -o "Dir::Etc::SourceList=$folder/newer.sources" -o "Dir::Etc::SourceParts=$folder/parts"
    -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Architecture=amd64
    -o APT::Architectures::=amd64 -o APT::Sandbox::User=root -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Retries=3)
  apt-get "${options[@]}" update >"$folder/log" 2>&1 || { cat "$folder/log" >&2; return 1; }
  (cd "$folder" && apt-get "${options[@]}" download "$ORT_HEADER_PACKAGE" >>"$folder/log" 2>&1) ||
    { tail -n 20 "$folder/log" >&2; return 1; }
  found="$(find "$folder" -maxdepth 1 -name "${ORT_HEADER_PACKAGE}_*.deb")"
  if [ "$(digest 256 "$found")" != "$ORT_HEADER_SHA256" ]; then
    echo "$(basename "$found") is not the file that scripts/setup/onnx.sh expects" >&2
    return 1
  fi
  mkdir -p "$CACHE/deb"
  mv "$found" "$1"
  rm -rf "$folder"
}

# The library alone: the wheel's Python parts are not for us. Its licence goes with it.
setup_onnx_library() {
  local lock="$ROOT/scripts/deps/requirements-onnx.txt" stamp wheel folder file
  stamp="$(stamp_of 2 "$(digest 256 "$lock")")"
  if stamp_is onnx-library "$stamp" && compgen -G "$DEPS/onnxruntime/lib/libonnxruntime.so.*" >/dev/null; then
    say "library: up to date"
    return
  fi
  setup_venv
  wheel="$(wheel_of "$lock")"
  if [ -z "$wheel" ]; then
    say "fetching ONNX Runtime, about 24 MB"
    try pip_download "$lock" || die "pip could not fetch ONNX Runtime; its messages are above" \
      "Set ROUNDHOUSE_ORT to a libonnxruntime.so you have, or set ENGINE_ONNX=off."
    wheel="$(wheel_of "$lock")"
  fi
  folder="$(scratch onnx-library)"
  if ! "$DEPS/venv/bin/python" -m zipfile --extract "$wheel" "$folder/wheel"; then
    rm -rf "$wheel" "$folder"
    die "the cached $wheel was damaged and has been removed" "Run this again."
  fi
  mkdir -p "$folder/lib" "$DEPS/onnxruntime"
  for file in "$folder"/wheel/onnxruntime/capi/libonnxruntime*.so* "$folder"/wheel/onnxruntime/LICENSE \
    "$folder"/wheel/onnxruntime/ThirdPartyNotices.txt; do
    [ ! -f "$file" ] || mv "$file" "$folder/lib/"
  done
  replace "$folder/lib" "$DEPS/onnxruntime/lib"
  rm -rf "$folder"
  stamp_set onnx-library "$stamp"
  say "library: $(find "$DEPS/onnxruntime/lib" -name 'libonnxruntime.so.*' -printf '%f') in deps/onnxruntime/lib"
}

# The graphs of the ONNX project's own tests for the conformance suite, out of Debian's package: unpacked, not installed.
setup_onnx_testdata() {
  if [ -d "$DEPS/onnx-testdata/node" ]; then
    say "up to date"
    return
  fi
  [ "$ENGINE_ONNX" = on ] || { say "not needed with ENGINE_ONNX=off"; return; }
  have apt-get || die "libonnx-testdata is missing" "Put its folder data/ into deps/onnx-testdata."
  local package folder
  mkdir -p "$CACHE/deb"
  package="$(ort_find_testdata)"
  if [ -z "$package" ]; then
    # The first try may fail only because this machine has no package lists yet.
    if ! ort_fetch_testdata 2>/dev/null; then
      may_install || die "libonnx-testdata cannot be fetched" "Type:  apt-get update"
      try apt_update || die "apt-get update failed; the messages are above"
      try ort_fetch_testdata || die "apt-get could not fetch libonnx-testdata; its messages are above"
    fi
    package="$(ort_find_testdata)"
  fi
  folder="$(scratch onnx-testdata)"
  if ! dpkg-deb --extract "$package" "$folder"; then
    rm -f "$package"
    die "the cached package $package was damaged and has been removed" "Run this again."
  fi
  replace "$folder/usr/share/libonnx-testdata/data" "$DEPS/onnx-testdata"
  say "$(find "$DEPS/onnx-testdata" -name '*.onnx' | wc -l) graphs in deps/onnx-testdata"
}

ort_find_testdata() { find "$CACHE/deb" -name 'libonnx-testdata_*.deb' | sort | tail -n 1; }

ort_fetch_testdata() { (cd "$CACHE/deb" && apt-get -q -o APT::Sandbox::User=root download libonnx-testdata); }
