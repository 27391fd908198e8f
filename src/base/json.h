// SPDX-License-Identifier: Apache-2.0
//
// Helpers over jansson: parsing with limits, typed getters whose errors name the field, and a fast string writer.
//
// The getters treat an absent key and JSON null alike: RH_OK, and `*out` stays as it was (so defaults are set first).
// A wrong type or range gives RH_INVALID with error->param = the path. `path` is the object's own path ("" at the top,
// "options" or "messages[2]" below). Strings handed out belong to `object`.
#ifndef RH_BASE_JSON_H
#define RH_BASE_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "base/dynbuf.h"
#include "base/status.h"

#define RH_JSON_DEPTH_MAX 64

// Parse `length` bytes as one JSON value. The nesting depth is checked before anything is built (a nested bomb costs
// one pass over the bytes); invalid UTF-8, duplicate keys and trailing bytes are errors. The caller owns the result.
json_t *rh_json_parse(const char *text, size_t length, rh_error *error);

// A whole file; the caller owns *out. RH_NOT_FOUND: there is none. RH_INVALID: damaged. Both messages name the path.
rh_status rh_json_read_file(const char *path, size_t bytes_max, json_t **out, rh_error *error) RH_MUST_CHECK;

rh_status rh_json_get_string(const json_t *object, const char *path, const char *key, const char **out,
                             rh_error *error) RH_MUST_CHECK;
rh_status rh_json_get_int(const json_t *object, const char *path, const char *key, int64_t min, int64_t max,
                          int64_t *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_json_get_number(const json_t *object, const char *path, const char *key, double min, double max,
                             double *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_json_get_bool(const json_t *object, const char *path, const char *key, bool *out,
                           rh_error *error) RH_MUST_CHECK;
// An object or array; `*out` stays NULL when absent. The reference is borrowed.
rh_status rh_json_get_object(const json_t *object, const char *path, const char *key, json_t **out,
                             rh_error *error) RH_MUST_CHECK;
rh_status rh_json_get_array(const json_t *object, const char *path, const char *key, json_t **out,
                            rh_error *error) RH_MUST_CHECK;

// "path.key", or "key" at the top, into `out`.
void rh_json_join_path(char *out, size_t size, const char *path, const char *key);

// A word for the type of a value ("an object", "a number").
const char *rh_json_type_name(const json_t *value);

// Append text as a JSON string with quotes. Bytes that are not UTF-8 are written as U+FFFD, so the output is valid
// JSON.
rh_status rh_json_append_string(rh_dynbuf *buf, const char *text, size_t length);

// The same for text that needs no escape, without a buffer: writes length + 2 bytes to `to`, and no NUL. False when something
// needs an escape; then what stands there means nothing.
bool rh_json_quote(char *to, const char *text, size_t length);

// Append a whole value, compact.
rh_status rh_json_append_value(rh_dynbuf *buf, const json_t *value);

// The nearest of `count` words to `word` within a third of its length by edit distance, or NULL. For "did you mean".
const char *rh_text_nearest(const char *word, const char *const *words, size_t count);

#endif
