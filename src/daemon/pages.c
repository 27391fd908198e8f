// SPDX-License-Identifier: Apache-2.0
//
// The endpoints that run no model, as JSON or Prometheus text. They read the daemon's state and change nothing; none of
// them starts a worker.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/version.h"
#include "daemon/pages.h"

static json_t *model_health(const rh_served *served) {
  const rh_member *member = served->member;
  const rh_model_info *info = rh_member_info(member);
  const rh_worker_stats *stats = rh_member_stats(member);
  uint64_t since = rh_member_ready_since_ns(member);
  json_t *object = json_pack(
      "{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:f,s:f}", "name", served->spec->name, "state",
      rh_member_state_name(rh_member_get_state(member)), "engine", info != NULL ? info->engine : served->spec->engine,
      "pid", (json_int_t)rh_member_pid(member), "slots", (json_int_t)(info != NULL ? info->slots : 0), "active",
      (json_int_t)rh_sched_running(served->queue), "queued", (json_int_t)rh_sched_queued(served->queue), "rss_bytes",
      (json_int_t)stats->rss_bytes, "restarts", (json_int_t)rh_member_restarts(member), "context",
      (json_int_t)(info != NULL ? info->context : 0), "device", info != NULL ? info->device : "", "acceleration",
      info != NULL ? info->acceleration : "", "quantization", info != NULL ? info->quantization : "", "load_fraction",
      rh_member_load_fraction(member), "ready_for_s", since != 0 ? rh_ns_to_s(rh_clock_now_ns() - since) : 0.0);
  const rh_error *failure = rh_member_failure(member);
  if (object != NULL && failure->message[0] != '\0') {
    json_object_set_new(object, "error", json_string(failure->message));
  }
  return object;
}

void rh_page_health(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)exchange;
  (void)id;
  json_t *models = json_array();
  bool failed = false;
  for (size_t i = 0; i < daemon->served_count; i++) {
    json_array_append_new(models, model_health(&daemon->served[i]));
    failed = failed || rh_member_get_state(daemon->served[i].member) == RH_MEMBER_FAILED;
  }
  const char *status = daemon->stopping ? "stopping" : failed ? "degraded" : "ok";
  json_t *root = json_pack("{s:s,s:s,s:f,s:I,s:o}", "status", status, "version", RH_VERSION, "uptime_s",
                           rh_ns_to_s(rh_clock_now_ns() - daemon->started_ns), "requests_in_flight",
                           (json_int_t)daemon->calls.count, "models", models);
  if (root == NULL || rh_json_append_value(&answer->body, root) != RH_OK) answer->body.failed = true;
  json_decref(root);
  // A load balancer should stop sending work here; a failed model alone does not make the others useless.
  if (daemon->stopping) answer->status = 503;
}

void rh_page_metrics(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)exchange;
  (void)id;
  answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
  if (rh_account_render(daemon, &answer->body) != RH_OK) answer->body.failed = true;
}

static rh_api_model describe(const rh_served *served) {
  return (rh_api_model){
      .name = served->spec->name,
      .created = served->spec->modified_s,
      .state = rh_member_state_name(rh_member_get_state(served->member)),
      .engine = served->spec->engine,
      .info = rh_member_info(served->member),
  };
}

void rh_page_models(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)exchange;
  (void)id;
  rh_api_model *models = calloc(daemon->served_count + 1, sizeof *models);
  for (size_t i = 0; models != NULL && i < daemon->served_count; i++) models[i] = describe(&daemon->served[i]);
  if (models == NULL || rh_api_model_list(models, daemon->served_count, &answer->body) != RH_OK) {
    answer->body.failed = true;
  }
  free(models);
}

void rh_page_model(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  const char *path = rh_http_path(exchange);
  const char *name = path + strlen("/v1/models/");
  const char *reason = NULL;
  rh_served *served = rh_daemon_find_model(daemon, name, &reason);
  if (served == NULL) {
    rh_error error;
    (void)rh_fail_param(&error, RH_NOT_FOUND, "model",
                        "the model '%.100s' is not served here; GET /v1/models lists "
                        "those that are",
                        name);
    answer->status = 404;
    if (rh_api_error_body(path, id, &error, &answer->body) != RH_OK) answer->body.failed = true;
    return;
  }
  rh_api_model model = describe(served);
  if (rh_api_model_one(&model, &answer->body) != RH_OK) answer->body.failed = true;
}

void rh_page_last_request(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)exchange;
  (void)id;
  json_t *last = rh_account_last(daemon);
  if (last == NULL || rh_json_append_value(&answer->body, last) != RH_OK) answer->body.failed = true;
  json_decref(last);
}
