// SPDX-License-Identifier: Apache-2.0
//
// Ollama's calls that change the store: pull, copy, delete. They are the admin calls in other words. Owns nothing. Loop
// thread only.
#include <stdio.h>
#include <string.h>

#include "daemon/ollama.h"
#include "model/known.h"
#include "model/ref.h"

static void answer_empty(rh_operation *operation, rh_served *served) {
  (void)served;
  rh_operation_answer_empty(operation, 200);
}

// Our name for what is in the store, served or not. Fails with Ollama's words when there is no such model.
static rh_status find(rh_operation *operation, const char *name, char *out, size_t size, rh_error *error) {
  rh_daemon *daemon = operation->daemon;
  rh_resolution found;
  rh_model_ref ref;
  rh_stored stored = {0};
  rh_error ignored = {0};
  rh_status status = rh_ollama_resolve(daemon, name, &found, error);
  rh_ollama_our_name(daemon, name, out, size);
  if (status != RH_NOT_FOUND || daemon->store == NULL || rh_model_ref_parse(name, &ref, &ignored) != RH_OK ||
      rh_store_find(daemon->store, &ref, &stored, &ignored) != RH_OK) {
    return status;
  }
  rh_stored_release(&stored);
  return RH_OK;
}

void rh_ollama_begin_delete(rh_operation *operation) {
  static const char *const fields[] = {"model", "name", NULL};
  const char *said = NULL;
  char name[RH_OLLAMA_NAME_SIZE];
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_ollama_model_field(operation, &said, &error);
  if (status == RH_OK) status = find(operation, said, name, sizeof name, &error);
  if (status != RH_OK)
    rh_operation_fail(operation, &error);
  else
    rh_admin_delete(operation, name, false, answer_empty);
}

// Where a second name for a model that is not the store's can be had.
static rh_status check_copied(rh_operation *operation, const char *name, const char *to, rh_error *error) {
  rh_resolution found;
  rh_error ignored = {0};
  if (rh_ollama_resolve(operation->daemon, name, &found, &ignored) != RH_OK) return RH_OK;
  const rh_model_spec *spec = rh_served_spec(found.served);
  if (spec->origin == RH_ORIGIN_STORE) return RH_OK;
  return rh_fail_param(error, RH_CONFLICT, "source",
                       "%.128s is used where it lies and not copied; give it a second name with `roundhouse alias "
                       "%.64s %.128s`",
                       spec->name, to, spec->name);
}

void rh_ollama_begin_copy(rh_operation *operation) {
  static const char *const fields[] = {"source", "destination", NULL};
  const char *source = NULL, *destination = NULL;
  char name[RH_OLLAMA_NAME_SIZE], target[RH_OLLAMA_NAME_SIZE];
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "source", true, &source, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "destination", true, &destination, &error);
  if (status == RH_OK) status = find(operation, source, name, sizeof name, &error);
  if (status == RH_OK) status = check_copied(operation, name, destination, &error);
  if (status != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  // A copy without a version is its "latest", whatever the original's is called.
  rh_ollama_name(destination, target, sizeof target);
  rh_admin_copy(operation, name, target, answer_empty);
}

// --- pull: what is meant -------------------------------------------------------------------------------------------

typedef struct wish {
  rh_pull_request request;
  char source[4096];
  char name[RH_OLLAMA_NAME_SIZE];
} wish;

// "hf.co/org/repo:Q4_K_M" is stored under that name, because it is asked for by it afterwards.
static bool take_hub_name(const char *said, wish *out) {
  static const char *const hosts[] = {"hf.co/", "huggingface.co/"};
  char plain[RH_OLLAMA_NAME_SIZE];
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
    if (!rh_text_starts_with(said, hosts[i]) || !rh_text_copy(plain, sizeof plain, said)) continue;
    if (rh_text_ends_with(plain, ":" RH_VERSION_LATEST)) *strrchr(plain, ':') = '\0';
    (void)rh_text_copy(out->name, sizeof out->name, plain);
    (void)snprintf(out->source, sizeof out->source, "hf:%s", plain + strlen(hosts[i]));
    out->request = (rh_pull_request){.source = out->source, .name = out->name};
    return true;
  }
  return false;
}

// Clients that keep models up to date pull what they already have: it comes again from where it came. False: it lies
// where it is used and comes from nowhere.
static bool take_served(const rh_model_spec *spec, wish *out) {
  if (spec->origin != RH_ORIGIN_STORE || spec->source == NULL || spec->source[0] == '\0') return false;
  (void)rh_text_copy(out->source, sizeof out->source, spec->source);
  (void)rh_text_copy(out->name, sizeof out->name, spec->name);
  out->request = (rh_pull_request){.source = out->source, .name = out->name};
  return true;
}

static bool is_called(const rh_model_spec *spec, const char *said) {
  char name[RH_OLLAMA_NAME_SIZE], full[RH_OLLAMA_NAME_SIZE];
  rh_ollama_name(spec->name, name, sizeof name);
  rh_ollama_name(said, full, sizeof full);
  return strcasecmp(name, full) == 0;
}

// What is to be fetched for `said`; false when it is here and there is nowhere to fetch it from.
static bool understand(rh_daemon *daemon, const char *said, wish *out) {
  rh_resolution found;
  rh_error ignored = {0};
  *out = (wish){.request = {.source = said}};
  if (take_hub_name(said, out)) return true;
  bool here = rh_ollama_resolve(daemon, said, &found, &ignored) == RH_OK;
  const rh_model_spec *spec = here ? rh_served_spec(found.served) : NULL;
  if (here && spec->origin != RH_ORIGIN_STORE && is_called(spec, said)) return false;
  if (rh_known_find(said) != NULL) return true;
  if (here) return take_served(spec, out);
  // A repository has no version of this name; without one its own choice is meant.
  if (rh_text_ends_with(said, ":" RH_VERSION_LATEST) && rh_text_copy(out->source, sizeof out->source, said)) {
    *strrchr(out->source, ':') = '\0';
    out->request.source = out->source;
  }
  return true;
}

// --- pull: what is told --------------------------------------------------------------------------------------------

static json_t *status_line(const char *words) { return json_pack("{ss}", "status", words); }

// One file. Clients show a bar for each digest; where the source gives none, the file's name stands there.
static json_t *file_line(const json_t *file, const json_t *completed, const json_t *total) {
  const char *path = json_string_value(json_object_get(file, "path"));
  const char *sha256 = json_string_value(json_object_get(file, "sha256"));
  if (path == NULL) path = "";
  json_t *line = json_pack(
      "{soso}", "status", sha256 != NULL ? json_sprintf("pulling %.12s", sha256) : json_sprintf("pulling %.200s", path),
      "digest", sha256 != NULL ? json_sprintf("sha256:%.64s", sha256) : json_sprintf("%.200s", path));
  // jansson lacks the const
  if (json_is_integer(total)) json_object_set(line, "total", (json_t *)(uintptr_t)total);
  if (json_is_integer(completed)) json_object_set(line, "completed", (json_t *)(uintptr_t)completed);
  return line;
}

static json_t *file_lines(const json_t *event) {
  json_t *lines = json_array();
  size_t index;
  json_t *file;
  json_array_foreach(json_object_get(event, "files"), index, file) {
    json_array_append_new(lines, file_line(file, json_object_get(file, "completed"), json_object_get(file, "total")));
  }
  return lines;
}

static json_t *resolved_lines(const json_t *event) {
  json_t *lines = json_array();
  size_t index;
  json_t *file;
  json_array_append_new(lines, status_line("pulling manifest"));
  if (!json_is_true(json_object_get(event, "already"))) return lines;
  json_array_foreach(json_object_get(event, "files"), index, file) {
    const json_t *bytes = json_object_get(file, "bytes");
    json_array_append_new(lines, file_line(file, bytes, bytes));
  }
  return lines;
}

static json_t *retry_line(const json_t *event) {
  const char *file = json_string_value(json_object_get(event, "file"));
  const char *reason = json_string_value(json_object_get(event, "reason"));
  return json_pack("{so}", "status",
                   json_sprintf("trying %.200s again in %.0f s: %.300s", file != NULL ? file : "",
                                json_number_value(json_object_get(event, "wait_s")), reason != NULL ? reason : ""));
}

static json_t *pull_line(const rh_operation *operation, const json_t *event) {
  (void)operation;
  const char *kind = json_string_value(json_object_get(event, "event"));
  const char *what = json_string_value(json_object_get(event, "for"));
  if (kind == NULL) return NULL;
  if (strcmp(kind, "resolved") == 0) return resolved_lines(event);
  if (strcmp(kind, "progress") == 0) return file_lines(event);
  if (strcmp(kind, "retry") == 0) return retry_line(event);
  if (strcmp(kind, "verifying") == 0) return status_line("verifying sha256 digest");
  if (strcmp(kind, "unpacking") == 0) return status_line("unpacking");
  if (strcmp(kind, "waiting") == 0)
    return json_pack("{so}", "status", json_sprintf("waiting for %.200s", what != NULL ? what : "another pull"));
  if (strcmp(kind, "converting") != 0) return NULL;
  double fraction = json_number_value(json_object_get(event, "fraction"));
  return json_pack("{sssisi}", "status", "converting to GGUF", "completed", (int)(fraction * 100), "total", 100);
}

static void tell_success(rh_operation *operation, const json_t *event) {
  static const char *const last[] = {"verifying sha256 digest", "writing manifest", "success"};
  bool stream = json_is_true(json_object_get(operation->body, "stream"));
  // What was there already was neither checked nor written.
  size_t from = event == NULL || json_is_true(json_object_get(event, "already")) ? 2 : 0;
  if (!stream) {
    rh_operation_answer(operation, 200, status_line("success"));
    return;
  }
  for (size_t i = from; i < sizeof last / sizeof *last; i++) (void)rh_operation_line(operation, status_line(last[i]));
  rh_operation_end(operation);
}

// --- pull ----------------------------------------------------------------------------------------------------------

// Ollama streams unless it is told not to. What is meant stands in the body afterwards.
static rh_status read_stream(rh_operation *operation, bool *stream, rh_error *error) {
  *stream = true;
  rh_status status = rh_json_get_bool(operation->body, "", "stream", stream, error);
  if (status == RH_OK) json_object_set_new(operation->body, "stream", json_boolean(*stream));
  return status;
}

static rh_status refuse_password(const rh_operation *operation, rh_error *error) {
  const char *user = NULL, *password = NULL;
  rh_status status = rh_operation_text(operation, "username", false, &user, error);
  if (status == RH_OK) status = rh_operation_text(operation, "password", false, &password, error);
  if (status != RH_OK) return status;
  // Old clients send them empty.
  if ((user == NULL || user[0] == '\0') && (password == NULL || password[0] == '\0')) return RH_OK;
  return rh_fail_param(error, RH_UNSUPPORTED, "password",
                       "pulls take no user and password; set HF_TOKEN for the server instead");
}

void rh_ollama_begin_pull(rh_operation *operation) {
  static const char *const fields[] = {"model", "name", "insecure", "stream", "username", "password", NULL};
  static const rh_admin_pull_view view = {.line = pull_line, .done = tell_success, .once = true};
  const char *said = NULL;
  bool stream = true;
  wish wished;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_ollama_model_field(operation, &said, &error);
  if (status == RH_OK) status = read_stream(operation, &stream, &error);
  if (status == RH_OK) status = refuse_password(operation, &error);
  if (status != RH_OK)
    rh_operation_fail(operation, &error);
  else if (understand(operation->daemon, said, &wished))
    rh_admin_pull(operation, &wished.request, stream, &view);
  else
    tell_success(operation, NULL);
}
