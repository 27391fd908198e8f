// SPDX-License-Identifier: Apache-2.0
//
// Work: one request being answered by a plan of members, for one or more clients.
//
// A way (rh_way) is the router's plan with what each name means here. A work runs the request on the way's first member and, when
// that fails before anything was passed on (or where the next can go on after what was), on the next. It passes events to its
// subscribers; one that asks the very same thing while it runs may join it (single flight), because its events are recorded.
//
// Thread: the event loop's. A work ends by itself: with its final event, or when its last subscriber leaves.
#ifndef RH_GATEWAY_WORK_H
#define RH_GATEWAY_WORK_H

#include "admit/recording.h"
#include "base/arena.h"
#include "flow/model_info.h"
#include "gateway/gateway.h"

// A request with the memory it lives in, shared by the call that brought it and the work that does it.
typedef struct rh_asked rh_asked;
struct rh_asked {
  unsigned holders;
  rh_arena *arena;  // owned
  rh_request request;
  rh_asked *base;  // held: an equal request of before, in whose memory this one's strings are; NULL = in its own
};

rh_asked *rh_asked_new(void);  // held once, without an arena yet; NULL = no memory
rh_asked *rh_asked_hold(rh_asked *asked);
void rh_asked_release(rh_asked *asked);

typedef struct rh_seat rh_seat;  // one (provider, model) that can be chosen

typedef struct rh_way {
  rh_seat *seats[RH_PLAN_MAX];
  size_t count;
  char reason[RH_REASON_MAX];
  rh_features features;  // strings borrowed from the request
  bool routed;           // the router chose; otherwise the request named its model
  int rule;
  double confidence;     // of the choice
  double cascade_min;    // an answer less sure than this is not taken ...
  size_t cascade_count;  // ... from so many seats from the front, but the last of them
  rh_strategy strategy;
  // The experiment it takes part in, by name, because it may be removed meanwhile; "" = none.
  char experiment[RH_EXPERIMENT_NAME_MAX + 1], arm[RH_EXPERIMENT_NAME_MAX + 1];
  size_t shadows[RH_ARMS_MAX];  // arms that get a copy
  size_t shadow_count;
} rh_way;

// Which members may answer, in order. Errors as rh_route_decide and rh_manager_resolve.
rh_status rh_gateway_find_way(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, rh_way *out,
                              rh_error *error) RH_MUST_CHECK;

// A way that is needed after the call that found it must be held: seats that nobody holds may be given up. (A work holds its own.)
void rh_way_hold(const rh_way *way);
void rh_way_release(const rh_way *way);

// What can be told of the way's first member before anything runs: provider, model, info; `served` is not held.
struct rh_work_facts;
void rh_way_describe_first(rh_gateway *gateway, const rh_way *way, struct rh_work_facts *out);
// Names one member's answers apart from all others': provider, model, and of a local model which file it is. For cache keys.
rh_status rh_way_identity(rh_gateway *gateway, const rh_way *way, char *out, size_t size) RH_MUST_CHECK;

// What is known of who answers; changes with each attempt. Strings live as long as the work; `provider` as long as the gateway.
typedef struct rh_work_facts {
  const char *provider, *model;  // "local" and the served name; NULL before the first attempt
  const rh_model_info *info;     // of a local model; NULL = not known
  rh_served *served;             // of a local one, held by the work; NULL = remote
  unsigned attempts;
  double cost_usd;       // of what was used; known at the end
  double confidence;     // of the answer, where it was measured; 0 = not
  rh_usage usage;        // summed over the runs, known at the end
  const char *fallback;  // why an earlier member was left, of the last one; "" = none
} rh_work_facts;

typedef struct rh_work rh_work;
typedef struct rh_follower rh_follower;  // one subscriber

typedef struct rh_work_options {
  uint64_t deadline_ns;
  int32_t priority;
  const rh_cache_key *key;  // NULL = is neither kept nor shared
  bool local_only;
  bool shadow;  // nobody waits for it
} rh_work_options;

// Submits nothing yet on return of an error. The sink never hears anything from inside. RH_QUEUE_FULL etc. as the members say when
// none of the way's can take it.
rh_status rh_work_start(rh_gateway *gateway, rh_asked *asked, const rh_way *way, const rh_work_options *options,
                        const rh_sink *sink, bool stream, rh_follower **out, rh_error *error) RH_MUST_CHECK;
// Joins a work under way for the same key. NULL = there is none to join.
rh_follower *rh_work_join(rh_gateway *gateway, const rh_cache_key *key, const rh_request *request, uint64_t deadline_ns,
                          const rh_sink *sink);
void rh_follower_resume(rh_follower *follower);  // after RH_WAIT
// The sink is never called again. After the final event it must be called as well (it frees the follower).
void rh_follower_leave(rh_follower *follower);
const rh_work_facts *rh_follower_facts(const rh_follower *follower);
bool rh_follower_leads(const rh_follower *follower);  // the cost is its own: it began the work, or took the lead over
// Before one leaves that has not had the whole answer: whoever came next bears the cost. False: it leads not, or is the last one.
// The last one's facts then tell what was used so far, as far as can be known.
bool rh_follower_pass_lead(rh_follower *follower);

// Copies of a request for the other arms of its shadow experiment, if it takes part in one. Nobody waits for them; they are bounded
// in number and never leave this machine when the request must not.
void rh_gateway_begin_shadows(rh_gateway *gateway, rh_asked *asked, const rh_caller *caller, const rh_way *way);

// --- what a finished request leaves --------------------------------------------------------------------------------

typedef struct rh_finished {
  const rh_request *request;
  const rh_way *way;           // NULL = none was found
  const rh_work_facts *facts;  // NULL = nothing ran (a cached answer, an early error)
  rh_key *key;                 // NULL = none
  const char *address;         // of the client; goes into the decision log as a hash. NULL = unknown
  const char *operation, *outcome, *cache;
  const char *provider, *model;  // that answered, "" = none
  int64_t wall_ms;               // when it came
  double latency_ms, first_token_ms;
  double cost_usd;
  rh_usage usage;
  bool failed, shadow;
} rh_finished;

void rh_gateway_account(rh_gateway *gateway, const rh_finished *finished);

#endif
