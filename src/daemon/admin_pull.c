// SPDX-License-Identifier: Apache-2.0
//
// POST /api/models/pull: a pull's events as lines, or its end as one answer. The pull itself is a process of its own
// (pull_jobs.c); when the last client has left, it is stopped. Loop thread only.
#include <stdlib.h>
#include <string.h>

#include "daemon/admin.h"

typedef struct pull_state {
  rh_pull_client *client;  // NULL = over
  const rh_admin_pull_view *view;
  bool stream;
  json_t *latest;  // the newest progress that a slow reader has not been told
  json_t *said;    // the last line
} pull_state;

static void on_gone(rh_operation *operation) {
  pull_state *state = operation->state;
  if (state->client != NULL) rh_pull_jobs_leave(state->client);
  json_decref(state->latest);
  json_decref(state->said);
  free(state);
}

static void write_one(rh_operation *operation, json_t *line) {
  pull_state *state = operation->state;
  if (state->view->once && json_equal(line, state->said) != 0) return;
  json_decref(state->said);
  state->said = json_incref(line);
  (void)rh_operation_line(operation, json_incref(line));
}

static void write_event(rh_operation *operation, const json_t *event) {
  const pull_state *state = operation->state;
  json_t *lines = state->view->line(operation, event);
  size_t index;
  json_t *line;
  if (json_is_object(lines)) write_one(operation, lines);
  json_array_foreach(lines, index, line) write_one(operation, line);
  json_decref(lines);
}

static bool is_progress(const json_t *event) {
  const char *kind = json_string_value(json_object_get(event, "event"));
  return kind != NULL && (strcmp(kind, "progress") == 0 || strcmp(kind, "verifying") == 0);
}

static void on_event(void *ctx, const json_t *event) {
  rh_operation *operation = ctx;
  pull_state *state = operation->state;
  if (!state->stream || operation->answered) return;
  if (operation->waiting && is_progress(event)) {
    json_decref(state->latest);
    state->latest = json_incref((json_t *)(uintptr_t)event);  // jansson lacks the const
  } else {
    write_event(operation, event);
  }
}

static void tell_latest(rh_operation *operation) {
  pull_state *state = operation->state;
  json_t *latest = state->latest;
  state->latest = NULL;
  if (latest != NULL) write_event(operation, latest);
  json_decref(latest);
}

static void on_drained(rh_operation *operation) { tell_latest(operation); }

static void on_ended(void *ctx, rh_status status, const rh_error *error, const json_t *done) {
  rh_operation *operation = ctx;
  pull_state *state = operation->state;
  state->client = NULL;
  if (operation->answered) return;
  // The last progress says that all is there: a reader that is slow to the end is told it too.
  tell_latest(operation);
  if (status != RH_OK)
    rh_operation_fail(operation, error);
  else
    state->view->done(operation, done);
}

void rh_admin_pull(rh_operation *operation, const rh_pull_request *request, bool stream,
                   const rh_admin_pull_view *view) {
  static const rh_pull_client_ops ops = {.event = on_event, .ended = on_ended};
  rh_error error = {0};
  pull_state *state = calloc(1, sizeof *state);
  if (state == NULL) {
    rh_operation_fail_memory(operation);
    return;
  }
  *state = (pull_state){.view = view, .stream = stream};
  operation->state = state;
  operation->gone = on_gone;
  operation->drained = on_drained;
  if (rh_pull_jobs_join(operation->daemon, request, &ops, operation, &state->client, &error) != RH_OK) {
    rh_operation_fail(operation, &error);
  }
}

// --- our own shape: the events as they are -------------------------------------------------------------------------

static json_t *same_line(const rh_operation *operation, const json_t *event) {
  (void)operation;
  return json_incref((json_t *)(uintptr_t)event);  // jansson lacks the const
}

static void answer_done(rh_operation *operation, const json_t *event) {
  const pull_state *state = operation->state;
  json_t *value = json_incref((json_t *)(uintptr_t)event);  // jansson lacks the const
  const char *kind = json_string_value(json_object_get(event, "event"));
  if (!state->stream) {
    rh_operation_answer(operation, 200, value);
    return;
  }
  // What a dry run found was its only line.
  if (kind != NULL && strcmp(kind, "done") == 0)
    (void)rh_operation_line(operation, value);
  else
    json_decref(value);
  rh_operation_end(operation);
}

void rh_admin_begin_pull(rh_operation *operation) {
  static const char *const fields[] = {"model", "source", "name", "type", "force", "dry_run", "stream", NULL};
  static const rh_admin_pull_view view = {.line = same_line, .done = answer_done};
  rh_pull_request request = {0};
  const char *source = NULL;
  bool stream = true;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "source", false, &source, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "model", source == NULL, &request.source, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "name", false, &request.name, &error);
  if (status == RH_OK) status = rh_operation_text(operation, "type", false, &request.type, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "force", &request.force, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "dry_run", &request.dry_run, &error);
  if (status == RH_OK) status = rh_json_get_bool(operation->body, "", "stream", &stream, &error);
  if (status == RH_OK && source != NULL) {
    if (request.source != NULL && request.name == NULL) request.name = request.source;  // "get SOURCE as MODEL"
    request.source = source;
  }
  if (status != RH_OK)
    rh_operation_fail(operation, &error);
  else
    rh_admin_pull(operation, &request, stream, &view);
}
