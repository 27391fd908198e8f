// SPDX-License-Identifier: Apache-2.0
//
// A mutex, a condition and a list. Owns the commands between post and take. The taker empties it in one go, so a busy
// engine pays for one lock per step, however many commands came. It never blocks the poster: a full mailbox is the
// poster's cue to stop reading its socket, which slows the daemon down instead of growing memory.
#include "worker/mailbox.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

struct rh_mailbox {
  pthread_mutex_t mutex;
  pthread_cond_t filled;
  rh_list commands;
  size_t bytes;
  size_t commands_max;
  size_t bytes_max;
  bool refused;  // the poster was told that there is no room
  bool ending;
  bool closed;
};

rh_command *rh_command_new(rh_command_kind kind, uint32_t stream, size_t arena_max) {
  rh_command *command = calloc(1, sizeof *command);
  if (command == NULL) return NULL;
  command->kind = kind;
  command->stream = stream;
  if (arena_max > 0) {
    command->arena = rh_arena_new(arena_max);
    if (command->arena == NULL) {
      free(command);
      return NULL;
    }
  }
  return command;
}

void rh_command_free(rh_command *command) {
  if (command == NULL) return;
  rh_arena_free(command->arena);
  free(command);
}

static size_t command_bytes(const rh_command *command) {
  return command->arena != NULL ? rh_arena_bytes(command->arena) : 0;
}

rh_mailbox *rh_mailbox_new(size_t commands_max, size_t bytes_max) {
  rh_mailbox *mailbox = calloc(1, sizeof *mailbox);
  if (mailbox == NULL) return NULL;
  rh_list_init(&mailbox->commands);
  mailbox->commands_max = commands_max;
  mailbox->bytes_max = bytes_max;
  // The steady clock: a jump of the wall clock must not make the engine thread wait longer.
  pthread_condattr_t attributes;
  bool ok = pthread_condattr_init(&attributes) == 0;
  if (ok) {
    ok = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
         pthread_cond_init(&mailbox->filled, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
  }
  if (!ok || pthread_mutex_init(&mailbox->mutex, NULL) != 0) {
    free(mailbox);
    return NULL;
  }
  return mailbox;
}

void rh_mailbox_free(rh_mailbox *mailbox) {
  if (mailbox == NULL) return;
  rh_list_each(&mailbox->commands, node) {
    rh_command *command = rh_list_entry(node, rh_command, node);
    rh_list_remove(&mailbox->commands, node);
    rh_command_free(command);
  }
  pthread_cond_destroy(&mailbox->filled);
  pthread_mutex_destroy(&mailbox->mutex);
  free(mailbox);
}

bool rh_mailbox_has_room(rh_mailbox *mailbox) {
  pthread_mutex_lock(&mailbox->mutex);
  bool room = mailbox->commands.count < mailbox->commands_max && mailbox->bytes < mailbox->bytes_max;
  if (!room) mailbox->refused = true;
  pthread_mutex_unlock(&mailbox->mutex);
  return room;
}

void rh_mailbox_post(rh_mailbox *mailbox, rh_command *command) {
  pthread_mutex_lock(&mailbox->mutex);
  assert(mailbox->commands.count < mailbox->commands_max);
  rh_list_push_back(&mailbox->commands, &command->node);
  mailbox->bytes += command_bytes(command);
  if (command->kind == RH_COMMAND_UNLOAD) mailbox->ending = true;
  pthread_cond_signal(&mailbox->filled);
  pthread_mutex_unlock(&mailbox->mutex);
}

void rh_mailbox_close(rh_mailbox *mailbox) {
  pthread_mutex_lock(&mailbox->mutex);
  mailbox->closed = true;
  mailbox->ending = true;
  pthread_cond_signal(&mailbox->filled);
  pthread_mutex_unlock(&mailbox->mutex);
}

// With the mutex held.
static void wait_for_commands(rh_mailbox *mailbox, uint64_t until_ns) {
  struct timespec until = {.tv_sec = (time_t)(until_ns / RH_NS_PER_S), .tv_nsec = (long)(until_ns % RH_NS_PER_S)};
  while (mailbox->commands.count == 0 && !mailbox->closed) {
    if (until_ns == RH_MAILBOX_FOREVER) {
      pthread_cond_wait(&mailbox->filled, &mailbox->mutex);
    } else if (pthread_cond_timedwait(&mailbox->filled, &mailbox->mutex, &until) != 0) {
      return;
    }
  }
}

bool rh_mailbox_take(rh_mailbox *mailbox, uint64_t until_ns, rh_list *out, bool *was_full) {
  pthread_mutex_lock(&mailbox->mutex);
  if (until_ns != 0) wait_for_commands(mailbox, until_ns);
  rh_list_each(&mailbox->commands, node) {
    rh_list_remove(&mailbox->commands, node);
    rh_list_push_back(out, node);
  }
  mailbox->bytes = 0;
  *was_full = mailbox->refused;
  mailbox->refused = false;
  bool open = !mailbox->closed;
  pthread_mutex_unlock(&mailbox->mutex);
  return open;
}

bool rh_mailbox_is_ending(rh_mailbox *mailbox) {
  pthread_mutex_lock(&mailbox->mutex);
  bool ending = mailbox->ending;
  pthread_mutex_unlock(&mailbox->mutex);
  return ending;
}
