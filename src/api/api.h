// SPDX-License-Identifier: Apache-2.0
//
// Dialects: a request body in, flow types out; flow events in, response bytes out. Pure: no sockets, no queues.
//
// One file per dialect endpoint. rh_api_find maps method and path to an endpoint; the spine does the rest.
#ifndef RH_API_API_H
#define RH_API_API_H

#include "base/arena.h"
#include "base/dynbuf.h"
#include "flow/event.h"
#include "flow/model_info.h"
#include "flow/request.h"

// What an answer says about how it was made; filled by the spine before the first event is encoded.
typedef struct rh_answer_meta {
  const char *model;    // the name that serves
  const char *version;  // of the model, or ""
  const char *host;
  const char *provider;       // "local"
  const rh_model_info *info;  // NULL until a worker is known
  const char *route_reason;
  const char *cache;        // "hit", "miss", "off"
  int64_t created;          // seconds since 1970
  uint64_t received_ns;     // monotonic: when the request came
  uint64_t first_token_ns;  // monotonic; 0 = none yet
  uint64_t finished_ns;     // monotonic: when the answer ended; 0 = the moment its end is encoded
  double cost_usd;
  // Zero and NULL: not said.
  int attempts;  // members that were asked for this answer, the one that gave it included
  const char *experiment, *arm;
  double confidence;   // 0..1, of the answer
  double cache_age_s;  // of an answer from the cache
} rh_answer_meta;

typedef struct rh_encoder rh_encoder;

typedef struct rh_api_endpoint {
  const char *name;       // metric label and log field: "chat.completions"
  const char *operation;  // gen_ai_operation_name: "chat", "text_completion", "embeddings"
  const char *path;
  const char *const *other_paths;  // NULL-terminated; NULL = none
  const char *stream_type;         // "text/event-stream"
  bool streams_by_default;
  // Whole answers can become an rh_form: nothing changes in them but ids, `created` and what rh_api_put_times writes.
  bool repeats;

  // Body to request. Sets all of `out` but its id, and `stream` only where the body says so; `arena` holds what it
  // points at. Unknown fields that clients send by habit are added to `warnings` (entries joined by ", ", none with a
  // comma inside, bounded by the buffer's maximum: what does not fit is left out); parameters that change the answer
  // and cannot be honoured are RH_UNSUPPORTED. `warnings` and `error` may be NULL.
  rh_status (*decode)(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                      rh_error *error);

  // Bytes for one event. In a stream: what goes out now. Otherwise: nothing until the last final event, then the whole
  // body. `*finished` is set when the answer is complete (every choice has had its final event). Called by
  // rh_encoder_push only, which keeps the state; never sees an ERROR.
  rh_status (*encode)(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished);

  // An error body, or in mid-stream the dialect's error event (and what ends a stream).
  rh_status (*encode_error)(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out);

  // A keep-alive comment for a silent stream.
  const char *ping;
} rh_api_endpoint;

// By path; NULL when no dialect has it.
const rh_api_endpoint *rh_api_find(const char *path);
// All endpoints, NULL-terminated.
const rh_api_endpoint *const *rh_api_all(void);

// State of one answer. `request`, `meta` and `warnings` (NULL = none) must outlive it. The request's id and the meta's
// model and created are read with the first event, the rest of the meta with the last. NULL when memory is short.
rh_encoder *rh_encoder_new(const rh_api_endpoint *endpoint, const rh_request *request, const rh_answer_meta *meta,
                           const char *warnings);
void rh_encoder_free(rh_encoder *encoder);

// Take one event. An ERROR of any choice ends the whole answer, streamed or not: nothing is written, `*finished` is
// true and rh_encoder_error says what happened. The caller then writes it with the endpoint's encode_error (`in_stream`
// when the stream has begun, otherwise with the HTTP status) and cancels the other choices; their events are ignored.
// A status that is not RH_OK says the same of what the encoder itself found (rh_encoder_error is set): RH_TOO_LARGE, an answer
// that grew past its bound, or `out` is full; RH_PROTOCOL, results that do not fit the request; an item's error where the
// dialect has no place for it.
rh_status rh_encoder_push(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) RH_MUST_CHECK;
// The error that ended the answer, or NULL. Lives as long as the encoder.
const rh_error *rh_encoder_error(const rh_encoder *encoder);

// A whole answer's bytes, to be given again to an equal request: all of it stays but the request's id, the second of its making
// and its times. `bytes`: what rh_encoder_push wrote. NULL when that is impossible (a stream, a dialect that tells more that
// changes, an id that is not ours) or memory is short. It keeps nothing of the encoder.
typedef struct rh_form rh_form;
rh_form *rh_form_new(const rh_encoder *encoder, const char *bytes, size_t length);
void rh_form_free(rh_form *form);
// What `meta` says of where the answer comes from is what the bytes say.
bool rh_form_fits(const rh_form *form, const rh_answer_meta *meta);
rh_status rh_form_write(const rh_form *form, const char *request_id, const rh_answer_meta *meta,
                        rh_dynbuf *out) RH_MUST_CHECK;

// HTTP status of an error, and whether a client may usefully try again (x-should-retry). One table: api/errors.c.
unsigned rh_api_http_status(rh_status status);
bool rh_api_should_retry(rh_status status);

// An OpenAI-shaped error body: {"error":{"message","type","param","code"},"request_id"}. Also used by endpoints that
// belong to no dialect. `path` picks the dialect's shape where one owns it (Ollama's model calls: {"error":"text"}); NULL
// is allowed, as is a NULL request_id.
rh_status rh_api_error_body(const char *path, const char *request_id, const rh_error *error, rh_dynbuf *out);
// A path of Ollama's model calls: /api/tags, /api/show, ...
bool rh_api_is_ollama_path(const char *path);

// GET /v1/models and /v1/models/{id}. Aliases are told with the model they mean and are no entries of their own: a client
// that lists models must not load one twice.
typedef struct rh_api_model {
  const char *name;
  int64_t created;
  const char *state;  // "ready", "loading", "cold", "failed"
  const char *engine;
  const char *version;         // the part of the name after the last ':'; "" = none
  const char *const *aliases;  // NULL-terminated; NULL = none
  const char *task;            // what is known of it before the load; NULL = nothing
  const rh_model_info *info;   // NULL when not loaded
} rh_api_model;

rh_status rh_api_model_list(const rh_api_model *models, size_t count, rh_dynbuf *out);
rh_status rh_api_model_one(const rh_api_model *model, rh_dynbuf *out);

#endif
