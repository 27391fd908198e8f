// SPDX-License-Identifier: Apache-2.0
//
// Remote providers: somebody else's models, over HTTPS. A run goes out in the provider's own protocol and comes back as our
// events, as if a worker had made them.
//
// Thread: the event loop's; libcurl's multi interface runs inside it. A provider owns its connections, its queue and its
// runs. It holds no policy: who is asked, and who is asked next, is decided above (src/gateway).
#ifndef RH_PROVIDER_PROVIDER_H
#define RH_PROVIDER_PROVIDER_H

#include <jansson.h>

#include "base/loop.h"
#include "base/status.h"
#include "flow/event.h"
#include "flow/request.h"

#define RH_PROVIDER_NAME_MAX 64
#define RH_PROVIDER_MODELS_MAX 256  // named in one provider's configuration

typedef enum rh_protocol {
  RH_PROTOCOL_CHAT,  // OpenAI's chat completions (and completions, embeddings): OpenAI, OpenRouter, vLLM, Ollama, ...
  RH_PROTOCOL_RESPONSES,  // OpenAI's responses
  RH_PROTOCOL_ANTHROPIC,  // Anthropic's messages
  RH_PROTOCOL_COUNT
} rh_protocol;

// "models": {"default": "gpt-x", "fast": "..."}: a word of the configuration and the provider's own name for a model.
typedef struct rh_provider_model {
  char *word;
  char *model;
} rh_provider_model;

typedef struct rh_provider_spec {
  char *name;  // the key under "providers"
  const char *
      type;  // which server it is: a known name ("openai", "vllm", ...) or "openai-compatible"; static. NULL = the latter
  unsigned quirks;  // what that server knows beyond the protocol: RH_QUIRK_ bits of known.h
  // Its models are ours, in this process' workers ("onnx", "gguf", "llama", "local"): no connection. Only name, models and
  // what `engine_options` says count.
  bool in_process;
  // It runs on this machine (its address is a loopback one) or the configuration says that it counts as such: requests
  // that must not leave the machine may go there.
  bool local;
  bool enabled;
  rh_protocol protocol;
  char *base_url;        // "https://api.anthropic.com/v1", no slash at its end
  char *key;             // a secret: never in a log, a message, an answer. NULL = none
  char *key_error;       // why there is no key although one was meant ("the variable X is not set"); NULL = fine
  char **headers;        // more of them: "Name: value", NULL-terminated; NULL = none. May hold secrets
  char *ca_file;         // NULL = the system's certificates
  bool insecure_http;    // http:// to another machine is allowed (otherwise only to loopback addresses)
  bool prefill;          // a last message of the assistant is continued, not answered
  bool stream_usage;     // CHAT: it knows stream_options.include_usage
  bool new_token_field;  // CHAT: max_completion_tokens, as OpenAI itself wants it, in place of max_tokens
  uint64_t connect_timeout_ns, first_timeout_ns;  // until the connection stands; until the first byte of an answer
  uint64_t idle_timeout_ns, total_timeout_ns;     // between two bytes; of one attempt as a whole, 0 = none
  int64_t concurrency_max;                        // running at once; further ones wait
  int64_t queue_max;                              // waiting; further ones get RH_QUEUE_FULL
  int64_t retries_max;      // of one run on this provider, before anything was passed on; the budget is the gateway's
  uint64_t retry_delay_ns;  // before the first of them; doubles, with chance in it
  double weight;            // for balancing; 1 = usual
  char *health_path;        // GET answers 2xx when it is well; NULL = none
  uint64_t health_interval_ns;
  json_t *preferences;  // OpenRouter's "provider" object, sent as it is; NULL = none
  json_t *
      engine_options;  // of an in_process one: what the configuration said of engines (threads, executionProviders, ...)
  rh_provider_model *models;
  size_t model_count;
} rh_provider_spec;

// One entry of "providers". Known names and "type" set what the entry leaves out. Unknown fields are errors that name the
// nearest. `environment`: NULL-terminated, for ${NAME} in values and <NAME>_API_KEY; `folder`: of the configuration file, for
// relative paths. A missing key is no error here (key_error). The shape is in docs/gateway.md.
rh_status rh_provider_spec_parse(const char *name, const json_t *entry, char *const *environment, const char *folder,
                                 rh_provider_spec *out, rh_error *error) RH_MUST_CHECK;
void rh_provider_spec_release(rh_provider_spec *spec);
// The provider's own name for `word` ("default", "fast" or already a name); NULL `word` means "default". NULL when it says
// nothing of it and `word` is NULL.
const char *rh_provider_spec_model(const rh_provider_spec *spec, const char *word);

// --- running -------------------------------------------------------------------------------------------------------

typedef struct rh_providers rh_providers;  // all of them: one connection cache
typedef struct rh_provider rh_provider;
typedef struct rh_provider_run rh_provider_run;

// `specs` are borrowed and must outlive the result. Only those that are not in_process are opened.
rh_status rh_providers_new(rh_loop *loop, const rh_provider_spec *specs, size_t count, rh_providers **out,
                           rh_error *error) RH_MUST_CHECK;
void rh_providers_free(rh_providers *providers);  // runs get no further event
rh_provider *rh_providers_find(const rh_providers *providers, const char *name);

typedef struct rh_provider_options {
  int32_t priority;      // in its queue: higher first
  uint64_t deadline_ns;  // absolute, of the whole request; 0 = none. RH_DEADLINE when it passes
  uint32_t choice;       // copied into every event
  bool stream;           // ask for a stream; otherwise the whole answer comes as one DELTA (the upstream does the same)
  // Asked before each further attempt of this run (spec.retries_max); NULL = yes.
  bool (*may_retry)(void *ctx);
  void *retry_ctx;
} rh_provider_options;

// `model` is the provider's own name; it and `run` must live until the run's end. The sink gets START, DELTA/TOOL/RESULT,
// USAGE, END or ERROR like a worker's run, never from inside this function. RH_WAIT pauses the transfer.
// Errors say what the provider said, shortened, without secrets; rh_error.retry_after_ms from Retry-After. RH_LIMITED (429),
// RH_UPSTREAM (5xx, a cut or unreadable answer, no connection, TLS, our key refused), RH_DEADLINE (a timeout), RH_INVALID and
// RH_CONTEXT_OVERFLOW and RH_NOT_FOUND (the request is at fault), RH_UNSUPPORTED (cannot be said in its protocol).
rh_status rh_provider_run_begin(rh_provider *provider, const char *model, const rh_run *run,
                                const rh_provider_options *options, const rh_sink *sink, rh_provider_run **out,
                                rh_error *error) RH_MUST_CHECK;
void rh_provider_run_resume(rh_provider_run *run);
// False while it waits in the provider's queue: nothing of it has reached the provider. Also from inside its final push.
bool rh_provider_run_was_sent(const rh_provider_run *run);
void rh_provider_run_cancel(rh_provider_run *run);  // the sink is never called again; the connection is closed at once

size_t rh_provider_running(const rh_provider *provider);
size_t rh_provider_queued(const rh_provider *provider);
const rh_provider_spec *rh_provider_get_spec(const rh_provider *provider);
// Until when its Retry-After asked everybody to stay away; 0 = not. monotonic ns.
uint64_t rh_provider_resting_until_ns(const rh_provider *provider);

// One health check now; `done` is called once, later. Without health_path: GET base_url/models.
rh_status rh_provider_probe(rh_provider *provider, void (*done)(void *ctx, bool well, const char *why), void *ctx,
                            rh_error *error) RH_MUST_CHECK;

#endif
