// SPDX-License-Identifier: Apache-2.0
//
// Small pieces shared by the message files: a reader that remembers the first error, and a writer for whole objects.
#include "wire/internal.h"

#include <stdlib.h>
#include <string.h>

rh_status rh_frame_reader_open(const rh_frame *frame, const char *what, json_t **root, rh_reader *reader,
                               rh_error *error) {
  rh_error reason = {0};
  *root = rh_json_parse(frame->json, frame->json_length, &reason);
  *reader = (rh_reader){.object = *root, .error = error, .status = RH_OK};
  if (*root == NULL) return rh_fail(error, RH_PROTOCOL, "a %s frame has bad JSON: %s", what, reason.message);
  if (!json_is_object(*root)) {
    json_decref(*root);
    *root = NULL;
    return rh_fail(error, RH_PROTOCOL, "a %s frame must hold a JSON object", what);
  }
  return RH_OK;
}

rh_status rh_frame_reader_fail(rh_reader *reader, const char *what) {
  if (reader->status == RH_OK) reader->status = rh_fail(reader->error, RH_PROTOCOL, "a frame is malformed: %s", what);
  return reader->status;
}

// The getters of base/json say RH_INVALID, which is a client's fault; between daemon and worker it is the protocol's.
static void note(rh_reader *reader, rh_status status) {
  if (status == RH_OK || reader->status != RH_OK) return;
  reader->status = RH_PROTOCOL;
  if (reader->error != NULL) reader->error->status = RH_PROTOCOL;
}

int64_t rh_frame_reader_int(rh_reader *reader, const char *key, int64_t fallback) {
  int64_t value = fallback;
  if (reader->status == RH_OK) {
    note(reader, rh_json_get_int(reader->object, "", key, INT64_MIN, INT64_MAX, &value, reader->error));
  }
  return value;
}

double rh_frame_reader_number(rh_reader *reader, const char *key, double fallback) {
  double value = fallback;
  if (reader->status == RH_OK) {
    note(reader, rh_json_get_number(reader->object, "", key, -1e300, 1e300, &value, reader->error));
  }
  return value;
}

bool rh_frame_reader_bool(rh_reader *reader, const char *key, bool fallback) {
  bool value = fallback;
  if (reader->status == RH_OK) note(reader, rh_json_get_bool(reader->object, "", key, &value, reader->error));
  return value;
}

const char *rh_frame_reader_string(rh_reader *reader, const char *key) {
  const char *value = NULL;
  if (reader->status == RH_OK) note(reader, rh_json_get_string(reader->object, "", key, &value, reader->error));
  return value;
}

const json_t *rh_frame_reader_array(rh_reader *reader, const char *key) {
  json_t *value = NULL;
  if (reader->status == RH_OK) note(reader, rh_json_get_array(reader->object, "", key, &value, reader->error));
  return value;
}

rh_status rh_frame_encode_object(rh_dynbuf *out, rh_frame_type type, uint32_t stream, json_t *object) {
  if (object == NULL) return RH_NO_MEMORY;
  char *text = json_dumps(object, JSON_COMPACT);
  json_decref(object);
  if (text == NULL) return RH_NO_MEMORY;
  rh_status status = rh_frame_encode(out, type, stream, text, strlen(text), NULL, 0);
  free(text);
  return status;
}

rh_status rh_plain_write(rh_dynbuf *out, rh_frame_type type, uint32_t stream) {
  return rh_frame_encode(out, type, stream, NULL, 0, NULL, 0);
}
