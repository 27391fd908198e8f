// SPDX-License-Identifier: Apache-2.0
//
// Pulls as child processes: started once for all who want the same, heard line by line, stopped when nobody listens.
//
// A job owns its process and what that said last, and lives until the process has ended. The source may hold a secret (a
// signed address): it is never logged. Loop thread only. It knows nothing of HTTP.
#include "daemon/pull_jobs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/subprocess.h"
#include "daemon/child.h"
#include "model/ref.h"

#define SOURCE_BYTES_MAX 4096
#define CLIENTS_MAX 64
#define ARGUMENTS_MAX 16

typedef struct pull_job {
  rh_daemon *daemon;
  rh_list_node node;  // in daemon->pulls
  rh_list clients;
  char *source, *name, *type;
  bool force, dry_run;
  rh_child *child;   // NULL = it could not be started
  bool cancelled;    // told to stop
  json_t *resolved;  // the first event, for those who come later
  json_t *last;      // the newest other one
  json_t *end;       // "done" or "error"
} pull_job;

struct rh_pull_client {
  pull_job *job;
  rh_list_node node;
  const rh_pull_client_ops *ops;
  void *ctx;
  bool fresh;  // has not been told what went before
  rh_deferred catch_up;
};

static rh_status start(pull_job *job, rh_error *error);

// --- telling -------------------------------------------------------------------------------------------------------

static void tell_past(rh_pull_client *client) {
  if (!client->fresh) return;
  client->fresh = false;
  const pull_job *job = client->job;
  if (job->resolved != NULL) client->ops->event(client->ctx, job->resolved);
  // That may have been its end: a client that leaves is gone from the list, and freed.
}

static bool still_there(const pull_job *job, const rh_pull_client *client) {
  rh_list_each(&job->clients, node) {
    if (rh_list_entry(node, rh_pull_client, node) == client) return true;
  }
  return false;
}

static void on_catch_up(void *ctx) {
  rh_pull_client *client = ctx;
  pull_job *job = client->job;
  if (!client->fresh) return;
  tell_past(client);
  if (job->last != NULL && still_there(job, client)) client->ops->event(client->ctx, job->last);
}

static void tell(pull_job *job, json_t *event) {
  rh_list_each(&job->clients, node) {
    rh_pull_client *client = rh_list_entry(node, rh_pull_client, node);
    tell_past(client);
    if (still_there(job, client)) client->ops->event(client->ctx, event);
  }
}

static void keep(json_t **slot, json_t *event) {
  json_decref(*slot);
  *slot = json_incref(event);
}

static void take_event(pull_job *job, json_t *event) {
  const char *kind = json_string_value(json_object_get(event, "event"));
  if (kind == NULL) return;
  if (strcmp(kind, "done") == 0 || strcmp(kind, "error") == 0) {
    keep(&job->end, event);  // told when the process has ended and the models are served
    return;
  }
  tell(job, event);
  keep(strcmp(kind, "resolved") == 0 ? &job->resolved : &job->last, event);
}

static void on_line(void *ctx, const char *text, size_t length) {
  pull_job *job = ctx;
  rh_error error = {0};
  json_t *event = rh_json_parse(text, length, &error);
  if (json_is_object(event)) {
    take_event(job, event);
  } else if (length > 0) {
    RH_LOG(RH_LOG_WARN, "a pull wrote a line that is no event", rh_log_int("pid", rh_child_pid(job->child)));
  }
  json_decref(event);
}

// --- the end -------------------------------------------------------------------------------------------------------

static void forget_process(pull_job *job) {
  rh_child_free(job->child);
  json_decref(job->resolved);
  json_decref(job->last);
  json_decref(job->end);
  job->resolved = job->last = job->end = NULL;
  job->child = NULL;
  job->cancelled = false;
}

static void free_job(pull_job *job) {
  forget_process(job);
  if (rh_list_linked(&job->node)) rh_list_remove(&job->daemon->pulls, &job->node);
  free(job->source);
  free(job->name);
  free(job->type);
  free(job);
}

static void drop_client(rh_pull_client *client) {
  rh_loop_undefer(client->job->daemon->loop, &client->catch_up);
  rh_list_remove(&client->job->clients, &client->node);
  free(client);
}

static void tell_end(pull_job *job, rh_status status, const rh_error *error) {
  rh_list_node *node;
  while ((node = rh_list_first(&job->clients)) != NULL) {
    rh_pull_client *client = rh_list_entry(node, rh_pull_client, node);
    const rh_pull_client_ops *ops = client->ops;
    void *at = client->ctx;
    drop_client(client);
    ops->ended(at, status, error, job->end != NULL ? job->end : job->resolved);
  }
}

static rh_status judge(const pull_job *job, int wait_status, const char *complaint, rh_error *error) {
  const char *kind = json_string_value(json_object_get(job->end, "event"));
  // A dry run ends with what it found.
  bool whole = kind != NULL ? strcmp(kind, "done") == 0 : job->dry_run && job->resolved != NULL;
  if (whole && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return RH_OK;
  if (kind != NULL && strcmp(kind, "error") == 0) {
    const char *word = json_string_value(json_object_get(job->end, "status"));
    const char *message = json_string_value(json_object_get(job->end, "message"));
    const char *param = json_string_value(json_object_get(job->end, "param"));
    rh_status status = rh_status_from_name(word != NULL ? word : "");
    if (status == RH_OK) status = RH_INTERNAL;
    return rh_fail_param(error, status, param != NULL ? param : "", "%s",
                         message != NULL ? message : "the pull failed");
  }
  char how[96];
  rh_subprocess_describe(wait_status, how, sizeof how);
  return rh_fail(error, WIFSIGNALED(wait_status) ? RH_UNAVAILABLE : RH_INTERNAL,
                 "the pull's process %s%s%.400s; what has come is kept, ask again to go on with it", how,
                 complaint[0] != '\0' ? "; it said: " : "", complaint);
}

// What it is stored under, as far as it is known.
static const char *job_name(const pull_job *job) {
  const char *name = json_string_value(json_object_get(job->resolved, "name"));
  return job->name != NULL ? job->name : name != NULL ? name : "";
}

static void on_ended(void *ctx, int wait_status, const char *complaint) {
  pull_job *job = ctx;
  rh_daemon *daemon = job->daemon;
  rh_error error = {0};
  rh_status status = judge(job, wait_status, complaint, &error);
  const char *result = status == RH_OK ? "ok" : job->cancelled ? "cancelled" : rh_status_name(status);
  rh_metrics_add(daemon->metrics, RH_M_PULLS, &result, 1);
  RH_LOG(RH_LOG_INFO, "pull ended", rh_log_str("name", job_name(job)), rh_log_str("result", result),
         rh_log_str("error", status == RH_OK || job->cancelled ? "" : error.message));
  if (status == RH_OK && !job->dry_run) {
    rh_error refresh = {0};
    if (rh_manager_refresh(daemon->manager, &refresh) != RH_OK) {
      RH_LOG(RH_LOG_WARN, "the models cannot be looked through", rh_log_str("error", refresh.message));
    }
  }
  if (status != RH_OK && job->cancelled && job->clients.count > 0 && !daemon->stopping) {
    // Somebody asked for it again while it was on its way out.
    forget_process(job);
    if (start(job, &error) == RH_OK) return;
    status = error.status;
  }
  tell_end(job, status, &error);
  free_job(job);
}

static void cancel(pull_job *job) {
  if (job->cancelled) return;
  job->cancelled = true;
  rh_child_stop(job->child);
}

// --- the beginning -------------------------------------------------------------------------------------------------

static rh_status start(pull_job *job, rh_error *error) {
  static const rh_child_ops ops = {.line = on_line, .ended = on_ended};
  const char *arguments[ARGUMENTS_MAX] = {"pull", "--json", "--store-dir", job->daemon->settings->store_dir};
  size_t count = 4;
  if (job->name != NULL) {
    arguments[count++] = "--name";
    arguments[count++] = job->name;
  }
  if (job->type != NULL) {
    arguments[count++] = "--type";
    arguments[count++] = job->type;
  }
  if (job->force) arguments[count++] = "--force";
  if (job->dry_run) arguments[count++] = "--dry-run";
  arguments[count++] = job->source;
  arguments[count] = NULL;
  rh_status status = rh_child_start(job->daemon, arguments, &ops, job, &job->child, error);
  if (status != RH_OK) return status;
  RH_LOG(RH_LOG_INFO, "pull started", rh_log_int("pid", rh_child_pid(job->child)), rh_log_str("name", job->name));
  return RH_OK;
}

static bool same_text(const char *a, const char *b) { return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0; }

static pull_job *find_job(const rh_daemon *daemon, const rh_pull_request *request) {
  rh_list_each(&daemon->pulls, node) {
    pull_job *job = rh_list_entry(node, pull_job, node);
    if (same_text(job->source, request->source) && same_text(job->name, request->name) &&
        same_text(job->type, request->type) && job->force == request->force && job->dry_run == request->dry_run) {
      return job;
    }
  }
  return NULL;
}

static bool is_plain(const char *text, size_t max) {
  size_t length = strlen(text);
  if (length == 0 || length > max || text[0] == '-') return false;
  for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
    if (*c <= ' ' && *c != ' ') return false;
    if (*c == 0x7f) return false;
  }
  return true;
}

// What reaches a command line must not look like a flag, and a path must mean the same here and there.
static rh_status check(const rh_pull_request *request, rh_error *error) {
  rh_model_ref ref;
  if (!is_plain(request->source, SOURCE_BYTES_MAX)) {
    return rh_fail_param(error, RH_INVALID, "model",
                         "this is no source of a model; write such as \"hf:org/repo:Q4_K_M\" or a name of "
                         "GET /api/models/catalogue");
  }
  if (rh_text_starts_with(request->source, "file:") && request->source[5] != '/') {
    return rh_fail_param(error, RH_INVALID, "model",
                         "over HTTP a file: source needs an absolute path, which the server "
                         "reads");
  }
  if (request->type != NULL && (!is_plain(request->type, 32))) {
    return rh_fail_param(error, RH_INVALID, "type", "this is no type to convert to; write such as \"q8_0\"");
  }
  return request->name == NULL ? RH_OK : rh_model_ref_parse(request->name, &ref, error);
}

static rh_status new_job(rh_daemon *daemon, const rh_pull_request *request, pull_job **out, rh_error *error) {
  if (daemon->pulls.count >= RH_PULL_JOBS_MAX) {
    return rh_fail(error, RH_QUEUE_FULL, "%d pulls run already; wait for one of them to end", RH_PULL_JOBS_MAX);
  }
  pull_job *job = calloc(1, sizeof *job);
  if (job == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to start a pull; try again later");
  rh_list_init(&job->clients);
  job->daemon = daemon;
  job->force = request->force;
  job->dry_run = request->dry_run;
  job->source = strdup(request->source);
  job->name = request->name != NULL ? strdup(request->name) : NULL;
  job->type = request->type != NULL ? strdup(request->type) : NULL;
  bool copied = job->source != NULL && (job->name != NULL) == (request->name != NULL) &&
                (job->type != NULL) == (request->type != NULL);
  rh_status status = copied ? start(job, error) : rh_fail(error, RH_NO_MEMORY, "no memory to start a pull");
  if (status != RH_OK) {
    free_job(job);
    return status;
  }
  rh_list_push_back(&daemon->pulls, &job->node);
  *out = job;
  return RH_OK;
}

rh_status rh_pull_jobs_join(rh_daemon *daemon, const rh_pull_request *request, const rh_pull_client_ops *ops, void *ctx,
                            rh_pull_client **out, rh_error *error) {
  *out = NULL;
  rh_status status = check(request, error);
  if (status != RH_OK) return status;
  pull_job *job = find_job(daemon, request);
  if (job != NULL && job->clients.count >= CLIENTS_MAX) {
    return rh_fail(error, RH_QUEUE_FULL, "%d clients follow this pull already", CLIENTS_MAX);
  }
  rh_pull_client *client = calloc(1, sizeof *client);
  if (client == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to follow a pull; try again later");
  if (job == NULL && (status = new_job(daemon, request, &job, error)) != RH_OK) {
    free(client);
    return status;
  }
  *client = (rh_pull_client){.job = job, .ops = ops, .ctx = ctx, .fresh = true};
  client->catch_up = (rh_deferred){.fn = on_catch_up, .ctx = client};
  rh_list_push_back(&job->clients, &client->node);
  rh_loop_defer(daemon->loop, &client->catch_up);
  *out = client;
  return RH_OK;
}

void rh_pull_jobs_leave(rh_pull_client *client) {
  pull_job *job = client->job;
  drop_client(client);
  if (job->clients.count == 0) cancel(job);
}

void rh_pull_jobs_stop(rh_daemon *daemon) {
  rh_list_each(&daemon->pulls, node) { cancel(rh_list_entry(node, pull_job, node)); }
}

void rh_pull_jobs_free(rh_daemon *daemon) {
  rh_pull_jobs_stop(daemon);
  rh_list_each(&daemon->pulls, node) {
    pull_job *job = rh_list_entry(node, pull_job, node);
    rh_child_end(job->child);
    tell_end(job, RH_UNAVAILABLE, &(rh_error){.status = RH_UNAVAILABLE, .message = "the server has stopped"});
    free_job(job);
  }
}
