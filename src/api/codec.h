// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: how a body becomes a request. A dialect is a table of fields; a row says how its field is
// read and where the value goes. Everything here runs on the thread that calls decode and keeps nothing afterwards.
#ifndef RH_API_CODEC_H
#define RH_API_CODEC_H

#include "api/api.h"
#include "base/json.h"

#define RH_API_FIELDS_MAX 96       // fields of one dialect, all its tables together
#define RH_API_UNKNOWN_MAX 16      // unknown fields reported by name
#define RH_API_WORD_BYTES_MAX 256  // session, user, ...
#define RH_API_TIMEOUT_S_MAX 86400.0

// What a codec remembers between decode and encode, and values that are checked against each other once all are read.
typedef struct rh_api_notes {
  bool include_usage;    // OpenAI: stream_options.include_usage
  bool echo;             // completions: the prompt stands before the answer
  bool raw;              // generate: no chat template
  bool logprobs;         // chat
  int64_t top_logprobs;  // chat; -1 = not given
  int64_t best_of;       // completions; 0 = not given

  // tasks that do not generate
  bool base64;            // vectors and tensors as base64 instead of numbers
  bool return_documents;  // rerank
  int64_t top_n;          // rerank; 0 = all
  const char *task_name;  // inference
} rh_api_notes;

typedef struct rh_decoding {
  json_t *body;  // owned from rh_api_decode_begin to rh_api_decode_end
  rh_arena *arena;
  rh_request *request;
  rh_api_notes *notes;  // in the arena; also request->dialect
  rh_infer *infer;      // in the arena; also request->infer. NULL for endpoints that generate
  const char *path;     // of `body` when it is an object inside the real one ("options"); "" otherwise
  rh_dynbuf *warnings;
  rh_error *error;  // may be NULL
  size_t unknown_count;
} rh_decoding;

typedef struct rh_field rh_field;
struct rh_field {
  const char *name;  // NULL ends a table
  // Called when the field is there and not null.
  rh_status (*read)(rh_decoding *decoding, const rh_field *field);
  size_t offset;  // in rh_request, or in rh_api_notes when `in_notes`, or in rh_infer when `in_infer`
  bool in_notes, in_infer;
  double min, max;   // of a number; `max` also bounds the bytes of a string
  const char *text;  // why it is refused
};

#define RH_FIELD_REQUEST(member) .offset = offsetof(rh_request, member)
#define RH_FIELD_NOTES(member) .offset = offsetof(rh_api_notes, member), .in_notes = true
#define RH_FIELD_INFER(member) .offset = offsetof(rh_infer, member), .in_infer = true

// Parse the body and set the request's defaults. On success rh_api_decode_end must follow; on failure it must not.
rh_status rh_api_decode_begin(rh_decoding *decoding, const char *body, size_t length, rh_arena *arena, rh_request *out,
                              rh_dynbuf *warnings, rh_error *error) RH_MUST_CHECK;
void rh_api_decode_end(rh_decoding *decoding);

// Read the fields of all tables (NULL-terminated) in the tables' order, so that of two names for one thing the later
// row wins. Unknown fields: an error that names the nearest known one, or a warning.
rh_status rh_api_decode_fields(rh_decoding *decoding, const rh_field *const *tables,
                               bool unknown_is_error) RH_MUST_CHECK;

// Checks between fields that every dialect needs, when all are read and the prompts are set.
rh_status rh_api_decode_finish(rh_decoding *decoding) RH_MUST_CHECK;

// Readers of one row.
rh_status rh_field_float(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_int32(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_int64(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_bool(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_string(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_ignore(rh_decoding *decoding, const rh_field *field);  // accepted: changes nothing in the answer
rh_status rh_field_warn(rh_decoding *decoding, const rh_field *field);    // accepted, reported as having no effect
rh_status rh_field_refuse(rh_decoding *decoding, const rh_field *field);  // refused with field->text
rh_status rh_field_refuse_list(rh_decoding *decoding, const rh_field *field);  // the same; an empty array is fine
rh_status rh_field_refuse_word(rh_decoding *decoding, const rh_field *field);  // the same; "none" and "auto" are fine
rh_status rh_field_logit_bias(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_stream_options(rh_decoding *decoding, const rh_field *field);

// Tables that dialects share.
extern const rh_field rh_fields_request[];  // model, and our own extensions: timeout, keep_alive, priority, session
extern const rh_field rh_fields_common[];   // sampling, stop, seed, stream
extern const rh_field rh_fields_openai[];   // what both OpenAI endpoints have besides

// Copy into the arena. RH_TOO_LARGE when the request's memory is used up.
rh_status rh_api_copy_string(rh_decoding *decoding, const char *text, const char **out) RH_MUST_CHECK;
void *rh_api_alloc_array(rh_decoding *decoding, size_t count, size_t bytes_each);  // NULL: the error is set
// An array of token ids into the arena; `path` names it in errors. Sets nothing unless all of it was read.
rh_status rh_api_decode_tokens(rh_decoding *decoding, const json_t *list, const char *path, const int32_t **out,
                               size_t *count) RH_MUST_CHECK;

// Add one entry to the warnings unless it is there already; `name` may be a client's own words and is made harmless.
void rh_api_warn(rh_decoding *decoding, const char *prefix, const char *name, const char *did_you_mean);

// Read `messages` into the request's only prompt (api/messages.c).
rh_status rh_api_decode_messages(rh_decoding *decoding) RH_MUST_CHECK;

#endif
