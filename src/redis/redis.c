// SPDX-License-Identifier: Apache-2.0
//
// Commands: the line of those that wait for an answer, time limits, what is told to whom. Answers come in the order of the
// commands, so one list is enough to know whose an answer is; a command whose time is over stays in it without a callback
// until its late answer has passed. `live` is the part of that list that somebody still waits for.
//
// Owns the requests and the client. Thread: the event loop's. It knows neither sockets (redis_link.c) nor bytes
// (redis_write.c).
#include "redis/redis.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "redis/redis_private.h"

#define TIMEOUT_DEFAULT_NS (5 * RH_NS_PER_MS)
#define BACKOFF_MIN_DEFAULT_NS (100 * RH_NS_PER_MS)
#define BACKOFF_MAX_DEFAULT_NS (5 * RH_NS_PER_S)
#define PENDING_DEFAULT 10000
#define TIMEOUTS_MAX 3          // in a row: then the connection is given up
#define SILENCE_NS RH_NS_PER_S  // an answer this late, though nobody waits for it: likewise
#define LEVELS_MAX 8            // of lists in an answer

void rh_redis_enter(rh_redis *redis) { redis->depth++; }

static void destroy(rh_redis *redis) {
  for (size_t i = 0; i < redis->script_count; i++) free(redis->scripts[i].lua);
  rh_redis_place_release(&redis->place);
  free(redis);
}

void rh_redis_leave(rh_redis *redis) {
  assert(redis->depth > 0);
  if (--redis->depth == 0 && redis->dead) destroy(redis);
}

// Requests.

static rh_redis_request *new_request(rh_redis *redis, rh_redis_ask ask, size_t tail_length) {
  rh_redis_request *request = calloc(1, sizeof *request + tail_length + 1);
  if (request == NULL) return NULL;
  request->redis = redis;
  request->ask = ask;
  request->tail_length = tail_length;
  return request;
}

void rh_redis_arm_expiry(rh_redis *redis) {
  if (redis->state != RH_REDIS_UP || redis->pending.count == 0) return;
  uint64_t due = rh_list_entry(rh_list_first(&redis->pending), rh_redis_request, pending)->sent_ns + SILENCE_NS;
  rh_list_node *first = rh_list_first(&redis->live);
  if (first != NULL) {
    uint64_t first_due = rh_list_entry(first, rh_redis_request, live)->due_ns;
    if (first_due < due) due = first_due;
  }
  // Set too early it only looks once more, so it is moved only when it would be late.
  if (redis->expiry.heap_slot != 0 && redis->expiry.due_ns <= due) return;
  uint64_t now = rh_clock_now_ns();
  rh_loop_timer_set(redis->loop, &redis->expiry, due > now ? due - now : 0);
}

static void enqueue(rh_redis *redis, rh_redis_request *request, rh_redis_done done, void *ctx) {
  request->sent_ns = rh_clock_now_ns();
  request->due_ns = request->sent_ns + redis->timeout_ns;
  request->done = done;
  request->ctx = ctx;
  rh_list_push_back(&redis->pending, &request->pending);
  if (done != NULL) rh_list_push_back(&redis->live, &request->live);
  redis->counts.commands += request->ask == RH_REDIS_ASK_CALLER;
  rh_redis_arm_expiry(redis);
}

static bool is_open(rh_redis *redis) {
  if (redis->state == RH_REDIS_UP && redis->pending.count < redis->pending_max && !redis->dead) return true;
  redis->counts.failed++;
  return false;
}

rh_status rh_redis_command(rh_redis *redis, size_t count, const char *const *args, const size_t *lengths,
                           rh_redis_done done, void *ctx, rh_redis_request **out) {
  assert(count > 0);
  if (out != NULL) *out = NULL;
  if (!is_open(redis)) return RH_UNAVAILABLE;
  rh_redis_request *request = new_request(redis, RH_REDIS_ASK_CALLER, 0);
  if (request == NULL || rh_redis_write(redis, count, args, lengths) != RH_OK) {
    free(request);
    redis->counts.failed++;
    return RH_UNAVAILABLE;
  }
  enqueue(redis, request, done, ctx);
  if (out != NULL) *out = request;
  return RH_OK;
}

rh_redis_request *rh_redis_ask_server(rh_redis *redis, rh_redis_ask ask, size_t count, const char *const *args) {
  rh_redis_request *request = new_request(redis, ask, 0);
  if (request == NULL || rh_redis_write(redis, count, args, NULL) != RH_OK) {
    free(request);
    return NULL;
  }
  enqueue(redis, request, NULL, NULL);
  return request;
}

// Scripts.

rh_status rh_redis_script(rh_redis *redis, const char *lua, size_t key_count, const char *const *keys, size_t arg_count,
                          const char *const *args, rh_redis_done done, void *ctx, rh_redis_request **out) {
  if (out != NULL) *out = NULL;
  if (!is_open(redis)) return RH_UNAVAILABLE;
  rh_redis_script_text *script = rh_redis_find_script(redis, lua);
  size_t tail = rh_redis_tail_size(key_count, keys, arg_count, args);
  rh_redis_request *request =
      script != NULL && tail <= RH_REDIS_OUT_BYTES_MAX ? new_request(redis, RH_REDIS_ASK_CALLER, tail) : NULL;
  if (request != NULL) {
    request->script = script;
    request->words = 3 + key_count + arg_count;
    rh_redis_tail_put(request->tail, key_count, keys, arg_count, args);
  }
  // The first use on a connection says the whole text, which the server keeps; what follows on it needs the hash alone.
  if (request == NULL || !rh_redis_write_script(redis, request, !script->sent)) {
    free(request);
    redis->counts.failed++;
    return RH_UNAVAILABLE;
  }
  enqueue(redis, request, done, ctx);
  if (out != NULL) *out = request;
  return RH_OK;
}

void rh_redis_forget(rh_redis_request *request) {
  if (request == NULL) return;
  request->done = NULL;
  if (rh_list_linked(&request->live)) rh_list_remove(&request->redis->live, &request->live);
  if (!rh_list_linked(&request->pending)) free(request);  // its connection is being given up
}

// Answers.

static void release_items(rh_redis_reply *reply) {
  for (size_t i = 0; i < reply->count; i++) release_items((rh_redis_reply *)&reply->items[i]);
  free((void *)reply->items);
}

static bool convert(const redisReply *from, int levels, rh_redis_reply *to) {
  *to = (rh_redis_reply){.kind = RH_REDIS_NIL};
  switch (from->type) {
    case REDIS_REPLY_NIL: return true;
    case REDIS_REPLY_INTEGER:
      to->kind = RH_REDIS_INTEGER;
      to->integer = from->integer;
      return true;
    case REDIS_REPLY_ARRAY: {
      if (levels == 0) return false;
      rh_redis_reply *items = calloc(from->elements + 1, sizeof *items);
      to->kind = RH_REDIS_LIST;
      to->items = items;
      if (items == NULL) return false;
      for (; to->count < from->elements; to->count++) {
        if (!convert(from->element[to->count], levels - 1, &items[to->count])) {
          to->count++;  // it may hold something
          return false;
        }
      }
      return true;
    }
    default:  // text: string, status and error
      to->kind = from->type == REDIS_REPLY_ERROR ? RH_REDIS_ERROR : RH_REDIS_BYTES;
      to->bytes = from->str;
      to->length = from->len;
      return from->str != NULL;
  }
}

static void tell(rh_redis *redis, rh_redis_request *request, const redisReply *from) {
  rh_redis_done done = request->done;
  void *ctx = request->ctx;
  free(request);
  if (done == NULL) return;
  rh_redis_reply reply;
  if (convert(from, LEVELS_MAX, &reply)) {
    done(ctx, RH_OK, &reply);
  } else {
    redis->counts.failed++;
    done(ctx, RH_UNAVAILABLE, NULL);
  }
  release_items(&reply);
}

// The server has forgotten the script (SCRIPT FLUSH): say it again with its text, unless nobody wants it any more.
static bool say_again(rh_redis *redis, rh_redis_request *request, const redisReply *reply) {
  if (request->script == NULL || request->said_again || reply->type != REDIS_REPLY_ERROR ||
      !rh_text_starts_with(reply->str, "NOSCRIPT"))
    return false;
  if (request->expired || !rh_redis_write_script(redis, request, true)) return false;
  request->said_again = true;
  request->sent_ns = rh_clock_now_ns();
  rh_list_push_back(&redis->pending, &request->pending);
  return true;
}

void rh_redis_answered(rh_redis *redis, const redisReply *reply) {
  rh_list_node *first = rh_list_first(&redis->pending);
  if (first == NULL) {
    rh_redis_link_fail(redis, "it said something nobody asked for");
    return;
  }
  rh_redis_request *request = rh_list_entry(first, rh_redis_request, pending);
  rh_list_remove(&redis->pending, &request->pending);
  if (request->ask != RH_REDIS_ASK_CALLER) {
    rh_redis_ask ask = request->ask;
    uint64_t took = rh_clock_now_ns() - request->sent_ns;
    free(request);
    rh_redis_link_greeted(redis, ask, took, reply);
    return;
  }
  if (say_again(redis, request, reply)) return;
  if (rh_list_linked(&request->live)) {
    rh_list_remove(&redis->live, &request->live);
    redis->timeouts_in_row = 0;  // only an answer in time is service
  }
  tell(redis, request, reply);
}

// Everything that waits ends without an answer. The state is no longer UP, so callbacks cannot add to it.
void rh_redis_fail_all(rh_redis *redis) {
  assert(redis->state != RH_REDIS_UP);
  while (redis->pending.count > 0) {
    rh_redis_request *request = rh_list_entry(rh_list_first(&redis->pending), rh_redis_request, pending);
    rh_list_remove(&redis->pending, &request->pending);
    redis->counts.failed += request->ask == RH_REDIS_ASK_CALLER && !request->expired;
    if (!rh_list_linked(&request->live)) free(request);
  }
  rh_redis_enter(redis);
  while (redis->live.count > 0) {
    rh_redis_request *request = rh_list_entry(rh_list_first(&redis->live), rh_redis_request, live);
    rh_list_remove(&redis->live, &request->live);
    rh_redis_done done = request->done;
    void *ctx = request->ctx;
    free(request);
    done(ctx, RH_UNAVAILABLE, NULL);
  }
  rh_redis_leave(redis);
}

// A turn that took long: commands that are not even written get their time from now on.
static void prolong(rh_redis *redis, rh_redis_request *first, uint64_t now) {
  for (rh_list_node *node = &first->live; node != NULL; node = rh_list_next(&redis->live, node))
    rh_list_entry(node, rh_redis_request, live)->due_ns = now + redis->timeout_ns;
}

static void expire(rh_redis *redis, uint64_t now) {
  while (redis->live.count > 0 && !redis->dead) {
    rh_redis_request *request = rh_list_entry(rh_list_first(&redis->live), rh_redis_request, live);
    if (request->due_ns > now) return;
    if (request->sent_ns > redis->flushed_ns) {
      prolong(redis, request, now);
      return;
    }
    rh_list_remove(&redis->live, &request->live);
    rh_redis_done done = request->done;
    request->done = NULL;
    request->expired = true;
    redis->timeouts_in_row++;
    redis->counts.timeouts++;
    redis->counts.failed++;
    done(request->ctx, RH_UNAVAILABLE, NULL);
  }
}

static void on_expiry(void *ctx) {
  rh_redis *redis = ctx;
  rh_redis_enter(redis);
  // A turn that took long is our fault and not the server's: answers that are here already count as in time.
  rh_redis_link_read(redis);
  uint64_t now = rh_clock_now_ns();
  if (!redis->dead && redis->state == RH_REDIS_UP) expire(redis, now);
  if (!redis->dead && redis->state == RH_REDIS_UP && redis->pending.count > 0) {
    uint64_t oldest = rh_list_entry(rh_list_first(&redis->pending), rh_redis_request, pending)->sent_ns;
    if (redis->timeouts_in_row >= TIMEOUTS_MAX)
      rh_redis_link_fail(redis, "%u commands in a row had no answer within %.1f ms", redis->timeouts_in_row,
                         rh_ns_to_ms(redis->timeout_ns));
    else if (now - oldest >= SILENCE_NS)
      rh_redis_link_fail(redis, "it has not answered for %.0f s", rh_ns_to_s(SILENCE_NS));
    else
      rh_redis_arm_expiry(redis);
  }
  rh_redis_leave(redis);
}

// The client.

rh_status rh_redis_new(rh_loop *loop, const rh_redis_options *options, rh_redis **out, rh_error *error) {
  *out = NULL;
  rh_redis *redis = calloc(1, sizeof *redis);
  if (redis == NULL) return rh_fail(error, RH_NO_MEMORY, "No memory for the Redis client.");
  rh_status status = rh_redis_place_parse(options->url, &redis->place, error);
  if (status != RH_OK) {
    free(redis);
    return status;
  }
  redis->loop = loop;
  redis->timeout_ns = options->timeout_ns > 0 ? options->timeout_ns : TIMEOUT_DEFAULT_NS;
  redis->backoff_min_ns = options->backoff_min_ns > 0 ? options->backoff_min_ns : BACKOFF_MIN_DEFAULT_NS;
  redis->backoff_max_ns = options->backoff_max_ns > 0 ? options->backoff_max_ns : BACKOFF_MAX_DEFAULT_NS;
  if (redis->backoff_max_ns < redis->backoff_min_ns) redis->backoff_max_ns = redis->backoff_min_ns;
  redis->backoff_ns = redis->backoff_min_ns;
  redis->pending_max = options->pending_max > 0 ? options->pending_max : PENDING_DEFAULT;
  redis->watch = (rh_watch){.fd = -1, .fn = rh_redis_link_event, .ctx = redis};
  redis->retry = (rh_timer){.fn = rh_redis_link_retry, .ctx = redis};
  redis->expiry = (rh_timer){.fn = on_expiry, .ctx = redis};
  redis->flush = (rh_deferred){.fn = rh_redis_link_flush, .ctx = redis};
  rh_dynbuf_init(&redis->out, RH_REDIS_OUT_BYTES_MAX);
  rh_list_init(&redis->pending);
  rh_list_init(&redis->live);
  rh_redis_enter(redis);
  rh_redis_link_start(redis);
  rh_redis_leave(redis);
  *out = redis;
  return RH_OK;
}

void rh_redis_free(rh_redis *redis) {
  if (redis == NULL) return;
  rh_redis_link_close(redis);
  while (redis->live.count > 0) rh_redis_forget(rh_list_entry(rh_list_first(&redis->live), rh_redis_request, live));
  while (redis->pending.count > 0) {
    rh_redis_request *request = rh_list_entry(rh_list_first(&redis->pending), rh_redis_request, pending);
    rh_list_remove(&redis->pending, &request->pending);
    free(request);
  }
  redis->dead = true;
  if (redis->depth == 0) destroy(redis);
}

bool rh_redis_connected(const rh_redis *redis) { return redis->state == RH_REDIS_UP; }
const char *rh_redis_label(const rh_redis *redis) { return redis->place.label; }
const rh_redis_counts *rh_redis_get_counts(const rh_redis *redis) { return &redis->counts; }
