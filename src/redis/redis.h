// SPDX-License-Identifier: Apache-2.0
//
// Redis on the event loop, with hiredis' parser. One connection, commands in order, answers by callback. It never makes
// anybody wait: a command that is not answered within the time given, or while there is no connection, ends with
// RH_UNAVAILABLE. After a failure, or three commands in a row that were too late, commands fail at once until a connection
// (tried in the background, with a growing pause) has answered PING in time.
//
// Thread: the event loop's; names of hosts are resolved in a thread of its own for each attempt.
#ifndef RH_REDIS_REDIS_H
#define RH_REDIS_REDIS_H

#include <stdint.h>

#include "base/loop.h"
#include "base/status.h"

typedef struct rh_redis rh_redis;

typedef struct rh_redis_options {
  const char *url;      // "redis://[[user]:password@]host[:port][/db]" or "unix://[[user]:password@]/path[?db=N]"
  uint64_t timeout_ns;  // of one command; 0 = 5 ms
  uint64_t backoff_min_ns, backoff_max_ns;  // between attempts; 0 = 100 ms and 5 s
  size_t pending_max;                       // commands without an answer; further ones fail at once; 0 = 10000
} rh_redis_options;

// RH_INVALID, RH_UNSUPPORTED ("rediss://"): the URL (nothing of it is in the message). A server that is away is no error.
rh_status rh_redis_new(rh_loop *loop, const rh_redis_options *options, rh_redis **out, rh_error *error) RH_MUST_CHECK;
void rh_redis_free(rh_redis *redis);  // callbacks that are owed are not called; may be called in one

typedef enum rh_redis_kind {
  RH_REDIS_NIL,
  RH_REDIS_INTEGER,
  RH_REDIS_BYTES,
  RH_REDIS_LIST,
  RH_REDIS_ERROR
} rh_redis_kind;
typedef struct rh_redis_reply rh_redis_reply;
struct rh_redis_reply {
  rh_redis_kind kind;
  int64_t integer;
  const char *bytes;  // BYTES, ERROR; not NUL-terminated for BYTES
  size_t length;
  const rh_redis_reply *items;  // LIST
  size_t count;
};

typedef struct rh_redis_request rh_redis_request;
// RH_OK with a reply (valid during the call; kind ERROR is an answer too), or RH_UNAVAILABLE with NULL.
typedef void (*rh_redis_done)(void *ctx, rh_status status, const rh_redis_reply *reply);

// `args` are copied. `done` is called once, from the loop, never from inside; NULL = nobody wants to know. *out (may be NULL)
// is for rh_redis_forget and dead when `done` is called. RH_UNAVAILABLE: not connected, or too many wait; `done` is not
// called then. A command with no `done` has no time limit of its own.
rh_status rh_redis_command(rh_redis *redis, size_t count, const char *const *args, const size_t *lengths,
                           rh_redis_done done, void *ctx, rh_redis_request **out) RH_MUST_CHECK;
// A script by its hash, loaded when the server does not know it. `keys` first, then `args`; texts. Same rules.
rh_status rh_redis_script(rh_redis *redis, const char *lua, size_t key_count, const char *const *keys, size_t arg_count,
                          const char *const *args, rh_redis_done done, void *ctx, rh_redis_request **out) RH_MUST_CHECK;
void rh_redis_forget(rh_redis_request *request);  // its callback is not called any more

bool rh_redis_connected(const rh_redis *redis);
const char *rh_redis_label(const rh_redis *redis);  // where it is, for people: no user, no password
typedef struct rh_redis_counts {
  uint64_t commands;  // written
  uint64_t failed;    // refused at once, lost with the connection, or too late
  uint64_t timeouts;  // of those: too late
  uint64_t reconnects;
} rh_redis_counts;
const rh_redis_counts *rh_redis_get_counts(const rh_redis *redis);

#endif
