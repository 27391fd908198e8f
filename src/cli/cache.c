// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse cache`: what the server's response cache holds, and emptying it. Owns nothing. One thread.
#include <stdio.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L

typedef struct cache_options {
  RH_CLI_COMMON_FIELDS;
} cache_options;

static const rh_setting cache_flags[] = {RH_CLI_COMMON_FLAGS(cache_options)};
#define CACHE_FLAG_COUNT (sizeof cache_flags / sizeof *cache_flags)

static long long number_of(const json_t *object, const char *key) {
  return (long long)json_number_value(json_object_get(object, key));
}

static void print_stats(const json_t *answer) {
  if (!json_is_true(json_object_get(answer, "on"))) {
    puts("the cache is off");
    return;
  }
  char bytes[32];
  rh_cli_format_bytes(bytes, sizeof bytes, number_of(answer, "bytes"));
  long long hits = number_of(answer, "hits"), looked = hits + number_of(answer, "misses");
  printf("%lld answers in %s of memory\n", number_of(answer, "entries"), bytes);
  printf("%lld of %lld look-ups found one (%.1f %%)", hits, looked,
         looked > 0 ? 100.0 * (double)hits / (double)looked : 0.0);
  printf("; %lld of them in Redis, and %lld more by a question alike\n", number_of(answer, "redis_hits"),
         number_of(answer, "semantic_hits"));
  printf("%lld kept, %lld left to make room, %lld because of their age, %lld times Redis failed\n",
         number_of(answer, "stored"), number_of(answer, "evicted"), number_of(answer, "expired"),
         number_of(answer, "redis_failed"));
}

static int act(rh_client *client, const void *given, const rh_cli_args *args) {
  const cache_options *options = given;
  rh_error error = {0};
  json_t *answer = NULL;
  bool clear = strcmp(args->words[0], "clear") == 0;
  if (args->count != 1 || (!clear && strcmp(args->words[0], "stats") != 0)) {
    return rh_cli_fail(RH_EXIT_USAGE, "cache needs stats or clear; see roundhouse help cache");
  }
  rh_status status = clear ? rh_client_call(client, "DELETE", "/api/cache", NULL, TIMEOUT_MS, &answer, &error)
                           : rh_client_get_json(client, "/api/cache", TIMEOUT_MS, &answer, &error);
  if (status != RH_OK) return rh_cli_fail_status(&error);
  if (options->json) return rh_cli_print_json(answer);
  if (clear)
    printf("removed %lld answers\n", number_of(answer, "removed"));
  else
    print_stats(answer);
  json_decref(answer);
  return RH_EXIT_OK;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  cache_options options = {0};
  return rh_admin_run(self, argc, argv, &options, "cache needs stats or clear; see roundhouse help cache", act);
}

const rh_cli_command rh_cli_cache = {
    .name = "cache",
    .arguments = "stats|clear",
    .help = "Show or empty the server's cache of answers",
    .details =
        "clear also removes what the server has in Redis. It needs a key with the scope admin once there are keys.\n",
    .flags = cache_flags,
    .flag_count = CACHE_FLAG_COUNT,
    .run = run,
};
