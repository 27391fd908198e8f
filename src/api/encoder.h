// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: the state of one answer, and the writers that dialects share.
//
// Writers append and do not report; a chain of them is checked once at its end with rh_put_status.
#ifndef RH_API_ENCODER_H
#define RH_API_ENCODER_H

#include <string.h>

#include "api/codec.h"

#define RH_API_ANSWER_BYTES_MAX (16u * 1024u * 1024u)   // held for one whole answer, all choices together
#define RH_API_RESULTS_BYTES_MAX (96u * 1024u * 1024u)  // the same of tasks that do not generate: vectors and tensors
#define RH_API_LOGPROB_COLUMNS 4

#define RH_API_BLOCKS_MAX 8192  // changes between text, thoughts and calls in one answer

typedef enum rh_api_block_kind {
  RH_API_BLOCK_NONE,
  RH_API_BLOCK_TEXT,
  RH_API_BLOCK_THOUGHT,
  RH_API_BLOCK_CALL
} rh_api_block_kind;

// A run of one kind in an answer that is held: bytes of the choice's `text`, `thoughts` or `arguments`.
typedef struct rh_api_block {
  rh_api_block_kind kind;
  size_t start, length;
  uint32_t call;  // its index as the event told it
  size_t id;      // of a call: offset in `names` of its id; its name stands behind it
  size_t name;
  size_t signature;  // of a thought: offset in `names`; SIZE_MAX = none
} rh_api_block;

typedef struct rh_encoder_choice {
  rh_dynbuf text;                        // whole answers only
  rh_dynbuf thoughts, arguments, names;  // the same
  rh_api_block *blocks;                  // the same, in order
  size_t block_count, block_room;
  rh_dynbuf logprobs[RH_API_LOGPROB_COLUMNS];  // JSON array elements; a stream empties them with every chunk
  size_t logprob_count;                        // elements in each column
  size_t text_offset;                          // completions: characters of the tokens so far
  rh_usage usage;                              // counted along the way until the engine's own numbers come
  bool has_usage;
  int64_t tokens_before;  // completion tokens before the event at hand
  rh_finish finish;
  const char *stop;  // one of the request's own strings, or NULL
  bool begun, done;
  bool has_calls;
  // streams of Anthropic: the block that is open
  rh_api_block_kind open;
  uint32_t open_call;  // of a call: its index
  bool open_signed;    // of a thought: its proof was given, so it is complete
  size_t opened;       // blocks so far
} rh_encoder_choice;

// Where in a whole answer's bytes stands what is another thing each time. `created` counts from the beginning of `prefix`, with
// which such an answer begins. A length of 0: the answer has none.
typedef struct rh_api_marks {
  size_t created, created_length;
  size_t times, times_length;
} rh_api_marks;

struct rh_encoder {
  const rh_api_endpoint *endpoint;
  const rh_request *request;
  const rh_api_notes *notes;
  const rh_answer_meta *meta;
  const char *warnings;  // entries joined by ", "
  rh_dynbuf prefix;      // what every body or chunk begins with; empty before the first event
  rh_encoder_choice *choices;
  size_t choice_count;
  size_t done_count;
  size_t held_bytes;  // in all choices' buffers
  size_t held_max;
  // tasks that do not generate: the results come in the items' order, and one for each
  size_t item_count;  // 0 = the task generates
  size_t item_done, item_failed;
  int64_t item_tokens;
  rh_dynbuf truncated;  // places of inputs that were cut, with commas
  float *scores;        // of each item when the answer is a ranking; NaN = it failed
  rh_error error;
  bool failed;
  rh_api_marks marks;
};

// The answer ends here with an error of the encoder's own; returns `status`, for encode to return.
rh_status rh_encoder_fail(rh_encoder *encoder, rh_status status, const char *param, const char *format, ...)
    RH_PRINTF(4, 5);
// What was done: the model's own task where the request named none.
rh_task rh_encoder_task(const rh_encoder *encoder);

// All choices have ended.
bool rh_encoder_complete(const rh_encoder *encoder);

// What the rate of an answer is reckoned from.
typedef struct rh_api_pace {
  int64_t tokens;  // after each choice's first one
  double ms;       // the engine's own time for them; 0 = only the clock knows
} rh_api_pace;
rh_api_pace rh_api_pace_of(const rh_encoder *encoder);
// The members that are never the same twice: attempts ... tokens_per_second.
void rh_api_put_times(rh_dynbuf *out, const rh_answer_meta *meta, const rh_api_pace *pace);

// The part of a request's id that answers' ids end with: its digits; all of an id that a client gave.
const char *rh_api_id_digits(const char *request_id);
#define RH_API_ID_DIGITS 32u
// "prefix" + the digits of the request's id, as a JSON string.
void rh_api_put_id(rh_dynbuf *out, const char *prefix, const char *request_id);

// Add the tokens' logprobs to the choice's columns: one column of OpenAI's chat objects, or the four of completions
// (tokens, token_logprobs, top_logprobs, text_offset).
void rh_logprobs_add_chat(rh_encoder_choice *choice, const rh_event *delta);
void rh_logprobs_add_classic(rh_encoder_choice *choice, const rh_event *delta, int32_t top);
void rh_logprobs_clear(rh_encoder_choice *choice);
bool rh_logprobs_failed(const rh_encoder_choice *choice);

// Hold a DELTA or TOOL for a whole answer (blocks.c). Failures are seen by rh_blocks_failed.
void rh_blocks_add(rh_encoder_choice *choice, const rh_event *event);
const char *rh_blocks_bytes(const rh_encoder_choice *choice, const rh_api_block *block);
bool rh_blocks_failed(const rh_encoder_choice *choice);
size_t rh_blocks_held(const rh_encoder_choice *choice);
void rh_blocks_init(rh_encoder_choice *choice, size_t bytes_max);
void rh_blocks_clear(rh_encoder_choice *choice);
void rh_blocks_free(rh_encoder_choice *choice);
// The data of a thought that may not be read, from its proof; NULL: an open one, or none.
const char *rh_api_redacted(const char *signature);
// Whether this TOOL begins a call, in a stream; notes which one is open.
bool rh_blocks_begins_call(rh_encoder_choice *choice, const rh_event *event);
// The id of a call as a JSON string; one that no upstream gave is made from the request's.
void rh_api_put_call_id(rh_dynbuf *out, const rh_encoder *encoder, const char *id, uint32_t choice, uint32_t call);

// The sum over the answer: each prompt counted once, however many answers it got.
rh_usage rh_encoder_usage(const rh_encoder *encoder);

void rh_api_put_usage(rh_dynbuf *out, const rh_encoder *encoder);        // OpenAI's usage object
void rh_api_put_origin(rh_dynbuf *out, rh_encoder *encoder);             // members: version ... tokens_per_second
void rh_api_put_confidence(rh_dynbuf *out, const rh_answer_meta *meta);  // a number or null
void rh_api_put_extras(rh_dynbuf *out, rh_encoder *encoder);             // ,"roundhouse":{...} and ,"warnings":[...]
void rh_api_put_warnings(rh_dynbuf *out, const rh_encoder *encoder);     // ,"warnings":[...] when there are any
// OpenAI's finish_reason. A model that called tools waits for them, whatever its server said.
const char *rh_api_finish_word(const rh_encoder_choice *choice);

static inline void rh_put(rh_dynbuf *out, const char *text) { (void)rh_dynbuf_append(out, text, strlen(text)); }

static inline void rh_put_buf(rh_dynbuf *out, const rh_dynbuf *from) {
  (void)rh_dynbuf_append(out, rh_dynbuf_data(from), from->length);
}

static inline void rh_put_string(rh_dynbuf *out, const char *text) {
  (void)rh_json_append_string(out, text, strlen(text));
}

void rh_put_string_or_null(rh_dynbuf *out, const char *text);  // null also for ""
void rh_put_int(rh_dynbuf *out, int64_t value);
void rh_put_number(rh_dynbuf *out, double value);  // what is not finite becomes a number that is

// RH_TOO_LARGE when something did not fit since the buffer was cleared.
static inline rh_status rh_put_status(const rh_dynbuf *out) { return out->failed ? RH_TOO_LARGE : RH_OK; }

#endif
