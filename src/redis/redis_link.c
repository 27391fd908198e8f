// SPDX-License-Identifier: Apache-2.0
//
// The connection: connect, greet (AUTH, SELECT, PING), read, write, give up, try again. It is trusted with commands only
// after a PING that was answered as fast as commands have to be, so a server that accepts connections and answers nothing
// (stopped, overloaded) is found out here and not by requests. hiredis parses what comes; the socket is ours, because its
// asynchronous layer blocks on names and stops the process when a server says something nobody asked for.
//
// Owns the socket, the parser and the bytes to write. Thread: the event loop's. It knows nothing of callers.
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "redis/redis_private.h"

#define ATTEMPT_NS (3 * RH_NS_PER_S)  // to connect and greet; a stopped server that goes on answers within it
#define READ_BYTES ((size_t)16 * 1024)
#define READS_PER_TURN 64
#define OUT_KEPT_BYTES ((size_t)1024 * 1024)  // of the memory for commands, when it is empty
#define REPLY_BYTES_MAX ((size_t)64 * 1024 * 1024)

static void try_socket(rh_redis *redis);

// Going and coming, once each in the log.

static void tell_away(rh_redis *redis, const char *reason, bool refusal) {
  // A server that is away and then refuses the password is worth a second line: the operator has to act.
  if (redis->told_away && (!refusal || redis->told_refusal)) return;
  redis->told_away = true;
  redis->told_refusal = redis->told_refusal || refusal;
  RH_LOG(RH_LOG_WARN, "Redis is not used: this process decides by itself until it is back",
         rh_log_str("redis", redis->place.label), rh_log_str("reason", reason));
}

static void tell_back(rh_redis *redis) {
  redis->told_away = false;
  redis->told_refusal = false;
  RH_LOG(RH_LOG_INFO, "Redis is used", rh_log_str("redis", redis->place.label));
}

// A pause of half to the whole of the present one, so that daemons do not come back all at once; then it doubles.
static uint64_t next_pause(rh_redis *redis) {
  uint32_t random = 0;
  if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random) random = UINT32_MAX / 2;
  uint64_t half = redis->backoff_ns / 2;
  uint64_t pause = half + (uint64_t)((double)half * (double)random / (double)UINT32_MAX);
  redis->backoff_ns = redis->backoff_ns > redis->backoff_max_ns / 2 ? redis->backoff_max_ns : redis->backoff_ns * 2;
  return pause;
}

void rh_redis_link_close(rh_redis *redis) {
  rh_redis_lookup_leave(redis->lookup);
  redis->lookup = NULL;
  rh_loop_unwatch(redis->loop, &redis->watch);
  if (redis->watch.fd >= 0) (void)close(redis->watch.fd);
  redis->watch.fd = -1;
  if (redis->reader != NULL) redisReaderFree(redis->reader);
  redis->reader = NULL;
  rh_dynbuf_free(&redis->out);  // may have been large
  rh_loop_undefer(redis->loop, &redis->flush);
  rh_loop_timer_cancel(redis->loop, &redis->expiry);
  rh_loop_timer_cancel(redis->loop, &redis->retry);
  for (size_t i = 0; i < redis->script_count; i++) redis->scripts[i].sent = false;
  redis->timeouts_in_row = 0;
  redis->state = RH_REDIS_DOWN;
}

static void give_up(rh_redis *redis, const char *reason, bool refusal) {
  // The pause starts small again only after a while of good service: a server that comes and goes is tried seldom.
  bool was_up = redis->state == RH_REDIS_UP;
  if (was_up && rh_clock_now_ns() - redis->up_ns > redis->backoff_max_ns) redis->backoff_ns = redis->backoff_min_ns;
  rh_redis_link_close(redis);
  tell_away(redis, reason, refusal);
  rh_loop_timer_set(redis->loop, &redis->retry, next_pause(redis));
  rh_redis_fail_all(redis);
}

void rh_redis_link_fail(rh_redis *redis, const char *format, ...) {
  char reason[256];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  give_up(redis, reason, false);
}

// Writing.

static void watch_for(rh_redis *redis, uint32_t events) {
  if (redis->watched == events && redis->watch.active) return;
  redis->watched = events;
  rh_status status = redis->watch.active ? rh_loop_modify(redis->loop, &redis->watch, events)
                                         : rh_loop_watch(redis->loop, &redis->watch, events);
  if (status != RH_OK) rh_redis_link_fail(redis, "the kernel cannot watch its socket");
}

void rh_redis_link_flush(void *ctx) {
  rh_redis *redis = ctx;
  if (redis->state < RH_REDIS_GREETING) return;
  rh_redis_enter(redis);
  redis->flushed_ns = rh_clock_now_ns();
  bool full = false;
  while (redis->out.length > 0 && !full) {
    ssize_t sent = send(redis->watch.fd, rh_dynbuf_data(&redis->out), redis->out.length, MSG_NOSIGNAL);
    if (sent > 0) {
      rh_dynbuf_consume(&redis->out, (size_t)sent);
    } else if (sent < 0 && errno == EINTR) {
      continue;
    } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      full = true;
    } else {
      break;
    }
  }
  if (redis->out.length > 0 && !full)
    rh_redis_link_fail(redis, "writing to it failed: %s", strerror(errno));
  else
    watch_for(redis, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
  if (redis->out.length == 0 && redis->out.capacity > OUT_KEPT_BYTES) rh_dynbuf_free(&redis->out);
  rh_redis_leave(redis);
}

// Greeting.

static void ping(rh_redis *redis) {
  const char *words[] = {"PING"};
  if (rh_redis_ask_server(redis, RH_REDIS_ASK_PING, 1, words) == NULL)
    rh_redis_link_fail(redis, "there is no memory to talk to it");
}

static void greet(rh_redis *redis) {
  redis->reader = redisReaderCreate();
  redis->state = RH_REDIS_GREETING;
  rh_loop_timer_set(redis->loop, &redis->retry, ATTEMPT_NS);
  bool fine = redis->reader != NULL;
  const rh_redis_place *place = &redis->place;
  if (fine && place->password != NULL) {
    const char *words[3] = {"AUTH"};
    size_t count = 1;
    if (place->user != NULL) words[count++] = place->user;
    words[count++] = place->password;
    fine = rh_redis_ask_server(redis, RH_REDIS_ASK_AUTH, count, words) != NULL;
  }
  if (fine && place->database > 0) {
    char number[16];
    (void)snprintf(number, sizeof number, "%u", place->database);
    const char *words[] = {"SELECT", number};
    fine = rh_redis_ask_server(redis, RH_REDIS_ASK_SELECT, 2, words) != NULL;
  }
  if (!fine) {
    rh_redis_link_fail(redis, "there is no memory to talk to it");
    return;
  }
  ping(redis);
}

// What the server said to AUTH is told only where it is a text of its own: some servers repeat what they do not
// understand, and that would be the password.
static bool is_harmless(const char *text) {
  static const char *const known[] = {"WRONGPASS ",
                                      "NOAUTH ",
                                      "LOADING ",
                                      "DENIED ",
                                      "ERR max number of clients",
                                      "ERR Client sent AUTH, but no password",
                                      "ERR AUTH <password> called without any"};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (rh_text_starts_with(text, known[i])) return true;
  }
  return false;
}

void rh_redis_link_greeted(rh_redis *redis, rh_redis_ask ask, uint64_t took_ns, const redisReply *reply) {
  bool error = reply->type == REDIS_REPLY_ERROR;
  // A user who may not PING has been answered all the same.
  if (ask == RH_REDIS_ASK_PING && error && rh_text_starts_with(reply->str, "NOPERM")) error = false;
  if (error) {
    char reason[256];
    bool shown = ask != RH_REDIS_ASK_AUTH || is_harmless(reply->str);
    (void)snprintf(reason, sizeof reason, "it refuses %s: %.160s",
                   ask == RH_REDIS_ASK_AUTH     ? "the user or password of the URL"
                   : ask == RH_REDIS_ASK_SELECT ? "the database of the URL"
                                                : "to serve",
                   shown ? reply->str : "an error that is not shown, because it may repeat the password");
    give_up(redis, reason, !rh_text_starts_with(reply->str, "LOADING"));
    return;
  }
  if (ask != RH_REDIS_ASK_PING) return;
  if (took_ns > redis->timeout_ns) {
    redis->state = RH_REDIS_SLOW;
    char reason[96];
    (void)snprintf(reason, sizeof reason, "it answered PING after %.1f ms, and %.1f ms are allowed",
                   rh_ns_to_ms(took_ns), rh_ns_to_ms(redis->timeout_ns));
    tell_away(redis, reason, false);
    rh_loop_timer_set(redis->loop, &redis->retry, next_pause(redis));
    return;
  }
  rh_loop_timer_cancel(redis->loop, &redis->retry);
  redis->state = RH_REDIS_UP;
  redis->counts.reconnects += redis->up_ns != 0;
  redis->up_ns = rh_clock_now_ns();
  tell_back(redis);
}

// Connecting.

static void connected(rh_redis *redis) {
  watch_for(redis, EPOLLIN);
  if (redis->watch.active) greet(redis);
}

static void next_or_fail(rh_redis *redis, const char *what, int reason) {
  if (++redis->next_socket < redis->place.socket_count) {
    rh_loop_unwatch(redis->loop, &redis->watch);
    if (redis->watch.fd >= 0) (void)close(redis->watch.fd);
    redis->watch.fd = -1;
    try_socket(redis);
    return;
  }
  rh_redis_link_fail(redis, "%s: %s", what, strerror(reason));
}

static void try_socket(rh_redis *redis) {
  const rh_redis_socket *to = &redis->place.sockets[redis->next_socket];
  redis->state = RH_REDIS_CONNECTING;
  rh_loop_timer_set(redis->loop, &redis->retry, ATTEMPT_NS);
  int fd = socket(to->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  redis->watch.fd = fd;
  if (fd < 0) {
    next_or_fail(redis, "no socket", errno);
    return;
  }
  int one = 1;
  if (to->address.ss_family != AF_UNIX) (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  int result = connect(fd, (const struct sockaddr *)&to->address, to->length);
  if (result == 0)
    connected(redis);
  else if (errno == EINPROGRESS)
    watch_for(redis, EPOLLOUT);
  else
    next_or_fail(redis, "connecting failed", errno);
}

static void on_found(void *ctx, int resolved, const struct addrinfo *found) {
  rh_redis *redis = ctx;
  rh_redis_enter(redis);
  if (resolved == 0) rh_redis_place_take(&redis->place, found);
  rh_redis_lookup_leave(redis->lookup);
  redis->lookup = NULL;
  redis->next_socket = 0;
  if (resolved != 0)
    rh_redis_link_fail(redis, "its name cannot be resolved: %s", gai_strerror(resolved));
  else
    try_socket(redis);
  rh_redis_leave(redis);
}

void rh_redis_link_start(rh_redis *redis) {
  redis->next_socket = 0;
  if (redis->place.fixed) {
    try_socket(redis);
    return;
  }
  // No limit: name servers' own ends it, and a second lookup beside a stuck one would only be one more thread.
  redis->state = RH_REDIS_RESOLVING;
  redis->lookup = rh_redis_lookup_start(redis->loop, redis->place.host, redis->place.port, on_found, redis);
  if (redis->lookup == NULL) rh_redis_link_fail(redis, "no thread to resolve its name");
}

void rh_redis_link_retry(void *ctx) {
  rh_redis *redis = ctx;
  rh_redis_enter(redis);
  switch (redis->state) {
    case RH_REDIS_DOWN: rh_redis_link_start(redis); break;
    case RH_REDIS_CONNECTING: next_or_fail(redis, "connecting failed", ETIMEDOUT); break;
    case RH_REDIS_GREETING: rh_redis_link_fail(redis, "it accepted the connection and does not answer"); break;
    case RH_REDIS_SLOW:
      redis->state = RH_REDIS_GREETING;
      rh_loop_timer_set(redis->loop, &redis->retry, ATTEMPT_NS);
      ping(redis);
      break;
    case RH_REDIS_RESOLVING:
    case RH_REDIS_UP: break;
  }
  rh_redis_leave(redis);
}

// Reading.

// What the parser has is handed out; false: the connection is gone.
static bool hand_out(rh_redis *redis) {
  for (;;) {
    void *reply = NULL;
    if (redisReaderGetReply(redis->reader, &reply) != REDIS_OK) {
      rh_redis_link_fail(redis, "it does not speak Redis' protocol (%s)", redis->reader->errstr);
      return false;
    }
    if (reply == NULL) break;
    rh_redis_answered(redis, reply);
    freeReplyObject(reply);
    if (redis->dead || redis->watch.fd < 0) return false;
  }
  if (redis->reader->len <= REPLY_BYTES_MAX) return true;
  rh_redis_link_fail(redis, "an answer is larger than %zu MiB", REPLY_BYTES_MAX / 1024 / 1024);
  return false;
}

void rh_redis_link_read(rh_redis *redis) {
  char bytes[READ_BYTES];
  for (int i = 0; i < READS_PER_TURN && redis->state >= RH_REDIS_GREETING; i++) {
    ssize_t got = recv(redis->watch.fd, bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      rh_redis_link_fail(redis, "%s", got == 0 ? "it closed the connection" : strerror(errno));
      return;
    }
    if (redisReaderFeed(redis->reader, bytes, (size_t)got) != REDIS_OK) {
      rh_redis_link_fail(redis, "there is no memory for its answers");
      return;
    }
    if (!hand_out(redis) || (size_t)got < sizeof bytes) return;
  }
}

static void finish_connect(rh_redis *redis) {
  int reason = 0;
  socklen_t length = sizeof reason;
  if (getsockopt(redis->watch.fd, SOL_SOCKET, SO_ERROR, &reason, &length) != 0) reason = errno;
  if (reason != 0)
    next_or_fail(redis, "connecting failed", reason);
  else
    connected(redis);
}

void rh_redis_link_event(void *ctx, uint32_t events) {
  rh_redis *redis = ctx;
  rh_redis_enter(redis);
  if (redis->state == RH_REDIS_CONNECTING) {
    finish_connect(redis);
  } else {
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) rh_redis_link_read(redis);
    if (!redis->dead && redis->watch.fd >= 0 && (events & EPOLLOUT)) rh_redis_link_flush(redis);
  }
  rh_redis_leave(redis);
}
