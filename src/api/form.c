// SPDX-License-Identifier: Apache-2.0
//
// Forms: a whole answer as bytes with a few holes, for answers that are given again and again. An answer from the cache differs from
// the one before in its ids, the second of its making and its times; the rest was encoded once. The ids are found by their digits:
// 128 random bits of one request stand nowhere else. A form owns its bytes and words. Any thread, one at a time.
#include <stdlib.h>
#include <string.h>

#include "api/encoder.h"

#define HOLES_MAX 8
#define WORDS 11

typedef enum hole_kind { HOLE_DIGITS, HOLE_ID, HOLE_CREATED, HOLE_TIMES } hole_kind;

typedef struct gap {
  hole_kind kind;
  size_t at, length;  // in the bytes
} gap;

struct rh_form {
  char *bytes;
  size_t length;
  gap holes[HOLES_MAX];  // in order
  size_t hole_count;
  rh_api_pace pace;
  double cost_usd;
  char *words[WORDS];  // what the bytes say of where they come from
};

// All that an answer says of its origin in words; a model's numbers do not change while its words stay.
static void words_of(const rh_answer_meta *meta, const char *out[WORDS]) {
  const rh_model_info *info = meta->info;
  const char *all[WORDS] = {meta->model,
                            meta->version,
                            meta->host,
                            meta->provider,
                            meta->route_reason,
                            meta->cache,
                            info != NULL ? info->engine : NULL,
                            info != NULL ? info->device : NULL,
                            info != NULL ? info->quantization : NULL,
                            info != NULL ? info->acceleration : NULL,
                            info != NULL ? info->fallback : NULL};
  for (size_t i = 0; i < WORDS; i++) out[i] = all[i] != NULL ? all[i] : "";
}

// Says nothing that only some answers say.
static bool is_usual(const rh_answer_meta *meta) { return meta->experiment == NULL && meta->confidence <= 0; }

static void add_hole(rh_form *form, hole_kind kind, size_t at, size_t length) {
  size_t place = form->hole_count++;
  for (; place > 0 && form->holes[place - 1].at > at; place--) form->holes[place] = form->holes[place - 1];
  form->holes[place] = (gap){.kind = kind, .at = at, .length = length};
}

static bool find_ids(rh_form *form, const char *id, const char *bytes, size_t length) {
  const char *digits = rh_api_id_digits(id);
  size_t whole = strlen(id), before = (size_t)(digits - id);
  if (before == 0) return false;  // a client's own, which may be any word
  for (const char *at = bytes; (at = memmem(at, length - (size_t)(at - bytes), digits, RH_API_ID_DIGITS)) != NULL;) {
    if (form->hole_count == HOLES_MAX) return false;
    size_t place = (size_t)(at - bytes);
    bool all = place >= before && memcmp(at - before, id, whole) == 0;
    add_hole(form, all ? HOLE_ID : HOLE_DIGITS, all ? place - before : place, all ? whole : RH_API_ID_DIGITS);
    at += RH_API_ID_DIGITS;
  }
  return true;
}

// The first two holes are the encoder's marks.
static bool find_holes(rh_form *form, const rh_encoder *encoder, const char *bytes, size_t length) {
  const rh_api_marks *marks = &encoder->marks;
  if (marks->times_length == 0 || marks->times + marks->times_length > length) return false;
  add_hole(form, HOLE_TIMES, marks->times, marks->times_length);
  if (marks->created_length > 0) {
    const rh_dynbuf *prefix = &encoder->prefix;
    if (prefix->length > length || memcmp(bytes, rh_dynbuf_data(prefix), prefix->length) != 0) return false;
    add_hole(form, HOLE_CREATED, marks->created, marks->created_length);
  }
  return find_ids(form, encoder->request->id, bytes, length);
}

rh_form *rh_form_new(const rh_encoder *encoder, const char *bytes, size_t length) {
  const rh_answer_meta *meta = encoder->meta;
  bool plain = encoder->endpoint->repeats && !encoder->request->stream && !encoder->failed &&
               rh_encoder_complete(encoder) && is_usual(meta);
  rh_form *form = plain ? calloc(1, sizeof *form) : NULL;
  if (form == NULL) return NULL;
  const char *words[WORDS];
  words_of(meta, words);
  bool good = find_holes(form, encoder, bytes, length);
  form->bytes = good ? malloc(length) : NULL;
  good = form->bytes != NULL;
  for (size_t i = 0; good && i < WORDS; i++) good = (form->words[i] = strdup(words[i])) != NULL;
  if (!good) {
    rh_form_free(form);
    return NULL;
  }
  memcpy(form->bytes, bytes, length);
  form->length = length;
  form->pace = rh_api_pace_of(encoder);
  form->cost_usd = meta->cost_usd;
  return form;
}

void rh_form_free(rh_form *form) {
  if (form == NULL) return;
  for (size_t i = 0; i < WORDS; i++) free(form->words[i]);
  free(form->bytes);
  free(form);
}

bool rh_form_fits(const rh_form *form, const rh_answer_meta *meta) {
  const char *words[WORDS];
  words_of(meta, words);
  for (size_t i = 0; i < WORDS; i++) {
    if (strcmp(words[i], form->words[i]) != 0) return false;
  }
  return is_usual(meta) && !(meta->cost_usd > form->cost_usd) && !(meta->cost_usd < form->cost_usd);
}

static void fill(const rh_form *form, const gap *hole, const char *request_id, const rh_answer_meta *meta,
                 rh_dynbuf *out) {
  switch (hole->kind) {
    case HOLE_DIGITS: rh_put(out, rh_api_id_digits(request_id)); break;
    case HOLE_ID: rh_put(out, request_id); break;
    case HOLE_CREATED: rh_put_int(out, meta->created); break;
    case HOLE_TIMES: rh_api_put_times(out, meta, &form->pace); break;
  }
}

rh_status rh_form_write(const rh_form *form, const char *request_id, const rh_answer_meta *meta, rh_dynbuf *out) {
  size_t at = 0;
  for (size_t i = 0; i < form->hole_count; i++) {
    (void)rh_dynbuf_append(out, form->bytes + at, form->holes[i].at - at);
    fill(form, &form->holes[i], request_id, meta, out);
    at = form->holes[i].at + form->holes[i].length;
  }
  (void)rh_dynbuf_append(out, form->bytes + at, form->length - at);
  return rh_put_status(out);
}
