// SPDX-License-Identifier: Apache-2.0
//
// Private to src/gateway.
//
//   config.c    the configuration
//   gateway.c   all parts, opened and closed; what happens each second
//   seats.c     (provider, model) pairs: what is known of each, and the router's snapshot of all
//   health.c    which providers are well
//   way.c       from a request's words to the members that may answer it
//   work.c      a request under way: its subscribers and its recording
//   attempt.c   one member's try at it; what follows when it fails
//   used.c      what it used and cost
//   shadow.c    copies of requests for experiments
//   judge.c     holding an answer back until its confidence is known
//   budget.c    how many further attempts there may be
//   account.c   what a finished request leaves: ledger, decision log, experiment, budget
//   tell.c      pages: explain, providers
#ifndef RH_GATEWAY_INTERNAL_H
#define RH_GATEWAY_INTERNAL_H

#include "base/list.h"
#include "gateway/work.h"

#define RH_SEATS_MAX 4096  // models that were named at some time; those that nobody uses make room for others

struct rh_seat {
  char *provider;  // "local", or a name of "providers"
  char *model;
  rh_provider *remote;           // NULL = a worker of ours
  const rh_provider_spec *spec;  // of the remote one
  bool listed;                   // in the configuration: a candidate of every routed request
  bool priced;
  unsigned holders;     // ways that lead there: it must stay
  uint64_t decision;    // of gateway->decisions, when it was last looked for
  uint64_t timeout_ns;  // of one attempt at a worker of ours; 0 = the request's own
  rh_price price;
  rh_route_stats stats;
  double cost_usd;                      // of all it answered
  uint64_t fallbacks[RH_STATUS_COUNT];  // requests that went from it to the next, by what was wrong
};

static inline bool rh_seat_in_process(const rh_seat *seat) { return seat->remote == NULL; }
// What is sent there does not leave this machine.
static inline bool rh_seat_local(const rh_seat *seat) { return seat->remote == NULL || seat->spec->local; }

typedef struct rh_retry_budget {
  double tokens;  // further attempts that are free now
} rh_retry_budget;

typedef struct rh_health rh_health;

struct rh_gateway {
  rh_loop *loop;
  rh_manager *manager;
  const rh_gateway_config *config;
  const rh_gateway_values *values;
  rh_providers *providers;
  rh_health *healths;
  size_t health_count;
  rh_database *database;  // NULL = cannot be used
  bool lost_state;        // though there is one
  rh_redis *redis;        // NULL = none
  rh_keys *keys;
  rh_limits *limits;
  rh_cache *cache;        // NULL = off
  rh_semantic *semantic;  // NULL = off
  rh_ledger *ledger;
  rh_experiments *experiments;
  rh_breaker_options breaker;
  rh_retry_budget budget;
  rh_seat **seats;  // sorted by provider, then model
  size_t seat_count;
  uint64_t decisions;  // ways that were looked for
  // the snapshot of the decision at hand
  rh_route_member *members;
  rh_seat **member_seats;
  size_t member_count, member_room;
  rh_list works;    // under way
  rh_list sharing;  // of these: those that may be joined
  rh_list shadows;  // copies that nobody waits for
  rh_timer tick;
  uint64_t chance;  // state of a small random generator
  bool experiments_changed;
  unsigned ticks;
};

// gateway.c
void rh_gateway_resolve_names(rh_gateway *gateway);  // the policy's words to the names that models have now

// seats.c
// The seat of a name; made when it is new, if need be in place of one that nobody uses. NULL: too many, or no memory. It stays
// until the next decision, and longer where a way that leads there is held.
rh_seat *rh_seat_find(rh_gateway *gateway, const char *provider, const char *model);
rh_status rh_seats_open(rh_gateway *gateway, rh_error *error) RH_MUST_CHECK;
void rh_seats_close(rh_gateway *gateway);
// Fills gateway->members with everything a routed request could go to, `also` (may be NULL) among it.
rh_status rh_seats_snapshot(rh_gateway *gateway, rh_seat *also, uint64_t now_ns, rh_error *error) RH_MUST_CHECK;
// One member as the router sees it.
void rh_seat_describe(rh_gateway *gateway, rh_seat *seat, uint64_t now_ns, rh_route_member *out);
const rh_provider_spec *rh_gateway_find_spec(const rh_gateway *gateway, const char *name);
uint32_t rh_gateway_chance(rh_gateway *gateway);

// health.c
rh_status rh_healths_open(rh_gateway *gateway, rh_error *error) RH_MUST_CHECK;
void rh_healths_close(rh_gateway *gateway);
// Why the last check found it not well; NULL = it is, or is not checked.
const char *rh_health_complaint(const rh_gateway *gateway, const rh_provider *provider);

// way.c
uint32_t rh_way_needs(const rh_request *request);  // RH_NEEDS_ and RH_ABILITY_ bits
// As rh_gateway_find_way, but in no experiment.
rh_status rh_way_for_arm(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, rh_way *out,
                         rh_error *error) RH_MUST_CHECK;
// The router's question about a request, its snapshot taken. `name`: in place of the request's own model, for experiments.
rh_status rh_way_ask(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, const char *name,
                     rh_features *features, rh_route_question *out, rh_error *error) RH_MUST_CHECK;

// budget.c
void rh_retry_budget_earn(rh_retry_budget *budget, double share);  // a request came
bool rh_retry_budget_has(const rh_retry_budget *budget, double attempts);
bool rh_retry_budget_spend(rh_retry_budget *budget);  // false: no further attempt

// --- work ----------------------------------------------------------------------------------------------------------

struct rh_follower {
  rh_list_node node;  // in work->followers
  rh_work *work;
  rh_sink sink;
  rh_replay place;  // in the recording, of the next event it needs
  bool stream;      // its client sees events at once
  bool live;        // it has had everything so far
  bool waiting;     // its sink said WAIT
  bool leads;
  unsigned busy;  // depth of its sink's calls: must not be freed
  rh_deferred catch_up;
  bool seen[];  // of each part: its client sees events at once and has seen something
};

typedef struct rh_work_part {
  rh_work *work;
  uint32_t index;
  rh_run run;
  rh_job *job;              // local
  rh_provider_run *remote;  // remote
  bool ended;
  bool held;        // its producer was told to wait
  bool start_kept;  // its START waits for the first thing that is said
  bool started;     // START was passed on
  rh_event start;
  rh_recording *kept;  // events held back until the confidence is known; NULL = none are
  double logprob_sum;
  int64_t logprob_count;
  rh_dynbuf said;          // the text passed on, where another member could go on with it
  int64_t said_tokens;     // by members before the one at hand
  int64_t attempt_tokens;  // by the one at hand
  int64_t attempt_prompt;  // of its prompt, as its START told
  size_t attempt_bytes;    // that it has said, of any kind
  bool answered;           // it has begun to answer
  bool used;               // what it used is in the facts
} rh_work_part;

struct rh_work {
  rh_gateway *gateway;
  rh_list_node node;   // gateway->works
  rh_list_node share;  // gateway->sharing
  rh_asked *asked;
  rh_way way;
  rh_work_options options;
  rh_cache_key key;  // where options.key is set
  rh_list followers;
  rh_recording *recording;  // NULL = not recorded (any more)
  size_t recording_soft;    // from here on nobody may join, and the slowest follower sets the pace
  rh_work_part *parts;      // in the arena
  size_t part_count, ended;
  bool stream;      // a follower's client sees events at once
  bool passed;      // something was passed on that such a client has seen
  bool mixed;       // what was passed on is more than text: no other member can go on with it
  bool over;        // the final event was passed on
  bool between;     // the last attempt was given up, the next has not begun
  unsigned inside;  // depth of pushes: the work must not be freed
  bool unwanted;    // its last follower has left
  size_t at;        // way.seats[at] is being tried
  rh_seat *seat;
  rh_served *served;  // held
  bool counted;       // the attempt at hand was told to the breaker and has no outcome yet
  bool last_resort;   // the way's last seat is an earlier one again
  rh_timer hold;      // the first token is late
  rh_deferred reap;   // its end, outside of a producer's push
  rh_deferred next;   // an attempt to begin outside of the failed one's push
  uint64_t attempt_ns, first_ns, last_ns;
  rh_work_facts facts;
  char fallback[RH_REASON_MAX];
};

// work.c
void rh_work_pass(rh_work *work, const rh_event *event);  // to all followers
bool rh_work_may_flow(const rh_work *work);               // nobody holds the producers up
void rh_work_resume_parts(rh_work *work);
void rh_work_leave_inside(rh_work *work);  // ends a stretch of work->inside; may free the work
void rh_works_free(rh_gateway *gateway);   // those that nobody wants any more, at the gateway's end
void rh_work_finish(rh_work *work);        // the final event is out

// attempt.c
rh_status rh_try_begin(rh_work *work, rh_error *error) RH_MUST_CHECK;  // from way.seats[at] on
void rh_try_stop(rh_work *work);                                       // cancels what runs; says nothing of the member
// The member at hand is left for the next one, or the work fails with `error`. `blame`: it counts against the member, and
// going on against the retry budget. Not so where nothing was sent, or where the answer came but was not sure enough.
void rh_try_give_up(rh_work *work, const rh_error *error, bool blame);
bool rh_try_has_next(const rh_work *work);
// Can the way's next member take over after such a failure, as things stand?
bool rh_try_may_follow(const rh_work *work, rh_status status);
void rh_try_on_late(void *work);
void rh_try_on_next(void *work);

// used.c
// A run's own count; `usage` is what clients are told, with what members before it said.
void rh_try_add_usage(rh_work *work, rh_work_part *part, rh_usage *usage);
void rh_try_count_part(rh_work *work, rh_work_part *part);  // the same where none came, reckoned; once
// A provider wants its money for what is broken off too: what the runs at hand must have used comes into the facts.
void rh_try_count_unfinished(rh_work *work);

// judge.c
bool rh_judge_wanted(const rh_work *work);
// Keeps the event, or makes the judgement: then what was kept is released, or the next member is asked.
void rh_judge_take(rh_work *work, rh_work_part *part, const rh_event *event);
void rh_judge_drop(rh_work_part *part);

// shadow.c
void rh_shadows_end(rh_gateway *gateway);  // all of them, at the gateway's end

#endif
