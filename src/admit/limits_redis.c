// SPDX-License-Identifier: Apache-2.0
//
// The buckets in Redis: one script, which runs alone there, so that any number of daemons hold a limit exactly. The clock is
// Redis' own. A bucket is a text "MICROSECONDS REQUESTS TOKENS" under PREFIX "limit:" SUBJECT, which expires when the bucket
// is full again. The rules are those of limits_math.c. Owns nothing. Thread: the event loop's.
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admit/limits_private.h"

#define NAME_SIZE 256
#define NUMBER_SIZE 24

// KEYS: the buckets. ARGV: "take" or "settle", tokens, then requests and tokens a minute of each bucket (0 = no limit).
// Answer: 1 or 0, then what is left of requests and tokens of each bucket, as texts: numbers would lose their fractions.
// When the clock has stepped back, the bucket's time follows it, also where nothing is taken: it would stand still for as
// long as the step was.
const char rh_limits_lua[] =
    "local time = redis.call('TIME')\n"
    "local now = tonumber(time[1]) * 1000000 + tonumber(time[2])\n"
    "local settle = ARGV[1] == 'settle'\n"
    "local cost = {settle and 0 or 1, tonumber(ARGV[2])}\n"
    "local allowed = true\n"
    "local buckets = {}\n"
    "for i = 1, #KEYS do\n"
    "  local stored = redis.call('GET', KEYS[i])\n"
    "  local at, requests, tokens = string.match(stored or '', '^(%S+) (%S+) (%S+)$')\n"
    "  at = tonumber(at or 'none')\n"
    "  local b = {rate = {tonumber(ARGV[i * 2 + 1]), tonumber(ARGV[i * 2 + 2])}, level = {}}\n"
    "  local old = {tonumber(requests or 'none'), tonumber(tokens or 'none')}\n"
    "  b.back = at and now < at\n"
    "  for k = 1, 2 do\n"
    "    local rate = b.rate[k]\n"
    "    b.level[k] = rate\n"
    "    if rate > 0 and at and old[k] then\n"
    "      b.level[k] = math.min(rate, old[k] + math.max(0, now - at) * rate / 60000000)\n"
    "    end\n"
    "    if rate > 0 and b.level[k] < math.min(cost[k], rate) - 0.000001 then allowed = false end\n"
    "  end\n"
    "  buckets[i] = b\n"
    "end\n"
    "local answer = {(allowed or settle) and 1 or 0}\n"
    "for i = 1, #KEYS do\n"
    "  local b = buckets[i]\n"
    "  local full, text = 0, string.format('%.0f', now)\n"
    "  for k = 1, 2 do\n"
    "    local rate = b.rate[k]\n"
    "    if allowed or settle then\n"
    "      b.level[k] = math.max(-1440 * rate, math.min(rate, b.level[k] - cost[k]))\n"
    "    end\n"
    "    if rate > 0 then\n"
    "      full = math.max(full, (rate - b.level[k]) * 60000 / rate)\n"
    "      text = text .. string.format(' %.17g', b.level[k])\n"
    "    else\n"
    "      text = text .. ' -'\n"
    "    end\n"
    "    answer[#answer + 1] = string.format('%.17g', b.level[k])\n"
    "  end\n"
    "  if allowed or settle or b.back then\n"
    "    if full > 0 then\n"
    "      redis.call('SET', KEYS[i], text, 'PX', string.format('%.0f', math.ceil(full) + 1))\n"
    "    else\n"
    "      redis.call('DEL', KEYS[i])\n"
    "    end\n"
    "  end\n"
    "end\n"
    "return answer\n";

rh_status rh_limits_ask(rh_redis *redis, const char *prefix, bool settle, const rh_limit *wanted, size_t count,
                        int64_t tokens, rh_redis_done done, void *ctx, rh_redis_request **out) {
  assert(count <= RH_LIMITS_AT_ONCE);
  char names[RH_LIMITS_AT_ONCE][NAME_SIZE];
  char numbers[2 * RH_LIMITS_AT_ONCE + 1][NUMBER_SIZE];
  const char *keys[RH_LIMITS_AT_ONCE];
  const char *args[2 * RH_LIMITS_AT_ONCE + 2] = {settle ? "settle" : "take", numbers[0]};
  (void)snprintf(numbers[0], NUMBER_SIZE, "%" PRId64, tokens);
  for (size_t i = 0; i < count; i++) {
    (void)snprintf(names[i], NAME_SIZE, "%slimit:%s", prefix, wanted[i].subject);
    keys[i] = names[i];
    for (int kind = 0; kind < RH_LIMIT_KINDS; kind++) {
      size_t place = 1 + 2 * i + (size_t)kind;
      (void)snprintf(numbers[place], NUMBER_SIZE, "%.0f", rh_limit_rate(&wanted[i], kind));
      args[1 + place] = numbers[place];
    }
  }
  return rh_redis_script(redis, rh_limits_lua, count, keys, 2 + 2 * count, args, done, ctx, out);
}

static bool read_level(const rh_redis_reply *item, double rate, double *out) {
  char text[NUMBER_SIZE * 2];
  if (item->kind != RH_REDIS_BYTES || item->length == 0 || item->length >= sizeof text) return false;
  memcpy(text, item->bytes, item->length);
  text[item->length] = '\0';
  char *end;
  *out = strtod(text, &end);
  return *end == '\0' && isfinite(*out) && *out <= rate;
}

bool rh_limits_read_answer(const rh_redis_reply *reply, const rh_limit *wanted, size_t count, bool *allowed,
                           rh_levels *levels) {
  if (reply == NULL || reply->kind != RH_REDIS_LIST || reply->count != 1 + 2 * count) return false;
  if (reply->items[0].kind != RH_REDIS_INTEGER) return false;
  *allowed = reply->items[0].integer == 1;
  for (size_t i = 0; i < count; i++) {
    for (int kind = 0; kind < RH_LIMIT_KINDS; kind++) {
      const rh_redis_reply *item = &reply->items[1 + 2 * i + (size_t)kind];
      if (!read_level(item, rh_limit_rate(&wanted[i], kind), &levels[i].of[kind])) return false;
    }
  }
  return true;
}
