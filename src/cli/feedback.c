// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse feedback`: says how good an answer was, so that routing and experiments learn from it. Owns nothing. One thread.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L

typedef struct feedback_options {
  RH_CLI_COMMON_FIELDS;
  char *comment;
} feedback_options;

static const rh_setting feedback_flags[] = {
    RH_CLI_COMMON_FLAGS(feedback_options),
    RH_CLI_FLAG(RH_SETTING_STRING, feedback_options, comment, NULL, 0, 0, "words that are kept with the rating"),
};
#define FEEDBACK_FLAG_COUNT (sizeof feedback_flags / sizeof *feedback_flags)

// A number as one, so that the server need not guess.
static json_t *rating_of(const char *word) {
  char *rest = NULL;
  double value = strtod(word, &rest);
  return rest != word && *rest == '\0' ? json_real(value) : json_string(word);
}

static int give(rh_client *client, const void *given, const rh_cli_args *args) {
  const feedback_options *options = given;
  if (args->count != 2) {
    return rh_cli_fail(RH_EXIT_USAGE, "feedback takes a request's id and a rating; see roundhouse help feedback");
  }
  json_t *body = json_pack("{s:s,s:o,s:s*}", "request_id", args->words[0], "rating", rating_of(args->words[1]),
                           "comment", options->comment);
  return rh_admin_post(client, "/api/feedback", body, TIMEOUT_MS, options->json, "Thank you.");
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  feedback_options options = {0};
  return rh_admin_run(self, argc, argv, &options, "feedback needs the id of a request and up or down", give);
}

const rh_cli_command rh_cli_feedback = {
    .name = "feedback",
    .arguments = "REQUEST_ID up|down|NUMBER",
    .help = "Say how good an answer was: up, down, or a number from -1 to 1",
    .details =
        "The id is the answer's x-request-id; roundhouse run --stats and the server's log show it. A rating of -1\n"
        "is written after \"--\": roundhouse feedback req-... -- -1\n",
    .flags = feedback_flags,
    .flag_count = FEEDBACK_FLAG_COUNT,
    .run = run,
};
