// SPDX-License-Identifier: Apache-2.0
//
// Private to src/daemon: the daemon's one state and the life of one request.
//
//   daemon.c     wiring, signals, shutdown
//   models.c     the store, the manager, what the machine has: which models there are
//   request.c    the spine: the table of steps a request goes through
//   gate.c       who may call at all: keys and their scopes
//   admit.c      the ADMIT step: rights, budgets, limits
//   hints.c      what headers say about where and how a request should run
//   memo.c       bodies that were read before
//   lookup.c     the CACHE step: answers that are there already, or are being made for somebody else
//   semantic.c   the same for questions that are alike
//   answer.c     events to bytes to the client, back-pressure
//   account.c    what is counted, logged and remembered of a request
//   gauges.c     what is read when somebody looks at the metrics; gateway_gauges.c the gateway's part of it
//   routes.c     from a path to who answers it
//   pages.c      endpoints that run no model and have no body
//   operation.c  those that have a body, take time or stream lines: admin*.c, gateway_*.c, ollama*.c, cancel.c
//   pull_jobs.c  pulls, each a process of its own
//   chores.c     changes of the store that may take long, the same way; child.c is what both use
//   cors.c       which web pages may call us
//   headers.c    headers that every answer carries
#ifndef RH_DAEMON_INTERNAL_H
#define RH_DAEMON_INTERNAL_H

#include "api/api.h"
#include "base/arena.h"
#include "base/json.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "daemon/daemon.h"
#include "daemon/metrics.h"
#include "fleet/fleet.h"
#include "gateway/work.h"
#include "http/http.h"
#include "manager/manager.h"
#include "sched/sched.h"

typedef struct rh_daemon rh_daemon;
typedef struct rh_call rh_call;
typedef struct rh_semantic_lookup rh_semantic_lookup;
typedef struct rh_memos rh_memos;
typedef struct rh_memo rh_memo;

// Who answers an exchange: the first member of whatever its user pointer points at.
typedef struct rh_handler rh_handler;
typedef struct rh_handler_ops {
  void (*request)(rh_handler *handler);  // the whole request is here
  void (*drain)(rh_handler *handler);    // a stream that was told WAIT has room again
  void (*done)(rh_handler *handler);     // the exchange is over: free it
} rh_handler_ops;
struct rh_handler {
  const rh_handler_ops *ops;
};

// The last finished request, as plain values: they become JSON only when somebody asks for them.
typedef struct rh_last_request {
  char id[RH_ID_SIZE];  // empty = there was none yet
  char model[RH_MODEL_NAME_MAX + 1];
  char route_reason[2 * RH_REASON_MAX];
  char provider[RH_PROVIDER_NAME_MAX + 1];
  int attempts;
  char prompt_hash[17];
  rh_error error;
  const rh_api_endpoint *endpoint;
  const char *cache;  // one of the fixed words of rh_answer_meta
  unsigned status;
  bool stream;
  int64_t created;
  rh_usage usage;
  int64_t tokens;
  double latency_ms, first_token_ms, tokens_per_second, cost_usd;
  rh_task task;
  int64_t items, items_failed;
  char engine[32], device[64], acceleration[128];
} rh_last_request;

struct rh_daemon {
  rh_configuration *configuration;
  const rh_settings *settings;
  rh_loop *loop;
  rh_http_server *http;
  rh_sched *sched;
  rh_store *store;  // NULL = it cannot be used
  rh_manager *manager;
  rh_gateway *gateway;
  rh_memos *memos;   // memo.c; NULL = none
  bool open_beyond;  // listens on other addresses than this machine's own
  rh_broker_limits limits;
  json_t *headers;   // what ollama_describe.c read of model files; an object by path
  json_t *unserved;  // what the store has and no engine of this build serves; an array
  rh_metrics *metrics;
  rh_list calls;       // requests that are not done
  rh_list operations;  // the same of operations
  rh_list pulls;       // pull_jobs.c
  rh_list chores;      // chores.c
  char host[256];
  uint64_t started_ns;
  rh_watch signals;
  rh_timer grace;
  rh_timer leave;  // after the workers were told to unload
  bool stopping;
  bool leaving;  // requests are over, workers are being unloaded
  rh_last_request last;
};

// The steps of a request, in order. Each has one function in request.c; the table there is the way of a request.
typedef enum rh_step {
  RH_STEP_READ,      // the head is here, the body is being read. Moved on by http
  RH_STEP_DECODE,    // the codec turns the body into a request
  RH_STEP_ADMIT,     // may it run at all? Rights, budgets, limits. Moved on by the limits' answer
  RH_STEP_ROUTE,     // which models may serve it, in order
  RH_STEP_CACHE,     // is its answer there already, or being made? Moved on by the cache's answer
  RH_STEP_SCHEDULE,  // its runs enter the first model's queue
  RH_STEP_RUN,       // events flow. Moved on by the last final event, or by the client leaving
  RH_STEP_ACCOUNT,   // answered. Moved on by http when the last byte is out: count it, log it, remember it
  RH_STEP_DONE,      // about to be freed
  RH_STEP_COUNT,
  RH_STEP_PARK  // not a state: a step's answer "wait here until something happens"
} rh_step;

// What of a stream's one event may wait for a slow reader: an event of a tensor is larger than what http holds. The worker is
// held back meanwhile, so this is bounded by its credit.
#define RH_CALL_PENDING_BYTES_MAX ((size_t)128 * 1024 * 1024)

// The limits that a request counts against: its key's and its client address'.
#define RH_CALL_LIMITS_MAX 2

// What one run of the request has used so far: taken back when it begins anew with another model.
typedef struct rh_call_run {
  rh_usage usage;
  int64_t deltas_tokens, items_failed;
} rh_call_run;

struct rh_call {
  rh_handler handler;  // first: see rh_handler
  rh_daemon *daemon;
  rh_http_exchange *exchange;
  rh_list_node node;
  rh_step step;
  char id[RH_ID_SIZE];
  bool named;  // by its client
  const rh_api_endpoint *endpoint;
  rh_asked *asked;            // the request and its memory
  const rh_request *decoded;  // as the codec made it, in the arena; NULL = it was remembered, or is not read yet
  bool decoded_stream;        // whether it would stream, had its body not said so
  rh_memo *memo;              // held; NULL = nothing is remembered of its body
  rh_dynbuf warnings;
  rh_encoder *encoder;
  // who asks
  rh_caller caller;
  bool admitted;  // counts in its key's running requests
  rh_limit limits[RH_CALL_LIMITS_MAX];
  size_t limit_count;
  int64_t limit_tokens;  // taken as an estimate, settled at the end
  rh_limits_question *limits_question;
  // where it goes
  rh_way *way;        // NULL = none was found yet
  rh_served *served;  // guarded while the call lives, for what is told of the model; NULL = none, or a remote one
  // where its answer comes from: the cache, or work
  bool cacheable;
  rh_cache_key cache_key;
  rh_cache_question *cache_question;
  rh_recording *cached;  // being replayed
  rh_replay replay;
  rh_deferred replaying;
  rh_semantic_lookup *semantic;  // semantic.c; NULL = none
  rh_follower *follower;         // NULL = none, or over
  bool ran;                      // a work was begun for it or joined
  rh_work_facts facts;           // of the work, when it was left
  bool held;                     // its sink said WAIT
  bool whole;                    // it has had the whole answer
  size_t ended;                  // runs that have ended
  rh_dynbuf pending;             // of a stream: written, but http has no room for it yet
  rh_answer_meta meta;
  rh_timer ping;
  bool started;    // an engine has accepted a part
  bool streaming;  // the head of a streamed answer has gone out
  bool answered;   // the whole answer was handed to http, or waits in `pending`
  bool full;       // http has said WAIT and not yet that there is room again
  bool ending;     // the stream ends when `pending` has gone out
  bool gone;       // the client has left
  bool over;       // http is done with the exchange
  bool accounted;
  rh_error error;  // status RH_OK = none
  // for the account
  uint64_t queue_ns;
  rh_call_run *runs;      // in the arena; NULL before there is an encoder
  rh_usage usage;         // summed over the parts
  int64_t items_failed;   // of tasks that do not generate
  int64_t deltas_tokens;  // tokens seen in deltas, for answers that were cut short
  uint64_t last_token_ns;
  uint64_t answered_ns;  // when the whole answer was handed to http
  unsigned http_status;
};

// request.c
// `key` is the caller's, held for the call; NULL = none.
void rh_call_begin(rh_daemon *daemon, rh_http_exchange *exchange, const rh_api_endpoint *endpoint, rh_key *key);
void rh_call_advance(rh_call *call);                             // run steps until one parks
void rh_call_fail(rh_call *call, const rh_error *error);         // stop its work, answer with the error
void rh_call_move_on(rh_call *call, rh_step step);               // from a step that parked
void rh_call_stop_work(rh_call *call);                           // leave its work, forget its questions
rh_call *rh_call_find(const rh_daemon *daemon, const char *id);  // one that is not answered yet, or NULL

// gate.c
bool rh_gate_needs_key(const rh_daemon *daemon);
// May this exchange do what needs `scope`? On RH_OK *key is its key, not held, or NULL. RH_UNAUTHENTICATED, RH_FORBIDDEN.
rh_status rh_gate_check(const rh_daemon *daemon, const rh_http_exchange *exchange, unsigned scope, rh_key **key,
                        rh_error *error) RH_MUST_CHECK;
// Open pages tell what runs here only to those who could use it.
bool rh_gate_trusts(const rh_daemon *daemon, const rh_http_exchange *exchange);
const char *rh_gate_address(const rh_daemon *daemon, const rh_http_exchange *exchange);  // of the client
// RH_OK, or why the listener must not be opened to other machines.
rh_status rh_gate_check_listener(rh_daemon *daemon, rh_error *error) RH_MUST_CHECK;

// admit.c
rh_step rh_admit_step(rh_call *call);  // RH_STEP_ROUTE, RH_STEP_PARK; RH_STEP_COUNT = refused, call->error says why
void rh_admit_leave(rh_call *call);    // settles what was taken

// hints.c
// Into asked->request, which was decoded from the body.
rh_status rh_hints_read(const rh_http_exchange *exchange, rh_asked *asked, rh_error *error) RH_MUST_CHECK;

// lookup.c
rh_step rh_lookup_step(rh_call *call);  // RH_STEP_SCHEDULE, RH_STEP_RUN, RH_STEP_PARK; RH_STEP_COUNT = refused
rh_step rh_lookup_miss(rh_call *call);  // as the step, when no cached answer was found
void rh_lookup_replay(rh_call *call);   // goes on with a cached answer
void rh_lookup_hit(rh_call *call, rh_recording *recording, double age_s, const char *how);  // takes one hold of it
// Redis is shared: what comes from there is looked at. False: it has more answers than the request asks for.
bool rh_lookup_fits(const rh_call *call, const rh_recording *recording);
uint64_t rh_call_deadline(const rh_call *call);

// memo.c: what is known of a body that was answered from the cache before.
struct rh_memo {
  unsigned holders;
  // Written once.
  uint64_t hash;
  const rh_api_endpoint *endpoint;
  bool stream;  // what the body does not say
  char *body;
  size_t length;
  rh_asked *base;      // held: the memory that `request` points into
  rh_request request;  // as the codec made it, before headers and keys changed anything
  // Found out along the way.
  char prompt_hash[17];  // "" = not yet
  bool key_known, key_local;
  char key_identity[256], key_scope[RH_KEY_ID_SIZE];
  rh_cache_key key;         // for that identity and scope
  rh_form *form;            // the answer as it was given last; NULL = none
  rh_recording *recording;  // held: that it was made of
  rh_usage usage;           // what that one says
  int64_t deltas_tokens, items_failed;
  bool speaks;        // there is a first token in it
  uint64_t until_ns;  // then the cache has forgotten the answer
};
rh_memos *rh_memos_new(rh_loop *loop);
void rh_memos_free(rh_memos *memos);
void rh_memos_clear(rh_memos *memos);
// True: call->asked is what this body means. `stream`: what the body need not say.
bool rh_memo_recall(rh_call *call, const char *body, size_t length, bool stream);
void rh_memo_keep(rh_call *call);                                           // this body is a hit
void rh_memo_keep_answer(rh_call *call, const char *bytes, size_t length);  // the whole answer to one that is
void rh_memo_release(rh_memo *memo);                                        // NULL is fine

// semantic.c
bool rh_semantic_begin(rh_call *call);  // false: nothing to look for; else the call is moved on later
void rh_semantic_stop(rh_call *call);
void rh_semantic_learn(rh_call *call);  // after its own answer was kept

// answer.c
rh_verdict rh_answer_event(void *call, const rh_event *event);
bool rh_answer_again(rh_call *call);        // a hit that was given before; false: it is to be replayed
void rh_answer_note_member(rh_call *call);  // who answers, as known now, into the answer's meta
void rh_answer_begin_stream(rh_call *call);
void rh_answer_error(rh_call *call);
void rh_answer_drain(rh_call *call);
void rh_answer_plain_error(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, const rh_error *error);

// account.c
void rh_account_call(rh_call *call);
json_t *rh_account_last(const rh_daemon *daemon);  // the last finished request; a new reference
void rh_account_plain(rh_daemon *daemon, const char *route, unsigned status);

// gauges.c
rh_status rh_gauges_render(rh_daemon *daemon, rh_dynbuf *out) RH_MUST_CHECK;
void rh_gauges_read_gateway(rh_daemon *daemon);                                // gateway_gauges.c
void rh_gauges_model_event(rh_daemon *daemon, const rh_manager_event *event);  // counts what the manager tells

// models.c
rh_status rh_models_open(rh_daemon *daemon, rh_error *error) RH_MUST_CHECK;
void rh_models_close(rh_daemon *daemon);
void rh_models_preload(rh_daemon *daemon);

// headers.c
void rh_headers_common(rh_daemon *daemon, rh_http_exchange *exchange, const char *id);
void rh_headers_error(rh_http_exchange *exchange, const rh_error *error, unsigned retry_after_s);
void rh_headers_limits(rh_http_exchange *exchange, const rh_limit_state *state);

// cors.c
bool rh_cors_allows(const rh_daemon *daemon, const rh_http_exchange *exchange);
void rh_cors_headers(const rh_daemon *daemon, rh_http_exchange *exchange);

// routes.c: on_head and on_request of the http layer
void rh_routes_head(void *ctx, rh_http_exchange *exchange);
void rh_routes_request(void *ctx, rh_http_exchange *exchange);
void rh_routes_drain(void *ctx, rh_http_exchange *exchange);
void rh_routes_done(void *ctx, rh_http_exchange *exchange, bool complete);

// operation.c
void rh_operations_stop(rh_daemon *daemon, const rh_error *error);  // those that are not answered get `error`

// daemon.c
void rh_daemon_call_done(rh_daemon *daemon);  // a call or operation has ended; a shutdown may be waiting for it
void rh_daemon_all_gone(void *daemon);        // the last worker has ended

#endif
