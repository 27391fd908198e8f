// SPDX-License-Identifier: Apache-2.0
//
// Chores: children that change the store. A chore owns its child and lives until that has ended, whether somebody waits
// for it or not. Loop thread only.
#include "daemon/chores.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/subprocess.h"
#include "daemon/child.h"

#define CHORES_MAX 8

struct rh_chore {
  rh_daemon *daemon;
  rh_list_node node;
  rh_child *child;
  void (*done)(void *ctx, rh_status status, const rh_error *error);  // NULL = nobody waits
  void *ctx;
};

static void free_chore(rh_chore *chore) {
  rh_child_free(chore->child);
  rh_list_remove(&chore->daemon->chores, &chore->node);
  free(chore);
}

static void on_line(void *ctx, const char *text, size_t length) {
  (void)ctx;
  (void)text;
  (void)length;
}

// What the command line says to a person, without the program's name.
static void cut_complaint(const char *complaint, char *out, size_t size) {
  static const char prefix[] = "roundhouse: ";
  if (rh_text_starts_with(complaint, prefix)) complaint += sizeof prefix - 1;
  (void)rh_text_copy(out, size, complaint);
  out[strcspn(out, "\n")] = '\0';
}

static void on_ended(void *ctx, int wait_status, const char *complaint) {
  rh_chore *chore = ctx;
  rh_error error = {0}, ignored = {0};
  rh_status status = RH_OK;
  if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) {
    char how[96], words[512];
    rh_subprocess_describe(wait_status, how, sizeof how);
    cut_complaint(complaint, words, sizeof words);
    status = words[0] != '\0' ? rh_fail(&error, RH_IO, "%s", words) : rh_fail(&error, RH_IO, "the work %s", how);
    RH_LOG(RH_LOG_WARN, "a change of the store failed", rh_log_str("error", error.message));
  }
  if (rh_manager_refresh(chore->daemon->manager, &ignored) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "the models cannot be looked through", rh_log_str("error", ignored.message));
  }
  if (chore->done != NULL) chore->done(chore->ctx, status, &error);
  free_chore(chore);
}

rh_status rh_chore_start(rh_daemon *daemon, const char *const *arguments,
                         void (*done)(void *ctx, rh_status status, const rh_error *error), void *ctx, rh_chore **out,
                         rh_error *error) {
  static const rh_child_ops ops = {.line = on_line, .ended = on_ended};
  *out = NULL;
  if (daemon->chores.count >= CHORES_MAX) {
    return rh_fail(error, RH_QUEUE_FULL, "%d changes of the store run already; try again in a moment", CHORES_MAX);
  }
  rh_chore *chore = calloc(1, sizeof *chore);
  if (chore == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to change the store; try again later");
  *chore = (rh_chore){.daemon = daemon, .done = done, .ctx = ctx};
  rh_status status = rh_child_start(daemon, arguments, &ops, chore, &chore->child, error);
  if (status != RH_OK) {
    free(chore);
    return status;
  }
  rh_list_push_back(&daemon->chores, &chore->node);
  *out = chore;
  return RH_OK;
}

void rh_chore_forget(rh_chore *chore) { chore->done = NULL; }

void rh_chores_free(rh_daemon *daemon) {
  rh_list_each(&daemon->chores, node) {
    rh_chore *chore = rh_list_entry(node, rh_chore, node);
    rh_child_stop(chore->child);
    rh_child_end(chore->child);
    rh_error error;
    (void)rh_fail(&error, RH_UNAVAILABLE, "the server has stopped");
    if (chore->done != NULL) chore->done(chore->ctx, RH_UNAVAILABLE, &error);
    free_chore(chore);
  }
}
