// SPDX-License-Identifier: Apache-2.0
//
// route_speed [ROUNDS]: microseconds of one routing decision with its features, 100 rules of which none or the last holds, 20 members
// of 6 providers, for prompts of several lengths. Prints one JSON object a line: {"prompt_bytes": n, "strategy": "...", "features_us":
// {"p50","p99","max"}, "decide_us": {...}, "both_us": {...}}. The target is a p99 of both of at most 20 microseconds. All features
// are read, though a decision reads only what it needs.
//
// Requests are all different texts, so that no branch predictor learns one by heart; every decision's members carry load.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/dynbuf.h"
#include "base/json.h"
#include "route/route.h"

#define RULES 100
#define MEMBERS 20
#define TEXTS 64
#define ROUNDS_MAX 1000000

static double now_us(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec * 1e6 + (double)at.tv_nsec * 1e-3;
}

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "route_speed: %s\n", what);
  exit(1);
}

static uint32_t chance(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32);
}

static char *make_text(size_t length) {
  static const char *const words[] = {"the ", "server ",      "which ",   "must ", "answer, ", "explain ",
                                      "why ", "a = b + 7;\n", "größer ",  "ist ",  "model ",   "2026 ",
                                      "und ", "function ",    "if (",     "数据 ", "request ", "every ",
                                      "of ",  "latency ",     "token.\n", "- ",    "for ",     "compares "};
  char *text = malloc(length + 32);
  if (text == NULL) fail("not enough memory");
  size_t used = 0;
  while (used < length) {
    const char *word = words[chance() % (sizeof words / sizeof *words)];
    memcpy(text + used, word, strlen(word));
    used += strlen(word);
  }
  text[used] = '\0';
  return text;
}

// Each rule looks at several things, and fails at the last of them.
static rh_policy *make_policy(const char *mode) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, 1 << 20);
  (void)!rh_dynbuf_printf(&text, "{\"mode\":\"%s\",\"rules\":[", mode);
  for (int i = 0; i < RULES; i++) {
    (void)!rh_dynbuf_printf(
        &text,
        "%s{\"condition\":{\"task\":\"chat\",\"localOnly\":false,\"promptTokens\":{\"min\":1},\"any\":[{\"key\":"
        "[\"team-%d\",\"x-*\"]},{\"agentType\":[\"a%d\",\"b\",\"c\"]},{\"language\":[\"q%d\"]}]},\"action\":{"
        "\"provider\":\"p%d\"},\"reason\":\"rule\"}",
        i > 0 ? "," : "", i, i, i % 10, i % 6);
  }
  (void)!rh_dynbuf_append_text(&text, "]}");
  static const char *const providers[] = {"p0", "p1", "p2", "p3", "p4", "p5", NULL};
  rh_error error = {0};
  json_t *routing = rh_json_parse(rh_dynbuf_data(&text), text.length, &error);
  rh_policy *policy = NULL;
  if (routing == NULL || rh_policy_parse(routing, NULL, NULL, providers, &policy, &error) != RH_OK) fail(error.message);
  json_decref(routing);
  rh_dynbuf_free(&text);
  return policy;
}

static int by_value(const void *a, const void *b) {
  double one = *(const double *)a;
  double two = *(const double *)b;
  return (one > two) - (one < two);
}

static void print(const char *name, double *values, size_t count, const char *end) {
  qsort(values, count, sizeof *values, by_value);
  printf("\"%s\": {\"p50\": %.2f, \"p99\": %.2f, \"max\": %.2f}%s", name, values[count / 2], values[count * 99 / 100],
         values[count - 1], end);
}

static void measure(const char *mode, size_t length, size_t rounds, double *const times[3]) {
  static const char *const names[] = {"p0", "p1", "p2", "p3", "p4", "p5"};
  static char models[MEMBERS][16];
  rh_route_stats stats[MEMBERS];
  rh_route_member members[MEMBERS];
  char *texts[TEXTS];
  for (size_t i = 0; i < TEXTS; i++) texts[i] = make_text(length);
  for (size_t i = 0; i < MEMBERS; i++) {
    snprintf(models[i], sizeof models[i], "model-%zu", i);
    rh_route_stats_init(&stats[i]);
    stats[i].first_ms = 100 + (double)(chance() % 100), stats[i].token_ms = 10, stats[i].samples = 50;
    members[i] = (rh_route_member){.provider = names[i % 6],
                                   .model = models[i],
                                   .abilities = ~0u,
                                   .ready = true,
                                   .available = true,
                                   .price_in = 1,
                                   .price_out = 4,
                                   .quality = 0.5,
                                   .weight = 1,
                                   .slots = 8,
                                   .stats = &stats[i]};
  }
  rh_policy *policy = make_policy(mode);
  uint64_t sum = 0;  // so that nothing is optimized away
  for (size_t i = 0; i < rounds + 100; i++) {
    const rh_message messages[] = {{.role = "system", .content = "You are a helpful assistant."},
                                   {.role = "user", .content = texts[chance() % TEXTS]}};
    const rh_prompt prompt = {.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = 2};
    const rh_request request = {.task = RH_TASK_CHAT, .prompts = &prompt, .prompt_count = 1, .choices = 1};
    rh_features features;
    rh_plan plan;
    members[chance() % MEMBERS].running = chance() % 8;
    double begin = now_us();
    rh_features_extract(&request, "team-99x", 1700000000, &features);
    double middle = now_us();
    const rh_route_question question = {.features = &features,
                                        .members = members,
                                        .member_count = MEMBERS,
                                        .needs = RH_ABILITY_CHAT,
                                        .now_ns = 1,
                                        .chance = chance()};
    if (rh_route_decide(policy, &question, &plan, NULL) != RH_OK) fail("no plan");
    double end = now_us();
    sum += plan.entries[0].member;
    if (i < 100) continue;
    times[0][i - 100] = middle - begin;
    times[1][i - 100] = end - middle;
    times[2][i - 100] = end - begin;
  }
  if (sum == UINT64_MAX) fail("impossible");
  printf("{\"prompt_bytes\": %zu, \"strategy\": \"%s\", ", length, mode);
  print("features_us", times[0], rounds, ", ");
  print("decide_us", times[1], rounds, ", ");
  print("both_us", times[2], rounds, "}\n");
  rh_policy_free(policy);
  for (size_t i = 0; i < TEXTS; i++) free(texts[i]);
}

int main(int argc, char **argv) {
  static const char *const modes[] = {"rule-based",        "round-robin",       "load-balanced",
                                      "latency-optimized", "quality-optimized", "cost-optimized"};
  static const size_t lengths[] = {100, 1000, 4000, 16000, 100000};
  int rounds = argc > 1 ? atoi(argv[1]) : 20000;
  if (rounds < 100 || rounds > ROUNDS_MAX) fail("100 to 1000000 rounds");
  double *times[3];
  for (size_t i = 0; i < 3; i++) {
    times[i] = calloc((size_t)rounds, sizeof **times);
    if (times[i] == NULL) fail("not enough memory");
  }
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) measure(modes[i], 1000, (size_t)rounds, times);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
    measure("cost-optimized", lengths[i], (size_t)rounds, times);
  for (size_t i = 0; i < 3; i++) free(times[i]);
  return 0;
}
