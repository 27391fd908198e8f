// SPDX-License-Identifier: Apache-2.0
//
// The queue behind "a token's logprob travels with the delta in which its text appears". An engine's token is only
// valid during its callback, so each is copied into one allocation of its own. Used only by runs that asked for
// logprobs.
#include "task/logprobs.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(rh_logprob_queue *queue) {
  if (queue->count < queue->capacity) return true;
  size_t capacity = queue->capacity == 0 ? 16 : queue->capacity * 2;
  rh_token_logprob *tokens = realloc(queue->tokens, capacity * sizeof *tokens);
  if (tokens != NULL) queue->tokens = tokens;
  size_t *starts = realloc(queue->starts, capacity * sizeof *starts);
  if (starts != NULL) queue->starts = starts;
  if (tokens == NULL || starts == NULL) return false;
  queue->capacity = capacity;
  return true;
}

// The alternatives, then all texts, in one block whose address is the copy's `top`.
static bool copy_token(const rh_token *token, rh_token_logprob *copy) {
  assert(token->top_count <= RH_TOP_LOGPROBS_MAX);
  size_t text_bytes = token->length;
  for (size_t i = 0; i < token->top_count; i++) text_bytes += token->top[i].length;
  rh_top_logprob *top = malloc(token->top_count * sizeof *top + text_bytes + 1);
  if (top == NULL) return false;
  char *text = (char *)(top + token->top_count);
  if (token->length > 0) memcpy(text, token->bytes, token->length);
  *copy = (rh_token_logprob){.token = token->id,
                             .logprob = token->logprob,
                             .bytes = text,
                             .length = token->length,
                             .top = top,
                             .top_count = token->top_count};
  text += token->length;
  for (size_t i = 0; i < token->top_count; i++) {
    top[i] = token->top[i];
    top[i].bytes = text;
    if (top[i].length > 0) memcpy(text, token->top[i].bytes, top[i].length);
    text += top[i].length;
  }
  return true;
}

static void release(rh_token_logprob *copy) { free((void *)(uintptr_t)copy->top); }

void rh_logprob_queue_free(rh_logprob_queue *queue) {
  rh_logprob_queue_drop(queue, queue->count);
  free(queue->tokens);
  free(queue->starts);
  *queue = (rh_logprob_queue){0};
}

rh_status rh_logprob_queue_push(rh_logprob_queue *queue, const rh_token *token, size_t start) {
  assert(queue->count < RH_LOGPROB_QUEUE_MAX);
  assert(queue->count == 0 || queue->starts[queue->count - 1] <= start);
  if (!make_room(queue) || !copy_token(token, &queue->tokens[queue->count])) return RH_NO_MEMORY;
  queue->starts[queue->count++] = start;
  return RH_OK;
}

size_t rh_logprob_queue_ready(const rh_logprob_queue *queue, size_t shown) {
  if (queue->count == RH_LOGPROB_QUEUE_MAX) return queue->count;
  size_t ready = 0;
  while (ready < queue->count) {
    bool begun = queue->starts[ready] < shown || (queue->tokens[ready].length == 0 && queue->starts[ready] == shown);
    if (!begun) break;
    ready++;
  }
  return ready;
}

void rh_logprob_queue_drop(rh_logprob_queue *queue, size_t count) {
  assert(count <= queue->count);
  if (count == 0) return;
  for (size_t i = 0; i < count; i++) release(&queue->tokens[i]);
  queue->count -= count;
  memmove(queue->tokens, queue->tokens + count, queue->count * sizeof *queue->tokens);
  memmove(queue->starts, queue->starts + count, queue->count * sizeof *queue->starts);
}
