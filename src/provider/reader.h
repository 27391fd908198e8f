// SPDX-License-Identifier: Apache-2.0
//
// Private to src/provider: what the readers of all protocols share. It turns bytes into JSON values, hands them to a dialect, and
// keeps the order of events that flow/event.h promises.
#ifndef RH_PROVIDER_READER_H
#define RH_PROVIDER_READER_H

#include <jansson.h>

#include "base/sse.h"
#include "provider/protocol.h"

// How one protocol's answers are read. All JSON values are borrowed. After rh_reader_fail the reader is over: what is called then
// does nothing, so a dialect need not look after every step.
typedef struct rh_reader_dialect {
  void (*event)(rh_protocol_reader *reader, const json_t *root);  // one event of a stream
  void (*body)(rh_protocol_reader *reader, const json_t *root);   // a whole answer
} rh_reader_dialect;

typedef struct rh_reader_call {  // of a tool
  int64_t key;                   // the provider's own number of it
  bool has_arguments;
} rh_reader_call;

struct rh_protocol_reader {
  const rh_reader_dialect *dialect;
  const rh_provider_spec *spec;
  const rh_run *run;
  bool stream;     // a stream was asked for
  bool looked;     // the first byte was seen
  bool in_body;    // one JSON value, whatever was asked for
  bool started;    // START was pushed
  bool over;       // the final event was pushed
  bool has_usage;  // some count was told
  bool has_finish;
  bool done;        // the protocol's own last word has come
  bool said_text;   // some text was pushed
  bool trim_start;  // blanks that the prefix ends with were not sent, so the answer may begin with them
  rh_finish finish;
  rh_usage usage;
  char *stop;  // the stop string that was met; owned
  rh_sse sse;
  rh_dynbuf body;
  rh_reader_call *calls;  // those of the answer so far
  size_t call_count;
  char pending_id[128];  // CHAT: of a call whose name has not come
  int64_t pending_key;
  int block;            // ANTHROPIC: kind of the open block
  rh_dynbuf signature;  // ANTHROPIC: of the open thought
  const rh_sink *sink;  // during a call
  rh_verdict verdict;   // likewise
};

rh_protocol_reader *rh_reader_new(const rh_reader_dialect *dialect, const rh_provider_spec *spec, const rh_run *run,
                                  bool stream);
// These four are the members of rh_protocol_ops.
void rh_reader_free(rh_protocol_reader *reader);
rh_verdict rh_reader_read(rh_protocol_reader *reader, const char *bytes, size_t length, const rh_sink *sink);
rh_verdict rh_reader_finish(rh_protocol_reader *reader, const rh_sink *sink);

// --- for the dialects ----------------------------------------------------------------------------------------------

// RH_UPSTREAM: the answer cannot be read.
void rh_reader_fail(rh_protocol_reader *reader, const char *format, ...) RH_PRINTF(2, 3);
void rh_reader_fail_with(rh_protocol_reader *reader, const rh_error *error);
// The provider itself says that it failed: `root` as for rh_provider_explain_json.
void rh_reader_fail_said(rh_protocol_reader *reader, const json_t *root);

void rh_reader_start(rh_protocol_reader *reader);  // once; later calls do nothing
void rh_reader_text(rh_protocol_reader *reader, const char *text, size_t length, int32_t tokens,
                    const rh_token_logprob *logprobs, size_t logprob_count);
void rh_reader_thought(rh_protocol_reader *reader, const char *text, size_t length, const char *signature);
// A call begins; `key` is the provider's own number of it. An empty id gets one made up.
void rh_reader_call_begin(rh_protocol_reader *reader, int64_t key, const char *id, const char *name);
// More arguments of the call that began last. A piece for an earlier one is a fault, unless it is empty.
void rh_reader_call_more(rh_protocol_reader *reader, int64_t key, const char *arguments, size_t length);
bool rh_reader_call_known(const rh_protocol_reader *reader, int64_t key);
void rh_reader_finish_as(rh_protocol_reader *reader, rh_finish finish);
void rh_reader_set_stop(rh_protocol_reader *reader, const char *stop);
void rh_reader_result(rh_protocol_reader *reader, const rh_result *result);
// USAGE and END.
void rh_reader_end(rh_protocol_reader *reader);

// A member of an object, checked for its type: NULL when it is absent or null; a fault when it is something else.
const json_t *rh_reader_object(rh_protocol_reader *reader, const json_t *object, const char *key);
const json_t *rh_reader_array(rh_protocol_reader *reader, const json_t *object, const char *key);
const char *rh_reader_string(rh_protocol_reader *reader, const json_t *object, const char *key, size_t *length);
// A count into `*out`, which stays where there is none. No fault: counts are not worth an answer.
bool rh_reader_count(const json_t *object, const char *key, int64_t *out);

// OpenAI's list of tokens with their probabilities, pushed with the text; without it (or when the run asked for none) the text alone.
void rh_reader_text_logprobs(rh_protocol_reader *reader, const char *text, size_t length, int32_t tokens,
                             const json_t *list);

#endif
