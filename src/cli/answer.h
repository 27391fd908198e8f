// SPDX-License-Identifier: Apache-2.0
//
// One streamed answer: sends the request, shows the words as they come, keeps text and numbers.
#ifndef RH_CLI_ANSWER_H
#define RH_CLI_ANSWER_H

#include <jansson.h>
#include <stdint.h>

#include "base/dynbuf.h"
#include "base/sse.h"
#include "cli/client.h"

#define RH_ANSWER_BYTES_MAX ((size_t)8 * 1024 * 1024)
#define RH_SSE_EVENT_BYTES_MAX ((size_t)4 * 1024 * 1024)

typedef struct rh_answer {
  rh_dynbuf text;
  char finish[32];  // "stop", "length", or "" when it did not finish
  char model[160];
  int64_t prompt_tokens;  // -1 = the server did not say
  int64_t completion_tokens;
  uint64_t begun_ns, first_ns, last_ns, ended_ns;  // monotonic; first and last: of the words; 0 = none
  bool done;                                       // the end mark came
} rh_answer;

void rh_answer_init(rh_answer *answer);
void rh_answer_free(rh_answer *answer);

// One event's data (a chunk of either OpenAI dialect, or "[DONE]"). *words is the new text, borrowed from *chunk, which
// the caller releases (NULL is fine); RH_OK without words leaves it NULL. An error event gives its status and sentence.
rh_status rh_answer_take(rh_answer *answer, const char *data, size_t length, uint64_t now_ns, json_t **chunk,
                         const char **words, rh_error *error) RH_MUST_CHECK;

// POST `body` to `path` with stream set. `show` (may be NULL) gets the words as they come; when it fails, so does the
// call, and the server stops.
rh_status rh_answer_stream(rh_client *client, const char *path, json_t *body,
                           rh_status (*show)(void *ctx, const char *words, rh_error *error), void *ctx,
                           rh_answer *answer, rh_error *error) RH_MUST_CHECK;

// Tokens a second after the first one; 0 when it cannot be told.
double rh_answer_tokens_per_s(const rh_answer *answer);

#endif
