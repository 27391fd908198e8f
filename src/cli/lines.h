// SPDX-License-Identifier: Apache-2.0
//
// NDJSON: one JSON value a line, put together from pieces. Pure; one owner.
#ifndef RH_CLI_LINES_H
#define RH_CLI_LINES_H

#include <jansson.h>

#include "base/dynbuf.h"
#include "base/status.h"

#define RH_LINE_BYTES_MAX ((size_t)4 * 1024 * 1024)

typedef struct rh_lines {
  rh_dynbuf rest;  // of a line that is not whole
  rh_status (*line)(void *ctx, const json_t *value, rh_error *error);
  void *ctx;
} rh_lines;

void rh_lines_init(rh_lines *lines, rh_status (*line)(void *ctx, const json_t *value, rh_error *error), void *ctx);
void rh_lines_free(rh_lines *lines);
// RH_PROTOCOL for a line that is no JSON, RH_TOO_LARGE for one that is too long; the reason of a line with an "error"
// ({"error": "text"} or {"error": {"message", "status"?}}); or what `line` returned.
rh_status rh_lines_feed(rh_lines *lines, const char *bytes, size_t length, rh_error *error) RH_MUST_CHECK;
// The last line may lack its newline.
rh_status rh_lines_end(rh_lines *lines, rh_error *error) RH_MUST_CHECK;

#endif
