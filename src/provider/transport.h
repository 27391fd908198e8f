// SPDX-License-Identifier: Apache-2.0
//
// Private to src/provider's transport: client.c, options.c, queue.c, run.c, limits.c, attempt.c, answer.c, health.c.
//
// A run's life is in `state`; only rh_run_move() changes it. Callbacks of libcurl may lead into a sink, and a sink may begin,
// resume or cancel any run: nothing is removed from libcurl or freed before the outermost rh_providers_leave().
#ifndef RH_PROVIDER_TRANSPORT_H
#define RH_PROVIDER_TRANSPORT_H

#include <curl/curl.h>

#include "base/dynbuf.h"
#include "base/list.h"
#include "base/loop.h"
#include "provider/protocol.h"

#define RH_PROVIDER_SPARES_MAX 64  // easy handles, and ended runs, that one provider keeps for the next ones
#define RH_PROVIDER_KEPT_BYTES_MAX (64 * 1024)          // a buffer larger than this is not kept with a spare run
#define RH_PROVIDER_HEADERS_MAX 32                      // header lines of one request
#define RH_PROVIDER_EXPLAIN_BYTES_MAX (64 * 1024)       // of an error's body that are looked at
#define RH_PROVIDER_RETRY_AFTER_MS_MAX (3600u * 1000u)  // no Retry-After keeps us away for longer
#define RH_PROVIDER_CONCURRENCY_MAX 4096

typedef enum rh_run_state {
  RH_RUN_SPARE,    // in provider->spares; nobody's
  RH_RUN_QUEUED,   // in provider->queue, until one that runs is over
  RH_RUN_CHOSEN,   // in provider->chosen: it runs as soon as the loop comes by
  RH_RUN_ACTIVE,   // a transfer of libcurl's
  RH_RUN_HELD,     // its transfer is over, but the sink said RH_WAIT: what is left waits for rh_provider_run_resume
  RH_RUN_PAUSING,  // between two attempts; its timer is the delay
  RH_RUN_OVER,     // the sink has its final event; the transfer may still read to its end, to keep the connection
  RH_RUN_DOOMED,   // in providers->doomed: to be taken from libcurl and recycled at the outermost leave
} rh_run_state;

// What libcurl's CURLOPT_PRIVATE points at: the first member of each kind of transfer.
typedef struct rh_transfer {
  void (*done)(struct rh_transfer *transfer, CURLcode result);  // the easy handle is out of the multi handle already
  CURL *easy;                                                   // NULL: none now
  bool added;                                                   // to the multi handle
} rh_transfer;

struct rh_providers {
  rh_loop *loop;
  CURLM *multi;
  rh_timer timer;    // libcurl's
  rh_deferred due;   // the same, when libcurl wants no delay at all
  rh_deferred pump;  // start what was chosen
  rh_list doomed;    // of rh_provider_run.node
  rh_list sockets;   // of socket_watch.node: those libcurl waits for
  unsigned depth;    // frames of ours on the stack that may call sinks
  bool closing;
  uint64_t chance;  // state of the random numbers
  size_t count;
  rh_provider *members;
};

struct rh_provider {
  rh_providers *owner;
  const rh_provider_spec *spec;  // borrowed
  const rh_protocol_ops *ops;
  size_t running_max;
  size_t running;
  rh_provider_run **queue;  // a heap: queue.c
  size_t queued, queue_max, queue_capacity;
  uint64_t queue_next;  // the next number of arrival
  rh_list chosen;       // of rh_provider_run.node
  rh_list runs;         // of rh_provider_run.all: every one that is not spare
  rh_list spares;       // of rh_provider_run.node
  CURL *easies[RH_PROVIDER_SPARES_MAX];
  size_t easy_count;
  uint64_t resting_until_ns;
  struct rh_probe *probe;  // the one that is under way; health.c
};

struct rh_provider_run {
  rh_transfer transfer;  // first
  rh_provider *provider;
  rh_run_state state;
  rh_list_node node, all;
  size_t queue_place;  // in the heap, from 1
  uint64_t arrival;
  rh_provider_options options;
  rh_sink sink;
  const char *model;
  const rh_run *run;
  rh_timer timer;
  rh_deferred resumed;
  bool waiting;  // the sink said RH_WAIT
  bool paused;   // libcurl was told so
  bool passed;   // the sink got an event
  // one attempt
  unsigned attempts;
  uint64_t began_ns, connected_ns, byte_ns;  // 0 = not yet
  uint64_t connecting_ns;                    // since when a connection is sought
  uint64_t again_ns;                         // PAUSING: when the next one begins; OVER: how long it may still read
  rh_protocol_reader *reader;                // from the first byte of a 2xx answer on
  bool repeated;                             // sent again on a new connection, because a kept one had been closed
  bool heard;                                // a line of an answer's head came
  bool head_seen;                            // the whole head came, and was looked at
  unsigned http_status;
  unsigned retry_after_ms;
  size_t drained;
  CURLcode result;  // of a transfer that is over
  const char *path;
  rh_dynbuf body, lines, said;  // the request's; its header lines; an error's body
  struct curl_slist headers[RH_PROVIDER_HEADERS_MAX];
  char reason[CURL_ERROR_SIZE];
};

// --- client.c: libcurl in the loop -----------------------------------------------------------------------------------

// The same as rh_providers_new with other protocols: tests bring one of their own.
rh_status rh_providers_new_with(rh_loop *loop, const rh_provider_spec *specs, size_t count,
                                const rh_protocol_ops *(*find)(rh_protocol protocol), rh_providers **out,
                                rh_error *error) RH_MUST_CHECK;
void rh_providers_enter(rh_providers *providers);
void rh_providers_leave(rh_providers *providers);
rh_status rh_transfer_add(rh_providers *providers, rh_transfer *transfer) RH_MUST_CHECK;
void rh_transfer_remove(rh_providers *providers, rh_transfer *transfer);
uint64_t rh_providers_chance(rh_providers *providers, uint64_t below);

// --- options.c: easy handles ------------------------------------------------------------------------------------------

CURL *rh_provider_easy_new(const rh_provider_spec *spec);  // NULL: no memory
CURL *rh_provider_easy_take(rh_provider *provider);        // likewise; one that is idle, or a new one
void rh_provider_easy_give(rh_provider *provider, CURL *easy);
// Header lines of a request: the protocol's in `lines`, then the configuration's, which win over one of the same name.
rh_status rh_provider_headers(const rh_provider *provider, const rh_run *run, rh_dynbuf *lines,
                              struct curl_slist nodes[RH_PROVIDER_HEADERS_MAX], rh_error *error) RH_MUST_CHECK;

// --- queue.c: who waits, the highest priority first, then the earliest ---------------------------------------------------

rh_status rh_provider_queue_push(rh_provider *provider, rh_provider_run *run) RH_MUST_CHECK;  // RH_QUEUE_FULL
rh_provider_run *rh_provider_queue_pop(rh_provider *provider);                                // NULL: empty
void rh_provider_queue_remove(rh_provider *provider, rh_provider_run *run);

// --- run.c: states ----------------------------------------------------------------------------------------------------

void rh_run_move(rh_provider_run *run, rh_run_state state);
void rh_run_doom(rh_provider_run *run);                         // recycled at the outermost leave
void rh_run_reap(rh_provider_run *run);                         // now
void rh_run_fail(rh_provider_run *run, const rh_error *error);  // the final event
bool rh_run_is_over(const rh_provider_run *run);
rh_sink rh_run_tap(rh_provider_run *run);  // the sink that a protocol's reader gets
void rh_provider_rest(rh_provider *provider, unsigned retry_after_ms);

// --- limits.c: a run's times --------------------------------------------------------------------------------------------

void rh_run_arm(rh_provider_run *run);  // the timer, for the next of its limits
void rh_run_expire(void *ctx);
bool rh_run_retry(rh_provider_run *run);  // false: no more attempts, or no time for one

// --- attempt.c: one attempt ------------------------------------------------------------------------------------------------

void rh_attempt_begin(rh_provider_run *run);
void rh_attempt_settle(rh_provider_run *run, CURLcode result);  // after its transfer
void rh_attempt_end(rh_provider_run *run);                      // gives back what it held

// --- answer.c: heads of answers ----------------------------------------------------------------------------------------------

unsigned rh_retry_after_ms(const char *name, const char *value, int64_t wall_s);  // 0 = not understood
void rh_answer_head(rh_provider_run *run);  // looks at status and type; makes the reader or refuses
void rh_answer_explain(rh_provider_run *run, rh_error *error);
void rh_answer_cut(const rh_provider_run *run, CURLcode result, rh_error *error);
bool rh_answer_worth_retry(CURLcode result);

// --- health.c -----------------------------------------------------------------------------------------------------------------

void rh_probe_forget(rh_provider *provider);

#endif
