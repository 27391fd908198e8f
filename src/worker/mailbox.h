// SPDX-License-Identifier: Apache-2.0
//
// The way from the I/O thread to the engine thread: a bounded queue of commands. One thread posts, one takes.
#ifndef RH_WORKER_MAILBOX_H
#define RH_WORKER_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/list.h"
#include "flow/model_info.h"
#include "flow/request.h"

#define RH_MAILBOX_FOREVER UINT64_MAX

typedef enum rh_command_kind {
  RH_COMMAND_LOAD,
  RH_COMMAND_RUN,
  RH_COMMAND_CANCEL,
  RH_COMMAND_CREDIT,
  RH_COMMAND_UNLOAD,
} rh_command_kind;

typedef struct rh_command {
  rh_list_node node;
  rh_command_kind kind;
  uint32_t stream;
  uint32_t credit;  // RUN and CREDIT
  rh_arena *arena;  // what `as` points into, or NULL; freed with the command
  union {
    rh_load load;
    rh_run run;
  } as;
} rh_command;

// `arena_max` of 0 makes no arena. NULL when memory is short.
rh_command *rh_command_new(rh_command_kind kind, uint32_t stream, size_t arena_max);
void rh_command_free(rh_command *command);  // NULL is allowed

typedef struct rh_mailbox rh_mailbox;

// Full when it holds `commands_max` commands or `bytes_max` bytes of their arenas. NULL when memory is short.
rh_mailbox *rh_mailbox_new(size_t commands_max, size_t bytes_max);
void rh_mailbox_free(rh_mailbox *mailbox);  // no thread may use it any more

// Only the posting thread asks. After a "no", the next _take says that there is room again.
bool rh_mailbox_has_room(rh_mailbox *mailbox);
void rh_mailbox_post(rh_mailbox *mailbox, rh_command *command);  // takes the command; there must be room
void rh_mailbox_close(rh_mailbox *mailbox);                      // the taker is to end

// Move all commands to the end of `out`, waiting for the first one until `until_ns` on the monotonic clock (0 = do not
// wait, RH_MAILBOX_FOREVER). False when the mailbox was closed. *was_full: the poster waits for room and must be woken.
bool rh_mailbox_take(rh_mailbox *mailbox, uint64_t until_ns, rh_list *out, bool *was_full);

// True as soon as UNLOAD was posted or the mailbox was closed, taken or not: a long load looks here. Any thread.
bool rh_mailbox_is_ending(rh_mailbox *mailbox);

#endif
