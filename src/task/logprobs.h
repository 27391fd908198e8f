// SPDX-License-Identifier: Apache-2.0
//
// Tokens with their logprobs that wait for their text to be shown. Private to src/task.
#ifndef RH_TASK_LOGPROBS_H
#define RH_TASK_LOGPROBS_H

#include "engine/engine.h"
#include "flow/event.h"

// Tokens without text could pile up behind held-back text; past this many they are let go without waiting.
#define RH_LOGPROB_QUEUE_MAX 512

typedef struct rh_logprob_queue {
  rh_token_logprob *tokens;  // `count` of them, oldest first; each owns its `bytes` and `top`
  size_t *starts;            // where in the stream of bytes each token's text begins
  size_t count;
  size_t capacity;
} rh_logprob_queue;

void rh_logprob_queue_free(rh_logprob_queue *queue);  // back to the empty state
// Copies the token. RH_NO_MEMORY.
rh_status rh_logprob_queue_push(rh_logprob_queue *queue, const rh_token *token, size_t start) RH_MUST_CHECK;
// How many at the front have begun to appear now that `shown` bytes of the stream are out.
size_t rh_logprob_queue_ready(const rh_logprob_queue *queue, size_t shown);
void rh_logprob_queue_drop(rh_logprob_queue *queue, size_t count);  // from the front

#endif
