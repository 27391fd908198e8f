// SPDX-License-Identifier: Apache-2.0
//
// What Ollama's calls share. Private to src/daemon; loop thread only.
//
//   ollama.c           the table of routes; tags, ps, version, and what is refused
//   ollama_names.c     Ollama's names for our models, and back
//   ollama_describe.c  a model in Ollama's words
//   ollama_show.c      show
//   ollama_store.c     pull, copy, delete
#ifndef RH_DAEMON_OLLAMA_H
#define RH_DAEMON_OLLAMA_H

#include "daemon/admin.h"

#define RH_OLLAMA_NAME_SIZE (2 * RH_MODEL_NAME_MAX + 16)

// --- names ---------------------------------------------------------------------------------------------------------

// "name:version" as it is; "name" as "name:latest".
void rh_ollama_name(const char *name, char *out, size_t size);
// The model that a client means; aliases are found with ":latest" behind them too. RH_NOT_FOUND begins with the words
// "model 'x' not found", which clients look for.
rh_status rh_ollama_resolve(rh_daemon *daemon, const char *name, rh_resolution *out, rh_error *error) RH_MUST_CHECK;
// `name` without a ":latest" that no model of ours is called by.
void rh_ollama_our_name(rh_daemon *daemon, const char *name, char *out, size_t size);
// The field "model", or "name" as older clients call it.
rh_status rh_ollama_model_field(const rh_operation *operation, const char **out, rh_error *error) RH_MUST_CHECK;

// --- descriptions --------------------------------------------------------------------------------------------------

// What is known of a model, from its worker, its manifest or its file's header.
typedef struct rh_ollama_facts {
  const char *architecture, *quantization;  // "" = unknown; they live until the loop turns
  int64_t parameters, context;              // 0 = unknown
} rh_ollama_facts;

// Headers are read until `deadline_ns` and remembered; later ones stay unknown until somebody asks again.
rh_ollama_facts rh_ollama_facts_of(rh_daemon *daemon, const rh_served *served, uint64_t deadline_ns);
json_t *rh_ollama_details(const rh_served *served, const rh_ollama_facts *facts);
bool rh_ollama_embeds(const rh_served *served, const rh_ollama_facts *facts);
// 64 hexadecimal digits: the main file's SHA-256. Where nobody has ever hashed it: of a line that says which file it is,
// with its size and time, so that it changes when the file does.
void rh_ollama_digest(const rh_served *served, char out[65]);
// "2026-11-21T08:49:56Z" into `out` (at least 32 bytes).
void rh_ollama_time(int64_t seconds, char *out, size_t size);

// --- calls ---------------------------------------------------------------------------------------------------------

void rh_ollama_begin_show(rh_operation *operation);
void rh_ollama_begin_pull(rh_operation *operation);
void rh_ollama_begin_copy(rh_operation *operation);
void rh_ollama_begin_delete(rh_operation *operation);

#endif
