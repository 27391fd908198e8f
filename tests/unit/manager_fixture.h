// SPDX-License-Identifier: Apache-2.0
//
// A model manager with real workers (RH_WORKER) and the fake engine, a store of its own, and a list of models that a test
// may change.
#ifndef RH_TESTS_MANAGER_FIXTURE_H
#define RH_TESTS_MANAGER_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "fleet_fixture.h"
#include "manager/manager.h"

#define RH_YARD_MODELS_MAX 24
#define RH_MIB INT64_C(1048576)

typedef struct rh_model_yard {
  rh_loop *loop;
  rh_sched *sched;
  rh_store *store;
  rh_manager *manager;
  char folder[64];
  struct {
    const char *name, *json;
  } models[RH_YARD_MODELS_MAX];
  size_t count;
  rh_manager_options options;
  unsigned loaded, failed, left, swapped;  // as the manager told
  char left_why[32];
  bool all_gone;
} rh_model_yard;

static inline rh_status rh_yard_collect(void *ctx, rh_catalogue *out, rh_error *error) {
  rh_model_yard *yard = ctx;
  for (size_t i = 0; i < yard->count; i++) {
    json_t *settings = json_loads(yard->models[i].json, 0, NULL);
    assert_non_null(settings);
    rh_status status = rh_catalogue_add_json(out, yard->models[i].name, settings, NULL, 64, error);
    json_decref(settings);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static inline void rh_yard_happened(void *ctx, const rh_manager_event *event) {
  rh_model_yard *yard = ctx;
  if (event->kind == RH_MANAGER_LOADED) yard->loaded++;
  if (event->kind == RH_MANAGER_LOAD_FAILED) yard->failed++;
  if (event->kind == RH_MANAGER_SWAPPED) yard->swapped++;
  if (event->kind == RH_MANAGER_LEFT) {
    yard->left++;
    (void)rh_text_copy(yard->left_why, sizeof yard->left_why, event->detail);
  }
}

static inline void rh_yard_all_gone(void *ctx) { ((rh_model_yard *)ctx)->all_gone = true; }

static inline void rh_yard_add(rh_model_yard *yard, const char *name, const char *json) {
  assert_true(yard->count < RH_YARD_MODELS_MAX);
  yard->models[yard->count].name = name;
  yard->models[yard->count++].json = json;
}

// Settings that a test changes before rh_yard_open.
static inline void rh_yard_init(rh_model_yard *yard) {
  memset(yard, 0, sizeof *yard);
  rh_log_setup(2, getenv("RH_TEST_LOG") != NULL ? RH_LOG_DEBUG : RH_LOG_OFF, RH_LOG_PLAIN);
  strcpy(yard->folder, "/tmp/rh-manager-XXXXXX");
  assert_non_null(mkdtemp(yard->folder));
  yard->options = (rh_manager_options){
      .member = rh_fake_options("fake:"),
      .limits = {.ram_bytes = 4096 * RH_MIB,
                 .patience_ns = 200 * RH_NS_PER_MS,
                 .wait_max_ns = rh_scaled_ns(20 * RH_NS_PER_S)},
      .keep_alive_ns = UINT64_MAX,
      .tidy_interval_ns = 50 * RH_NS_PER_MS,
      .default_model = "",
      .collect = rh_yard_collect,
      .all_gone = rh_yard_all_gone,
      .happened = rh_yard_happened,
  };
}

static inline void rh_yard_open(rh_model_yard *yard) {
  rh_error error = {0};
  yard->loop = rh_loop_new();
  yard->sched = rh_sched_new(yard->loop);
  assert_int_equal(rh_store_open(yard->folder, true, &yard->store, &error), RH_OK);
  yard->options.loop = yard->loop;
  yard->options.sched = yard->sched;
  yard->options.store = yard->store;
  yard->options.ctx = yard;
  if (rh_manager_new(&yard->options, &yard->manager, &error) != RH_OK) fail_msg("%s", error.message);
}

// Ends the manager, but leaves the store on disk: for tests of what is remembered.
static inline void rh_yard_stop(rh_model_yard *yard) {
  rh_manager_free(yard->manager);
  yard->manager = NULL;
  rh_sched_free(yard->sched);
  rh_store_close(yard->store);
  rh_loop_free(yard->loop);
}

static inline void rh_yard_close(rh_model_yard *yard) {
  rh_yard_stop(yard);
  assert_int_equal(rh_file_remove_tree(yard->folder, NULL), RH_OK);
}

static inline rh_served *rh_yard_find(rh_model_yard *yard, const char *name) {
  rh_resolution found;
  rh_error error = {0};
  if (rh_manager_resolve(yard->manager, name, &found, &error) != RH_OK) fail_msg("%s", error.message);
  return found.served;
}

static inline rh_member_state rh_yard_state(rh_model_yard *yard, const char *name) {
  return rh_member_get_state(rh_served_member(rh_yard_find(yard, name)));
}

// --- a request -----------------------------------------------------------------------------------------------------

typedef struct rh_yard_client {
  rh_seen seen;
  rh_run run;
  rh_job *job;
  rh_served *served;
} rh_yard_client;

static inline rh_verdict rh_yard_on_event(void *ctx, const rh_event *event) {
  rh_yard_client *client = ctx;
  rh_verdict verdict = rh_seen_note(&client->seen, event);
  if (rh_event_is_final(event)) rh_served_release(client->served);
  return verdict;
}

static inline rh_status rh_yard_ask_keeping(rh_model_yard *yard, rh_yard_client *client, const char *model,
                                            const char *text, int64_t keep_alive_ns, rh_error *error) {
  memset(client, 0, sizeof *client);
  rh_resolution found;
  rh_status status = rh_manager_resolve(yard->manager, model, &found, error);
  if (status != RH_OK) return status;
  client->served = found.served;
  client->run = rh_text_run(text);
  rh_sink sink = {.push = rh_yard_on_event, .ctx = client};
  rh_job_options options = {.buffered = true};
  rh_served_hold(client->served, keep_alive_ns);
  status = rh_sched_submit(rh_served_queue(client->served), &client->run, &options, &sink, &client->job, error);
  if (status != RH_OK) rh_served_release(client->served);
  return status;
}

static inline void rh_yard_ask(rh_model_yard *yard, rh_yard_client *client, const char *model, const char *text) {
  rh_error error = {0};
  if (rh_yard_ask_keeping(yard, client, model, text, RH_KEEP_ALIVE_UNSET, &error) != RH_OK) {
    fail_msg("%s", error.message);
  }
}

static inline void rh_yard_answer(rh_model_yard *yard, rh_yard_client *client) {
  assert_true(rh_run_until(yard->loop, rh_seen_over, &client->seen));
}

// --- an admin call -------------------------------------------------------------------------------------------------

typedef struct rh_yard_call {
  bool done;
  unsigned times, progress;
  rh_status status;
  rh_error error;
  double fraction;
} rh_yard_call;

static inline void rh_yard_done(void *ctx, rh_status status, const rh_error *error) {
  rh_yard_call *call = ctx;
  call->done = true;
  call->times++;
  call->status = status;
  if (error != NULL) call->error = *error;
}

static inline void rh_yard_progress(void *ctx, const char *what, double fraction) {
  rh_yard_call *call = ctx;
  assert_non_null(what);
  call->progress++;
  call->fraction = fraction;
}

static inline rh_manager_callback rh_yard_callback(rh_yard_call *call) {
  memset(call, 0, sizeof *call);
  return (rh_manager_callback){.done = rh_yard_done, .progress = rh_yard_progress, .ctx = call};
}

static inline bool rh_yard_is_done(void *ctx) { return ((rh_yard_call *)ctx)->done; }

static inline void rh_yard_wait(rh_model_yard *yard, rh_yard_call *call) {
  assert_true(rh_run_until(yard->loop, rh_yard_is_done, call));
}

static inline void rh_yard_load(rh_model_yard *yard, const char *name) {
  rh_yard_call call;
  rh_manager_callback callback = rh_yard_callback(&call);
  rh_error error = {0};
  if (rh_manager_load(yard->manager, rh_yard_find(yard, name), &callback, NULL, &error) != RH_OK) {
    fail_msg("%s", error.message);
  }
  assert_false(call.done);
  rh_yard_wait(yard, &call);
  if (call.status != RH_OK) fail_msg("%s", call.error.message);
}

static inline bool rh_yard_one_left(void *ctx) { return ((rh_model_yard *)ctx)->left > 0; }

// A little while of the loop, for what must not happen in it.
static inline bool rh_yard_never(void *ctx) { return rh_clock_now_ns() > *(uint64_t *)ctx; }

static inline void rh_yard_turn(rh_model_yard *yard, uint64_t ns) {
  uint64_t until = rh_clock_now_ns() + ns;
  assert_true(rh_run_until(yard->loop, rh_yard_never, &until));
}

#endif
