// SPDX-License-Identifier: Apache-2.0
//
// Asks a person whether a model should be pulled, and pulls it. Owns nothing that outlives a call. One thread. Nothing is
// ever pulled without a yes: it costs time, disk and perhaps money.
#include "cli/offer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/connect.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/pull_run.h"
#include "model/known.h"

#define TIMEOUT_MS 5000L
#define NOTICE_TIMEOUT_NS (5 * RH_NS_PER_S)

static bool server_has(const char *server, const char *model) {
  rh_client *client;
  rh_error ignored = {0};
  json_t *answer = NULL;
  char path[512];
  snprintf(path, sizeof path, "/api/models/status/%.400s", model);
  if (rh_client_new(server, &client, &ignored) != RH_OK) return false;
  rh_status status = rh_client_get_json(client, path, TIMEOUT_MS, &answer, &ignored);
  json_decref(answer);
  rh_client_free(client);
  return status == RH_OK;
}

static bool is_here(rh_local *local, const char *model) {
  rh_stored stored;
  rh_error ignored = {0};
  bool found = rh_local_find(local, model, true, &stored, &ignored) == RH_OK;
  rh_stored_release(&stored);
  return found || (local->conf != NULL && rh_catalogue_find(local->conf->catalogue, model) != NULL);
}

// Enter means yes, as the capital letter says; the end of input means no.
static bool says_yes(const rh_known *known, const char *model) {
  char size[32], answer[64];
  rh_cli_format_bytes(size, sizeof size, known->bytes);
  fprintf(stderr, "%s is not here. Get %s:%s (%s%s, licence %s)? [Y/n] ", model, known->name, known->version,
          known->bytes_approximate ? "about " : "", size, known->licence);
  fflush(stderr);
  if (fgets(answer, sizeof answer, stdin) == NULL) {
    clearerr(stdin);
    fputc('\n', stderr);
    return false;
  }
  size_t start = strspn(answer, " \t");
  return answer[start] == '\n' || answer[start] == 'y' || answer[start] == 'Y';
}

// A running server hears of the new model by itself, a moment later.
static void wait_for_notice(const char *server, const char *model) {
  uint64_t deadline = rh_clock_now_ns() + NOTICE_TIMEOUT_NS;
  while (!server_has(server, model) && rh_clock_now_ns() < deadline && rh_interrupt_count() == 0) usleep(50 * 1000);
}

static int pull(rh_local *local, const rh_known *known, const char *model, const char *server, bool serving) {
  char source[2 * RH_MODEL_NAME_MAX + 2];
  snprintf(source, sizeof source, "%s:%s", known->name, known->version);
  if (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0)
    return rh_cli_fail(RH_EXIT_ERROR, "%s is not here, but the catalogue has it; get it with: roundhouse pull %s",
                       model, source);
  if (!says_yes(known, model)) return rh_interrupt_count() > 0 ? RH_EXIT_INTERRUPTED : RH_EXIT_ERROR;
  rh_pull_options options = {.source = source, .wait_for_lock = true, .convert = true};
  int code = rh_pull_run(local, &options, false);
  if (code == RH_EXIT_OK && serving) wait_for_notice(server, model);
  return code;
}

static bool may_be_known(const char *model) {
  return rh_known_find(model) != NULL && strchr(model, '=') == NULL && access(model, F_OK) != 0;
}

int rh_offer_pull(const char *asked, const char *model) {
  bool chosen;
  int code = RH_EXIT_OK;
  // This reads the configuration, which may add to the catalogue.
  char *server = rh_connect_address(asked, &chosen);
  if (server == NULL || chosen || !may_be_known(model)) {
    free(server);
    return RH_EXIT_OK;
  }
  bool serving = rh_connect_answers(server);
  rh_local local;
  rh_error error = {0};
  // With a wrong configuration the session will fail, and say why.
  bool there = serving && server_has(server, model);
  if (!there && rh_local_open(NULL, true, &local, &error) == RH_OK) {
    // Found again: reading the configuration has made the catalogue anew.
    const rh_known *known = rh_known_find(model);
    if (known != NULL && !is_here(&local, model)) code = pull(&local, known, model, server, serving);
    rh_local_close(&local);
  }
  free(server);
  return code;
}
