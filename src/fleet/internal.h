// SPDX-License-Identifier: Apache-2.0
//
// Private to src/fleet: the member's parts and who does what.
//
//   member.c   states, timers, what a lost worker means
//   channel.c  the socket: frames in and out, what each frame means
//   runs.c     runs inside a member: credit, cancellation
//   process.c  starting and reaping the worker process
#ifndef RH_FLEET_INTERNAL_H
#define RH_FLEET_INTERNAL_H

#include "base/arena.h"
#include "fleet/fleet.h"
#include "wire/message.h"

struct rh_member_run {
  rh_member *member;
  rh_list_node node;  // in member->runs
  uint32_t stream;
  uint32_t credit;        // deltas and results the worker may still send; passing it breaks the protocol
  uint32_t owed;          // of them taken whose credit was not given back yet
  bool held;              // the listener said WAIT
  uint64_t cancelled_ns;  // 0 = not cancelled
  rh_run_listener listener;
};

struct rh_member {
  rh_loop *loop;
  rh_member_options options;  // strings are owned copies
  rh_member_listener listener;
  rh_member_state state;
  rh_error failure;       // why the last worker was lost or the load failed
  bool load_refused;      // the worker itself said why the load failed
  char kill_reason[256];  // why we killed it, or empty

  pid_t pid;
  rh_watch process;  // a pidfd: readable when the process has ended
  rh_watch socket;
  uint32_t socket_events;
  rh_dynbuf in, out;
  rh_arena *scratch;  // what one frame decodes to

  rh_list runs;
  uint32_t next_stream;

  rh_timer watchdog;  // start and load timeouts, pings, hung engines
  rh_timer pause;     // BACKOFF and FAILED
  uint64_t state_since_ns;
  uint64_t progress_ns;  // last sign of life while loading
  uint64_t ping_ns, pong_ns;
  uint64_t pause_until_ns;  // FAILED: a new start before this is refused
  unsigned deaths;          // in a row, without a healthy while between
  unsigned load_crashes;    // in a row, without a load that succeeded between
  uint64_t restarts;
  double load_fraction;
  int32_t share;  // threads it may compute with; 0 = all

  bool has_info;
  rh_model_info info;
  rh_worker_stats stats;
};

// process.c
rh_status rh_process_spawn(rh_member *member, rh_error *error) RH_MUST_CHECK;  // sets pid, process, socket
void rh_process_kill(rh_member *member);
// Collect the ended process; `reason` gets "was killed by signal 9 (Killed)" or "ended with exit status 3".
void rh_process_reap(rh_member *member, char *reason, size_t size);

// channel.c
rh_status rh_channel_open(rh_member *member, int fd) RH_MUST_CHECK;
void rh_channel_close(rh_member *member);
void rh_channel_drain(rh_member *member);  // read and handle what the ended worker left behind
void rh_channel_flush(rh_member *member);  // send member->out

// runs.c
void rh_runs_event(rh_member *member, uint32_t stream, const rh_event *event);
void rh_runs_lost(rh_member *member, const rh_error *error);  // every run gets its final event
uint64_t rh_runs_oldest_cancel_ns(const rh_member *member);   // 0 = none
void rh_runs_drop(rh_member *member);                         // without telling anyone

// member.c
void rh_member_set_state(rh_member *member, rh_member_state state);
void rh_member_kill(rh_member *member, const char *reason);  // for a worker that hangs or breaks the protocol
void rh_member_on_exit(void *ctx, uint32_t events);
void rh_member_on_hello(rh_member *member, const rh_hello *hello);
void rh_member_on_loaded(rh_member *member, const rh_model_info *info);
void rh_member_on_worker_error(rh_member *member, const rh_error *error);

#endif
