// SPDX-License-Identifier: Apache-2.0
//
// The state of a partial file as a small JSON document, replaced atomically. Owns nothing but the struct it is given;
// one owner thread. Does not look at the partial file itself.
#include "pull/state.h"

#include <assert.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

#define STATE_VERSION 1
#define STATE_BYTES_MAX ((size_t)128 * 1024)

void rh_pull_state_release(rh_pull_state *state) {
  rh_ranges_release(&state->done);
  *state = (rh_pull_state){.total = -1};
}

static rh_status read_done(const json_t *list, rh_pull_state *out) {
  size_t i;
  json_t *pair;
  json_array_foreach(list, i, pair) {
    json_int_t first = json_integer_value(json_array_get(pair, 0));
    json_int_t end = json_integer_value(json_array_get(pair, 1));
    bool sane = json_array_size(pair) == 2 && first >= 0 && end > first && (out->total < 0 || end <= out->total);
    if (!sane || rh_ranges_add(&out->done, first, end) != RH_OK) return RH_INVALID;
  }
  return RH_OK;
}

static rh_status read_fields(const json_t *root, rh_pull_state *out, rh_error *error) {
  int64_t version = 0;
  const char *sha256 = "", *validator = "";
  json_t *done = NULL;
  out->total = -1;
  rh_status status = rh_json_get_int(root, "", "version", STATE_VERSION, STATE_VERSION, &version, error);
  if (status == RH_OK) status = rh_json_get_int(root, "", "total", -1, INT64_MAX, &out->total, error);
  if (status == RH_OK) status = rh_json_get_string(root, "", "sha256", &sha256, error);
  if (status == RH_OK) status = rh_json_get_string(root, "", "validator", &validator, error);
  if (status == RH_OK) status = rh_json_get_bool(root, "", "complete", &out->complete, error);
  if (status == RH_OK) status = rh_json_get_array(root, "", "done", &done, error);
  if (status != RH_OK) return status;
  bool fits = rh_text_copy(out->sha256, sizeof out->sha256, sha256) &&
              rh_text_copy(out->validator, sizeof out->validator, validator);
  if (version != STATE_VERSION || !fits || read_done(done, out) != RH_OK)
    return rh_fail(error, RH_INVALID, "the note about a partial download makes no sense");
  return RH_OK;
}

rh_status rh_pull_state_load(const char *path, rh_pull_state *out, rh_error *error) {
  *out = (rh_pull_state){.total = -1};
  rh_dynbuf text;
  rh_dynbuf_init(&text, STATE_BYTES_MAX);
  rh_status status = rh_file_read(path, &text, error);
  if (status == RH_OK) {
    json_t *root = rh_json_parse(rh_dynbuf_data(&text), text.length, error);
    status = root == NULL ? RH_INVALID : read_fields(root, out, error);
    json_decref(root);
  }
  rh_dynbuf_free(&text);
  if (status != RH_OK) rh_pull_state_release(out);
  return status;
}

rh_status rh_pull_state_save(const char *path, const rh_pull_state *state, rh_error *error) {
  assert(path != NULL && state != NULL);
  json_t *done = json_array();
  for (size_t i = 0; done != NULL && i < state->done.count; i++) {
    json_t *pair = json_pack("[I,I]", (json_int_t)state->done.items[i].first, (json_int_t)state->done.items[i].end);
    if (pair == NULL || json_array_append_new(done, pair) != 0) {
      json_decref(done);
      done = NULL;
    }
  }
  json_t *root =
      json_pack("{s:i,s:I,s:s,s:s,s:b,s:o}", "version", STATE_VERSION, "total", (json_int_t)state->total, "sha256",
                state->sha256, "validator", state->validator, "complete", (int)state->complete, "done", done);
  char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
  json_decref(root);
  if (text == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the note about a partial download");
  rh_status status = rh_file_write_atomic(path, text, strlen(text), 0644, error);
  free(text);
  return status;
}

bool rh_pull_state_matches(const rh_pull_state *state, int64_t bytes, const char *sha256, const char *validator) {
  if (bytes >= 0 && state->total >= 0 && bytes != state->total) return false;
  // The digest is the stronger witness: mirrors give one file many ETags.
  if (sha256[0] != '\0' && state->sha256[0] != '\0') return strcmp(sha256, state->sha256) == 0;
  return validator[0] != '\0' && strcmp(validator, state->validator) == 0;
}
