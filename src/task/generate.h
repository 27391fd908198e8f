// SPDX-License-Identifier: Apache-2.0
//
// The task "generate": one run over an engine's token stream. It counts tokens, joins them into whole UTF-8 characters,
// finds stop strings that straddle tokens, ends at max_tokens, and pushes flow events into a sink. Engine thread only.
#ifndef RH_TASK_GENERATE_H
#define RH_TASK_GENERATE_H

#include "engine/engine.h"
#include "flow/event.h"
#include "flow/request.h"

typedef struct rh_generation rh_generation;

// Begin. The sink (copied) gets START at once, DELTAs, then USAGE and one final event. On an error nothing was pushed
// and nothing is kept: RH_AGAIN (no slot free now), RH_CONTEXT_OVERFLOW, RH_UNSUPPORTED (no chat template), RH_INVALID.
rh_status rh_generation_start(const rh_engine_ops *ops, rh_engine *engine, const rh_run *run, const rh_sink *sink,
                              rh_generation **out, rh_error *error) RH_MUST_CHECK;

bool rh_generation_finished(const rh_generation *generation);  // a final event was pushed
// A generation whose sink says RH_WAIT pauses itself; it goes on when this is called with false. Times stand still
// meanwhile.
void rh_generation_pause(rh_generation *generation, bool paused);
// Stops the engine's sequence if it runs (no event is pushed then) and frees.
void rh_generation_free(rh_generation *generation);

// --- for tests: the text side alone --------------------------------------------------------------------------------

typedef struct rh_stop_matcher rh_stop_matcher;

// Holds back text that may be the start of a stop string or the start of a character. The stop strings are copied;
// empty ones are ignored. NULL when memory is short.
rh_stop_matcher *rh_stop_matcher_new(const char *const *stops, size_t count);
void rh_stop_matcher_free(rh_stop_matcher *matcher);
// Feed bytes; what may be shown now goes to *text/*length (valid until the next call). True when a stop string was met:
// *stop names it (owned by the matcher), and the text before it was handed out; nothing may be fed after that. The
// string whose last byte comes first wins, of several the longest, so the outcome does not depend on how the text is
// cut up. Bytes that can never be UTF-8 become U+FFFD.
bool rh_stop_matcher_feed(rh_stop_matcher *matcher, const char *bytes, size_t length, const char **text,
                          size_t *text_length, const char **stop);
// The rest, at the end. An incomplete character becomes U+FFFD.
void rh_stop_matcher_finish(rh_stop_matcher *matcher, const char **text, size_t *text_length);
// How many of the bytes fed so far were handed out (as they were fed, before any became U+FFFD).
size_t rh_stop_matcher_shown(const rh_stop_matcher *matcher);
bool rh_stop_matcher_failed(const rh_stop_matcher *matcher);  // memory was short at some point; text is missing

#endif
