// SPDX-License-Identifier: Apache-2.0
//
// Memos: what a body means and how its answer looks, remembered. Bodies that were answered from the cache come again, byte for byte,
// and reading them and writing their answers is most of what such an answer costs. Decoding is a pure function of the endpoint, the
// body and the default for streaming, so its result may be used again by anybody; rights, limits, routing and the lookup itself are
// never remembered: they are asked each time, and an answer is given again only when they lead to the same recording.
//
// A table of few places: a new body takes the place of the one before. Bodies that were never a hit are not kept. Loop thread only.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "daemon/internal.h"

#define PLACES 256               // a power of two
#define BODY_BYTES_MAX 4096      // larger bodies are read anew: their models' work is larger still
#define ANSWER_BYTES_MAX 16384   // the same of answers
#define ARENA_BYTES_MAX 1048576  // of what such a call itself allocates
#define BASE_BYTES_MAX 65536     // of what a body became
#define SWEEP_NS (60 * RH_NS_PER_S)

struct rh_memos {
  rh_loop *loop;
  rh_timer sweep;
  rh_memo *places[PLACES];
};

static void drop_answer(rh_memo *memo) {
  rh_form_free(memo->form);
  rh_recording_release(memo->recording);
  memo->form = NULL;
  memo->recording = NULL;
}

void rh_memo_release(rh_memo *memo) {
  if (memo == NULL || --memo->holders > 0) return;
  drop_answer(memo);
  rh_asked_release(memo->base);
  free(memo->body);
  free(memo);
}

static void sweep_within(rh_memos *memos, uint64_t wait_ns) {
  rh_loop_timer_set(memos->loop, &memos->sweep, wait_ns < SWEEP_NS ? wait_ns : SWEEP_NS);
}

// What the cache has forgotten is forgotten here too, at the next sweep: nobody would be given it, but it is not to be kept either.
static void on_sweep(void *ctx) {
  rh_memos *memos = ctx;
  uint64_t now = rh_clock_now_ns(), next = UINT64_MAX;
  for (size_t i = 0; i < PLACES; i++) {
    rh_memo *memo = memos->places[i];
    if (memo == NULL) continue;
    if (memo->until_ns > now) {
      if (memo->until_ns < next) next = memo->until_ns;
      continue;
    }
    memos->places[i] = NULL;
    rh_memo_release(memo);
  }
  if (next != UINT64_MAX) sweep_within(memos, next - now);
}

rh_memos *rh_memos_new(rh_loop *loop) {
  rh_memos *memos = calloc(1, sizeof *memos);
  if (memos == NULL) return NULL;
  memos->loop = loop;
  memos->sweep = (rh_timer){.fn = on_sweep, .ctx = memos};
  return memos;
}

void rh_memos_clear(rh_memos *memos) {
  for (size_t i = 0; memos != NULL && i < PLACES; i++) {
    rh_memo_release(memos->places[i]);
    memos->places[i] = NULL;
  }
}

void rh_memos_free(rh_memos *memos) {
  if (memos == NULL) return;
  rh_loop_timer_cancel(memos->loop, &memos->sweep);
  rh_memos_clear(memos);
  free(memos);
}

static rh_memo **place_of(rh_memos *memos, uint64_t hash) { return &memos->places[hash & (PLACES - 1)]; }

bool rh_memo_recall(rh_call *call, const char *body, size_t length, bool stream) {
  rh_memos *memos = call->daemon->memos;
  if (memos == NULL || length == 0 || length > BODY_BYTES_MAX) return false;
  uint64_t hash = rh_hash_bytes(0, body, length);
  rh_memo *memo = *place_of(memos, hash);
  bool same = memo != NULL && memo->hash == hash && memo->endpoint == call->endpoint && memo->stream == stream &&
              memo->length == length && memcmp(memo->body, body, length) == 0;
  if (!same) return false;
  rh_arena *arena = rh_arena_new(ARENA_BYTES_MAX);
  if (arena == NULL) return false;
  call->asked->arena = arena;
  call->asked->base = rh_asked_hold(memo->base);
  call->asked->request = memo->request;
  call->memo = memo;
  memo->holders++;
  return true;
}

static rh_memo *memo_new(rh_call *call, const char *body, size_t length, uint64_t hash) {
  rh_memo *memo = calloc(1, sizeof *memo);
  char *copy = malloc(length);
  if (memo == NULL || copy == NULL) {
    free(memo);
    free(copy);
    return NULL;
  }
  memcpy(copy, body, length);
  *memo = (rh_memo){
      .holders = 2,  // the table and the call
      .hash = hash,
      .endpoint = call->endpoint,
      .stream = call->decoded_stream,
      .body = copy,
      .length = length,
      .base = rh_asked_hold(call->asked),
      .request = *call->decoded,
  };
  return memo;
}

// As long as the answer that was found may live.
static void prolong(const rh_call *call, rh_memo *memo) {
  rh_memos *memos = call->daemon->memos;
  double left_s = rh_ns_to_s(call->daemon->settings->gateway.cache_ttl) - call->meta.cache_age_s;
  uint64_t left = left_s > 0 ? (uint64_t)(left_s * 1e9) : 0;
  memo->until_ns = rh_clock_now_ns() + left;
  // One sweep is always due; it finds out when the next one is.
  if (memos->sweep.heap_slot == 0) sweep_within(memos, left);
}

void rh_memo_keep(rh_call *call) {
  rh_memos *memos = call->daemon->memos;
  if (call->memo != NULL) prolong(call, call->memo);
  size_t length = 0;
  const char *body = rh_http_body(call->exchange, &length);
  // What the client must be told of its body would not be told again.
  bool plain = call->memo == NULL && call->decoded != NULL && call->warnings.length == 0 &&
               rh_arena_bytes(call->asked->arena) <= BASE_BYTES_MAX;
  if (memos == NULL || !plain || length == 0 || length > BODY_BYTES_MAX) return;
  uint64_t hash = rh_hash_bytes(0, body, length);
  rh_memo **place = place_of(memos, hash);
  rh_memo *memo = memo_new(call, body, length, hash);
  if (memo == NULL) return;
  rh_memo_release(*place);
  *place = call->memo = memo;
  prolong(call, memo);
}

void rh_memo_keep_answer(rh_call *call, const char *bytes, size_t length) {
  rh_memo *memo = call->memo;
  // A form is told its id from its text by the digits: those that a client chose may be in both.
  if (memo == NULL || call->named || call->asked->request.stream || length > ANSWER_BYTES_MAX ||
      rh_recording_memory(call->cached) > ANSWER_BYTES_MAX) {
    return;
  }
  rh_form *form = rh_form_new(call->encoder, bytes, length);
  if (form == NULL) return;
  drop_answer(memo);
  memo->form = form;
  memo->recording = rh_recording_hold(call->cached);
  memo->usage = call->usage;
  memo->deltas_tokens = call->deltas_tokens;
  memo->items_failed = call->items_failed;
  memo->speaks = call->meta.first_token_ns != 0;
}
