// SPDX-License-Identifier: Apache-2.0
//
// A broker with owners that do as they are told when the test says so. Time is the test's own.
#ifndef RH_TESTS_BROKER_FIXTURE_H
#define RH_TESTS_BROKER_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include "loop_fixture.h"
#include "sched/broker_private.h"

#define MIB INT64_C(1048576)
#define OWNERS_MAX 8

static uint64_t test_now;
static inline uint64_t test_clock(void) { return test_now; }

typedef struct rh_owner {
  rh_tenant_view view;
  rh_tenant *tenant;
  rh_broker *broker;
  unsigned started, evicted, held, released, refused;
  rh_error refusal;
  char reason[256];
  void (*in_start)(struct rh_owner *self);  // what it does inside the call
  void (*in_evict)(struct rh_owner *self);
  void (*in_refuse)(struct rh_owner *self);
  struct rh_owner *other;
} rh_owner;

typedef struct rh_yard {
  rh_loop *loop;
  rh_broker *broker;
  rh_broker_limits limits;
  rh_owner owners[OWNERS_MAX];
  size_t count;
} rh_yard;

static inline void on_look(void *ctx, rh_tenant_view *view) { *view = ((rh_owner *)ctx)->view; }

static inline void on_start(void *ctx) {
  rh_owner *self = ctx;
  assert_int_equal(rh_broker_state(self->tenant), RH_TENANT_LOADING);
  self->started++;
  if (self->in_start != NULL) self->in_start(self);
}

static inline void on_evict(void *ctx, const char *reason) {
  rh_owner *self = ctx;
  assert_int_equal(self->view.running, 0);
  assert_false(self->view.pinned);
  self->evicted++;
  if (self->in_evict != NULL) self->in_evict(self);
  snprintf(self->reason, sizeof self->reason, "%s", reason);
}

static inline void on_hold(void *ctx, bool held) {
  rh_owner *self = ctx;
  self->held += held ? 1 : 0;
  self->released += held ? 0 : 1;
}

static inline void on_refuse(void *ctx, const rh_error *error) {
  rh_owner *self = ctx;
  self->refused++;
  if (self->in_refuse != NULL) self->in_refuse(self);
  self->refusal = *error;
}

static const rh_tenant_ops ops = {
    .look = on_look, .start = on_start, .evict = on_evict, .hold = on_hold, .refuse = on_refuse};

static inline void open_yard(rh_yard *yard, const rh_broker_limits *limits) {
  memset(yard, 0, sizeof *yard);
  test_now = 1000 * RH_NS_PER_S;
  yard->limits = *limits;
  yard->loop = rh_loop_new();
  yard->broker = rh_broker_new(yard->loop, limits);
  assert_non_null(yard->broker);
  yard->broker->clock = test_clock;
}

static inline rh_owner *join(rh_yard *yard, const char *name, int64_t mib) {
  rh_owner *self = &yard->owners[yard->count++];
  self->broker = yard->broker;
  self->view = (rh_tenant_view){.name = name,
                                .need = {.ram_bytes = mib * MIB, .weights_bytes = mib * MIB * 3 / 4, .kv_bytes = MIB},
                                .frequency = 10,
                                .reload_ms = 1000,
                                .last_used_ns = test_now};
  assert_int_equal(rh_broker_join(yard->broker, &ops, self, &self->tenant), RH_OK);
  return self;
}

static inline void close_yard(rh_yard *yard) {
  for (size_t i = 0; i < yard->count; i++) rh_broker_part(yard->owners[i].tenant);
  rh_broker_free(yard->broker);
  rh_loop_free(yard->loop);
}

// Let the broker act, and then once more for what the calls reported back. Real loops do the same.
static inline void settle(rh_yard *yard) {
  for (int i = 0; i < 4; i++) rh_broker_step(yard->broker);
}

static inline void pass(rh_yard *yard, double seconds) {
  test_now += (uint64_t)(seconds * 1e9);
  settle(yard);
}

static inline void want(rh_yard *yard, rh_owner *self, size_t queued) {
  self->view.queued = queued;
  rh_broker_want(self->tenant);
  settle(yard);
}

// Its worker is ready, and what waited runs.
static inline void loaded(rh_yard *yard, rh_owner *self) {
  assert_int_equal(rh_broker_state(self->tenant), RH_TENANT_LOADING);
  self->view.running = self->view.queued;
  self->view.queued = 0;
  self->view.ram_used_bytes = self->view.need.ram_bytes;
  rh_broker_loaded(self->tenant);
  settle(yard);
}

static inline void idle(rh_yard *yard, rh_owner *self) {
  self->view.running = 0;
  self->view.last_used_ns = test_now;
  if (self->view.queued == 0) rh_broker_idle(self->tenant);
  settle(yard);
}

static inline void left(rh_yard *yard, rh_owner *self) {
  self->view.ram_used_bytes = 0;
  rh_broker_left(self->tenant);
  settle(yard);
}

static inline rh_owner *bring(rh_yard *yard, const char *name, int64_t mib, size_t running) {
  rh_owner *self = join(yard, name, mib);
  want(yard, self, running);
  assert_int_equal(self->started, 1);
  loaded(yard, self);
  assert_int_equal(rh_broker_state(self->tenant), RH_TENANT_IN);
  return self;
}

static const rh_broker_limits plain = {
    .ram_bytes = 100 * MIB, .patience_ns = 2 * RH_NS_PER_S, .wait_max_ns = 60 * RH_NS_PER_S};

#endif
