// SPDX-License-Identifier: Apache-2.0
//
// Private to src/manager: the manager's parts and who does what.
//
//   manager.c  making, the list of models, the end        served.c   one model: its member, queue and idle time
//   tenancy.c  what the broker asks and tells; hardware   usage.c    need, frequency, what is remembered
//   names.c    which model a name means                   aliases.c  the table of aliases, pins, their keeping
//   swap.c     hot swaps                                  waiters.c  who waits for a load, an unload, an alias
//   refresh.c  models that come and go                    watch.c    changes on disk
//   tidy.c     background work                            describe.c, collect.c  to JSON; from the store
#ifndef RH_MANAGER_INTERNAL_H
#define RH_MANAGER_INTERNAL_H

#include "base/clock.h"
#include "base/log.h"
#include "manager/manager.h"
#include "model/hardware.h"

#define RH_ALIASES_MAX 4096
// How long a worker that has nothing to do may take to leave.
#define RH_UNLOAD_GRACE_NS (5 * RH_NS_PER_S)

typedef struct rh_swap rh_swap;

typedef struct rh_alias {
  char name[RH_MODEL_NAME_MAX + 1];
  char target[RH_MODEL_NAME_MAX + 1];  // as it was said; kept when the model vanishes
  rh_served *served;                   // what it means now; NULL = there is no such model
  rh_swap *swap;                       // under way; NULL = none
  char error[256];                     // why the last swap failed
  bool in_store;                       // the store knows it (and may forget it)
  bool dirty;                          // moved, and not written to the store yet
  bool following;                      // its last move, or the one under way, is one that the store told of
} rh_alias;

struct rh_manager {
  rh_manager_options options;  // its strings are owned copies
  rh_loop *loop;
  rh_broker *broker;
  rh_hardware hardware;
  rh_served **served;  // sorted by name
  size_t count;
  rh_list gone;        // models that no name leads to any more: they finish, leave and are freed
  rh_alias **aliases;  // sorted by name
  size_t alias_count;
  json_t *alias_config;  // from the configuration; may be NULL
  rh_list swaps;
  rh_list finished;  // waiters whose callback is due
  rh_deferred tell, reap, bye;
  rh_timer tidy, sample, save, progress, debounce;
  uint64_t saved_ns;  // when aliases were last written
  rh_watch inotify;
  int watch_changed, watch_models;  // inotify watches; -1 = none
  bool leaving, gone_told;
  bool store_warned;
};

struct rh_served {
  rh_manager *manager;
  rh_model_spec *spec;
  rh_member *member;
  rh_sched_model *queue;
  rh_tenant *tenant;
  rh_list_node gone;  // in manager->gone; linked = no name leads here
  // Who needs it.
  unsigned holds;      // requests that point at it
  unsigned swaps;      // swaps it takes part in, in which it must not leave
  rh_list loaders;     // waiters for READY
  rh_list leavers;     // waiters for the end of its process
  rh_deferred want;    // asks the broker; never from inside the scheduler
  uint64_t wanted_ns;  // since when a load is wanted; 0 = none is
  bool named;          // the last resolution was by its own name
  uint64_t named_ns;   // when a request last used its own name
  // How long it stays.
  bool pinned, preloaded;
  bool leave_when_idle;
  bool retiring;       // its files are about to go
  int64_t keep_alive;  // the last request's wish, or RH_KEEP_ALIVE_UNSET
  rh_timer idle;
  uint64_t expires_ns;
  // On its way out.
  bool draining, held_by_broker;
  rh_timer drain;
  const char *leave_why;  // a fixed word
  // What is known by use.
  uint64_t last_used_ns;
  rh_need estimate;  // from the file, made once
  rh_need need;      // the estimate, corrected by what was measured
  bool estimated, need_known;
  rh_usage_facts facts;
  bool facts_dirty;
  double frequency;             // requests an hour ...
  uint64_t frequency_ns;        // ... at this time
  int64_t peak_rss, peak_vram;  // of the process that runs now
  double load_ms;
  bool warmed;  // it has answered something since it was loaded
};

struct rh_manager_waiter {
  rh_list_node node;  // in a model's loaders or leavers, or in manager->finished; unlinked = a swap's
  rh_list *list;
  rh_manager *manager;
  rh_served *served;
  rh_manager_callback callback;
  rh_status status;
  rh_error error;
};

// manager.c
void rh_manager_happened(rh_manager *manager, rh_manager_event_kind kind, const rh_served *served, const char *detail,
                         double seconds);
void rh_manager_check_gone(rh_manager *manager);  // tells all_gone once nothing runs any more
rh_served *rh_manager_find(const rh_manager *manager, const char *name, size_t *place);  // exact

// served.c
rh_status rh_served_new(rh_manager *manager, const rh_model_spec *spec, rh_served **out, rh_error *error) RH_MUST_CHECK;
void rh_served_free(rh_served *served);
bool rh_served_in_memory(const rh_served *served);  // it has a process, or will have one again by itself
bool rh_served_ready(const rh_served *served);
bool rh_served_busy(const rh_served *served);    // something runs or waits
bool rh_served_needed(const rh_served *served);  // must not leave for being idle or to make room
void rh_served_arm_idle(rh_served *served);      // sets or stops its idle time, as it is now
void rh_served_leave(rh_served *served, const char *why, uint64_t grace_ns);
void rh_served_drain(rh_served *served, const char *why);  // leave as soon as nothing runs; what waits, waits
void rh_served_want(rh_served *served);
void rh_served_set_held(rh_served *served);
uint64_t rh_served_keep_alive_ns(const rh_served *served);           // in force now; UINT64_MAX = for ever
void rh_served_fail_load(rh_served *served, const rh_error *error);  // all who wait for it hear why

// tenancy.c
extern const rh_tenant_ops rh_served_tenant_ops;
// RH_LOAD_FAILED or RH_HARDWARE while the pause after a failed load is not over.
rh_status rh_served_check_failed(const rh_served *served, rh_error *error) RH_MUST_CHECK;
rh_status rh_served_check_hardware(const rh_served *served, rh_error *error) RH_MUST_CHECK;
// Do both fit, beside what cannot leave? RH_NO_ROOM with the numbers. `besides` may be NULL.
rh_status rh_served_check_room(rh_served *served, rh_served *besides, rh_error *error) RH_MUST_CHECK;

// usage.c
const rh_need *rh_served_learn_need(rh_served *served);  // estimates once
void rh_served_read_facts(rh_served *served);
void rh_served_count_use(rh_served *served);
double rh_served_frequency(const rh_served *served);  // requests an hour, now
double rh_served_reload_ms(const rh_served *served);
void rh_served_note_load(rh_served *served);
void rh_served_note_memory(rh_served *served);  // its process' memory, as last reported
void rh_manager_remember(rh_manager *manager);  // writes what was learned to the store

// names.c
rh_served *rh_manager_match(const rh_manager *manager, const char *name);  // exact, or by version; NULL
rh_served *rh_manager_default(rh_manager *manager, const char **why, rh_error *error);

// aliases.c
rh_alias *rh_alias_find(const rh_manager *manager, const char *name);
rh_status rh_alias_add(rh_manager *manager, const char *name, rh_alias **out, rh_error *error) RH_MUST_CHECK;
void rh_alias_remove(rh_manager *manager, rh_alias *alias);
void rh_alias_point(rh_manager *manager, rh_alias *alias, rh_served *served);   // moves it now
void rh_alias_keep(rh_manager *manager, const char *name, const char *target);  // in the store
void rh_aliases_bind(rh_manager *manager);  // names to models, after the list changed
rh_status rh_aliases_load(rh_manager *manager, rh_error *error) RH_MUST_CHECK;
void rh_aliases_follow(rh_manager *manager);  // what another process wrote to the store
void rh_aliases_save(rh_manager *manager);
void rh_aliases_free(rh_manager *manager);
bool rh_served_has_alias(const rh_served *served, const rh_alias *except);

// swap.c
rh_status rh_swap_begin(rh_manager *manager, rh_alias *alias, rh_served *old, rh_served *target, bool replace,
                        rh_manager_waiter *waiter, rh_error *error) RH_MUST_CHECK;
// As the admin call, for a move that another process made and wrote down: it is not written once more.
rh_status rh_swap_follow(rh_manager *manager, rh_alias *alias, rh_served *target, rh_error *error) RH_MUST_CHECK;
void rh_swap_cancel(rh_swap *swap, rh_status status, const char *why);
void rh_swap_drop_model(rh_manager *manager, const rh_served *served);  // it vanishes: swaps to it fail
void rh_swaps_cancel(rh_manager *manager, const char *why);
void rh_swaps_free(rh_manager *manager);
const rh_served *rh_swap_target(const rh_swap *swap);

// waiters.c
rh_status rh_waiter_new(rh_manager *manager, rh_served *served, const rh_manager_callback *callback,
                        rh_manager_waiter **out, rh_error *error) RH_MUST_CHECK;
void rh_waiter_join(rh_manager_waiter *waiter, rh_list *list);
void rh_waiter_finish(rh_manager_waiter *waiter, rh_status status, const rh_error *error);
void rh_waiters_finish(rh_list *list, rh_status status, const rh_error *error);
void rh_waiter_free(rh_manager_waiter *waiter);
void rh_waiters_drop(rh_list *list);  // frees them untold
void rh_waiters_open(rh_manager *manager);

// refresh.c
void rh_manager_reap(void *manager);  // frees the gone models that nobody needs any more

// tidy.c, watch.c
void rh_tidy_open(rh_manager *manager);
void rh_tidy_close(rh_manager *manager);
void rh_tidy_soon(rh_manager *manager);
void rh_tidy_sample_soon(rh_manager *manager);
void rh_watch_open(rh_manager *manager);
void rh_watch_again(rh_manager *manager);       // folders that did not exist before
void rh_watch_look_again(rh_manager *manager);  // as after a change, in a moment
// Changes that were not looked at yet: looks now. True when there were some. So that a request right after a pull finds
// the model.
bool rh_watch_catch_up(rh_manager *manager);
void rh_watch_close(rh_manager *manager);

#endif
