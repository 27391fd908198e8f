// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: how a body becomes a request. A dialect is a table of fields; a row says how its field is
// read and where the value goes. Everything here runs on the thread that calls decode and keeps nothing afterwards.
#ifndef RH_API_CODEC_H
#define RH_API_CODEC_H

#include "api/api.h"
#include "base/json.h"

#define RH_API_FIELDS_MAX 128      // fields of one dialect, all its tables together
#define RH_API_UNKNOWN_MAX 16      // unknown fields reported by name
#define RH_API_WORD_BYTES_MAX 256  // session, user, ...
#define RH_API_TIMEOUT_S_MAX 86400.0
#define RH_API_TOOL_NAME_MAX 128
#define RH_API_PIECES_MAX 4096  // parts of one message
#define RH_API_PATH_BYTES 96    // "messages[4095].content[4095].content[4095]" and a word

// What a codec remembers between decode and encode, and values that are checked against each other once all are read.
typedef struct rh_api_notes {
  bool include_usage;    // OpenAI: stream_options.include_usage
  bool echo;             // completions: the prompt stands before the answer
  bool raw;              // generate: no chat template
  bool logprobs;         // chat
  int64_t top_logprobs;  // chat; -1 = not given
  int64_t best_of;       // completions; 0 = not given
  bool wants_thoughts;   // Anthropic: the client asked for thinking

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
  rh_extras *extras;    // in the arena; also request->extras. NULL until rh_api_extras
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
  uint32_t given;    // RH_GIVEN_ bits that the row stands for
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
rh_status rh_field_stop(rh_decoding *decoding, const rh_field *field);      // a string or an array of strings
rh_status rh_field_top_k(rh_decoding *decoding, const rh_field *field);     // negative: off
rh_status rh_field_metadata(rh_decoding *decoding, const rh_field *field);  // hints in a client's own notes (hints.c)

// Tables that dialects share.
extern const rh_field rh_fields_request[];  // model, and our own extensions: timeout, keep_alive, priority, session
extern const rh_field rh_fields_hints[];    // privacy, local_only, agent_type, complexity, route_strategy, cache
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

// The request's extras, made when first asked for. NULL: the error is set.
rh_extras *rh_api_extras(rh_decoding *decoding);
// A JSON value as compact text in the arena.
rh_status rh_api_copy_json(rh_decoding *decoding, const json_t *value, const char **out) RH_MUST_CHECK;
// A string member that must be there; borrowed from the body. `path` is the object's.
rh_status rh_api_need_string(rh_decoding *decoding, const json_t *object, const char *path, const char *key,
                             const char **out) RH_MUST_CHECK;
// RH_INVALID unless the value is an object.
rh_status rh_api_need_object(rh_decoding *decoding, const json_t *value, const char *path) RH_MUST_CHECK;
// A tool's name: not empty and not longer than RH_API_TOOL_NAME_MAX.
rh_status rh_api_copy_tool_name(rh_decoding *decoding, const char *name, const char *path,
                                const char **out) RH_MUST_CHECK;
// A choice of a tool that was not given, or of any tool where none was given, is wrong.
rh_status rh_api_check_tools(rh_decoding *decoding) RH_MUST_CHECK;

// Read `messages` into the request's only prompt (api/messages.c).
rh_status rh_api_decode_messages(rh_decoding *decoding) RH_MUST_CHECK;

// The body's `messages`: an array that is not empty and within the limit; borrowed.
rh_status rh_api_get_messages(rh_decoding *decoding, json_t **out) RH_MUST_CHECK;
// The request's tools, each read by the dialect.
typedef rh_status (*rh_read_tool)(rh_decoding *decoding, const json_t *tool, const char *path, rh_tool *out);
rh_status rh_api_read_tools(rh_decoding *decoding, const json_t *list, rh_read_tool read) RH_MUST_CHECK;

// Rows of OpenAI's chat for what only some models can do (api/openai_tools.c).
rh_status rh_field_openai_tools(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_openai_tool_choice(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_openai_parallel(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_openai_format(rh_decoding *decoding, const rh_field *field);
rh_status rh_field_openai_effort(rh_decoding *decoding, const rh_field *field);

// --- messages that are more than text (pieces.c) --------------------------------------------------------------------

// The pieces of one message while it is read; `list` is in the arena and holds `room`.
typedef struct rh_pieces {
  rh_piece *list;
  size_t count, room;
} rh_pieces;

rh_status rh_pieces_begin(rh_decoding *decoding, rh_pieces *pieces, size_t room) RH_MUST_CHECK;
// Room for one more piece, zeroed. There must be.
rh_piece *rh_pieces_add(rh_pieces *pieces, rh_piece_kind kind);
rh_status rh_pieces_add_text(rh_decoding *decoding, rh_pieces *pieces, const char *text) RH_MUST_CHECK;
// An image from a data: or http(s) URL.
rh_status rh_pieces_add_url(rh_decoding *decoding, rh_pieces *pieces, const char *url, const char *path) RH_MUST_CHECK;
// An image from base64 and its type.
rh_status rh_pieces_add_data(rh_decoding *decoding, rh_pieces *pieces, const char *media_type, size_t type_length,
                             const char *data, const char *path) RH_MUST_CHECK;
// The message's content and pieces; the request's needs. Pieces that are all text leave none, but for those with a mark.
rh_status rh_pieces_end(rh_decoding *decoding, const rh_pieces *pieces, const char *role,
                        rh_message *out) RH_MUST_CHECK;
// The messages as the request's only prompt.
rh_status rh_api_set_messages(rh_decoding *decoding, const rh_message *messages, size_t count) RH_MUST_CHECK;

#endif
