// SPDX-License-Identifier: Apache-2.0
//
// Headers that say where and how a request should run. They stand beside the body's own fields and win over them, because a proxy
// can add them; but privacy only ever grows. A value that cannot be understood is an error: a request that asked to stay on this
// machine must not leave it for a spelling mistake.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/internal.h"

#define WORD_BYTES_MAX 256

static rh_status bad(rh_error *error, const char *name, const char *value, const char *wanted) {
  return rh_fail_param(error, RH_INVALID, name, "the header %s is \"%.60s\"; it may be %s", name, value, wanted);
}

typedef struct reader {
  const rh_http_exchange *exchange;
  rh_asked *asked;
} reader;

static rh_status take_privacy(const char *value, rh_hints *hints, rh_error *error) {
  static const char *const words[] = {
      [RH_PRIVACY_LOW] = "low", [RH_PRIVACY_MEDIUM] = "medium", [RH_PRIVACY_HIGH] = "high"};
  for (int i = RH_PRIVACY_LOW; i <= RH_PRIVACY_HIGH; i++) {
    if (strcasecmp(value, words[i]) != 0) continue;
    if ((int)hints->privacy < i) hints->privacy = (rh_privacy)i;
    return RH_OK;
  }
  return bad(error, "x-roundhouse-privacy", value, "low, medium or high");
}

static rh_status take_local_only(const char *value, rh_hints *hints, rh_error *error) {
  if (strcasecmp(value, "false") == 0 || strcmp(value, "0") == 0) return RH_OK;
  if (strcasecmp(value, "true") != 0 && strcmp(value, "1") != 0) {
    return bad(error, "x-roundhouse-local-only", value, "true or false");
  }
  hints->local_only = true;
  return RH_OK;
}

// A proxy may have put its own line behind the client's: every line counts, and the strictest of them.
typedef struct privacy_lines {
  rh_hints *hints;
  rh_error *error;
  rh_status status;
} privacy_lines;

static void take_line(void *ctx, const char *name, const char *value) {
  privacy_lines *lines = ctx;
  if (lines->status != RH_OK) return;
  if (strcasecmp(name, "x-roundhouse-privacy") == 0) lines->status = take_privacy(value, lines->hints, lines->error);
  if (strcasecmp(name, "x-roundhouse-local-only") == 0) {
    lines->status = take_local_only(value, lines->hints, lines->error);
  }
}

static rh_status read_privacy(const reader *in, rh_hints *hints, rh_error *error) {
  // Looking at all lines costs more than a look for a name, and few requests have any.
  bool any = rh_http_header(in->exchange, "x-roundhouse-privacy") != NULL ||
             rh_http_header(in->exchange, "x-roundhouse-local-only") != NULL;
  privacy_lines lines = {.hints = hints, .error = error, .status = RH_OK};
  if (any) rh_http_each_header(in->exchange, take_line, &lines);
  return lines.status;
}

static rh_status read_word(const reader *in, const char *name, const char **out, rh_error *error) {
  const char *value = rh_http_header(in->exchange, name);
  if (value == NULL) return RH_OK;
  if (strlen(value) > WORD_BYTES_MAX) return bad(error, name, value, "shorter");
  *out = rh_arena_strdup(in->asked->arena, value);
  return *out != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for this request; try again later");
}

static rh_status read_complexity(const reader *in, rh_hints *hints, rh_error *error) {
  const char *name = "x-roundhouse-complexity";
  rh_status status = read_word(in, name, &hints->complexity, error);
  const char *value = hints->complexity;
  if (status != RH_OK || rh_http_header(in->exchange, name) == NULL) return status;
  bool known = strcmp(value, "low") == 0 || strcmp(value, "medium") == 0 || strcmp(value, "high") == 0;
  return known ? RH_OK : bad(error, name, value, "low, medium or high");
}

static rh_status read_cache(const reader *in, rh_hints *hints, rh_error *error) {
  static const struct {
    const char *word;
    rh_cache_wish wish;
  } words[] = {{"on", RH_CACHE_ASKED},    {"true", RH_CACHE_ASKED}, {"off", RH_CACHE_NEVER},  {"false", RH_CACHE_NEVER},
               {"fresh", RH_CACHE_FRESH}, {"only", RH_CACHE_ONLY},  {"usual", RH_CACHE_USUAL}};
  const char *name = "x-roundhouse-cache";
  const char *value = rh_http_header(in->exchange, name);
  if (value == NULL) return RH_OK;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (strcasecmp(value, words[i].word) != 0) continue;
    hints->cache = words[i].wish;
    return RH_OK;
  }
  return bad(error, name, value, "on, off, fresh or only");
}

// RFC 9111, of a request: no-store, no-cache, max-age=N, only-if-cached. What else stands there does not concern us.
static void read_cache_control(const reader *in, rh_hints *hints) {
  const char *value = rh_http_header(in->exchange, "Cache-Control");
  while (value != NULL && *value != '\0') {
    value += strspn(value, " \t,");
    size_t length = strcspn(value, ",");
    if (strncasecmp(value, "no-store", 8) == 0) {
      hints->cache = RH_CACHE_NEVER;
    } else if (strncasecmp(value, "no-cache", 8) == 0 && hints->cache != RH_CACHE_NEVER) {
      hints->cache = RH_CACHE_FRESH;
    } else if (strncasecmp(value, "only-if-cached", 14) == 0) {
      hints->cache = RH_CACHE_ONLY;
    } else if (strncasecmp(value, "max-age=", 8) == 0) {
      hints->cache_age_max_s = strtod(value + 8, NULL);
    }
    value += length;
  }
}

rh_status rh_hints_read(const rh_http_exchange *exchange, rh_asked *asked, rh_error *error) {
  const reader both = {.exchange = exchange, .asked = asked};
  const reader *in = &both;
  rh_request *request = &asked->request;
  rh_hints *hints = &request->hints;
  rh_status status = read_privacy(in, hints, error);
  if (status == RH_OK) status = read_complexity(in, hints, error);
  if (status == RH_OK) status = read_word(in, "x-roundhouse-agent-type", &hints->agent_type, error);
  if (status == RH_OK) status = read_word(in, "x-roundhouse-strategy", &hints->strategy, error);
  if (status == RH_OK) status = read_word(in, "x-roundhouse-session", &request->session, error);
  if (status == RH_OK) status = read_cache(in, hints, error);
  if (status == RH_OK) read_cache_control(in, hints);
  if (hints->privacy == RH_PRIVACY_HIGH) hints->local_only = true;
  return status;
}
