// SPDX-License-Identifier: Apache-2.0
//
// Regular expressions through PCRE2. A compiled pattern is read-only; a search owns its match data, one thread. A stranger's
// pattern may be slow on purpose: each match has PCRE2's limits, a whole search has a time, and both are errors. Oniguruma's
// syntax becomes PCRE2's in regex_translate.c.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "text/regex_private.h"

#define MATCH_STEPS_MAX 5000000  // of one match; ordinary patterns need some hundreds
#define MATCH_HEAP_KIB_MAX (64u * 1024)
#define SEARCH_TIME_MAX_NS (20 * UINT64_C(1000000000))  // of one text
#define MATCHES_A_LOOK 256                              // at the clock

struct rh_regex {
  pcre2_code *code;
  pcre2_match_context *context;
  bool jit;
};

static pcre2_code *compile(const char *pattern, int *problem, PCRE2_SIZE *where) {
  pcre2_compile_context *context = pcre2_compile_context_create(NULL);
  if (context == NULL) return NULL;
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_bsr(context, PCRE2_BSR_UNICODE);
  // Ruby's ^ and $ always mean lines.
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, problem, where, context);
  pcre2_compile_context_free(context);
  return code;
}

bool rh_regex_compiles(const char *pattern) {
  int problem;
  PCRE2_SIZE where;
  pcre2_code *code = compile(pattern, &problem, &where);
  pcre2_code_free(code);
  return code != NULL;
}

rh_status rh_regex_new_native(const char *pattern, rh_regex **out, rh_error *error) {
  int problem = PCRE2_ERROR_NOMEMORY;
  PCRE2_SIZE where = 0;
  rh_regex *regex = calloc(1, sizeof *regex);
  *out = NULL;
  if (regex == NULL) return rh_fail(error, RH_NO_MEMORY, "regular expression: out of memory");
  regex->code = compile(pattern, &problem, &where);
  if (regex->code == NULL) {
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(problem, why, sizeof why);
    rh_regex_free(regex);
    return rh_fail(error, RH_UNSUPPORTED, "the regular expression %.200s is not understood here: %s (near byte %zu)",
                   pattern, (const char *)why, (size_t)where);
  }
  regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
  regex->context = pcre2_match_context_create(NULL);
  if (regex->context == NULL) {
    rh_regex_free(regex);
    return rh_fail(error, RH_NO_MEMORY, "regular expression: out of memory");
  }
  pcre2_set_match_limit(regex->context, MATCH_STEPS_MAX);
  pcre2_set_heap_limit(regex->context, MATCH_HEAP_KIB_MAX);
  *out = regex;
  return RH_OK;
}

rh_status rh_regex_new(const char *pattern, size_t length, rh_regex **out, rh_error *error) {
  rh_dynbuf native;
  *out = NULL;
  if (length > RH_REGEX_PATTERN_MAX) {
    return rh_fail(error, RH_TOO_LARGE, "a regular expression of %zu bytes; at most %d", length, RH_REGEX_PATTERN_MAX);
  }
  rh_dynbuf_init(&native, RH_REGEX_NATIVE_MAX);
  rh_status status = rh_regex_translate(pattern, length, &native, error);
  if (status == RH_OK) status = rh_regex_new_native(rh_dynbuf_data(&native), out, error);
  rh_dynbuf_free(&native);
  return status;
}

void rh_regex_free(rh_regex *regex) {
  if (regex == NULL) return;
  pcre2_match_context_free(regex->context);
  pcre2_code_free(regex->code);
  free(regex);
}

rh_status rh_regex_search_begin(rh_regex_search *search, const rh_regex *regex) {
  *search = (rh_regex_search){.regex = regex, .over = true};
  search->match = pcre2_match_data_create(1, NULL);
  search->deadline_ns = rh_clock_now_ns() + SEARCH_TIME_MAX_NS;
  return search->match != NULL ? RH_OK : RH_NO_MEMORY;
}

void rh_regex_search_end(rh_regex_search *search) { pcre2_match_data_free(search->match); }

void rh_regex_search_text(rh_regex_search *search, const char *text, size_t length) {
  search->text = text;
  search->length = length;
  search->next = 0;
  search->matched_before = false;
  search->over = false;
}

static int match_once(rh_regex_search *search) {
  const rh_regex *regex = search->regex;
  PCRE2_SPTR text = (PCRE2_SPTR)search->text;
  // The text is UTF-8: rh_tokenizer_encode and the stages before see to it.
  int found =
      pcre2_match(regex->code, text, search->length, search->next, PCRE2_NO_UTF_CHECK, search->match, regex->context);
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
    found = pcre2_match(regex->code, text, search->length, search->next, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                        search->match, regex->context);
  }
  return found;
}

rh_status rh_regex_search_next(rh_regex_search *search, size_t *start, size_t *end) {
  while (!search->over && search->next <= search->length) {
    if (++search->matches % MATCHES_A_LOOK == 0 && rh_clock_now_ns() > search->deadline_ns) return RH_INVALID;
    int found = match_once(search);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) return found == PCRE2_ERROR_NOMEMORY ? RH_NO_MEMORY : RH_INVALID;
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(search->match);
    *start = range[0];
    *end = range[1];
    if (*start > *end) return RH_INVALID;  // \K within a look-ahead
    if (*start == *end && search->matched_before && search->last_end == *end) {
      do search->next++;
      while (search->next < search->length && ((uint8_t)search->text[search->next] & 0xC0) == 0x80);
      continue;
    }
    search->next = search->last_end = *end;
    search->matched_before = true;
    return RH_OK;
  }
  search->over = true;
  return RH_NOT_FOUND;
}
