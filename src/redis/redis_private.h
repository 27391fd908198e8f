// SPDX-License-Identifier: Apache-2.0
//
// What the files of the Redis client share; nobody else includes it.
#ifndef RH_REDIS_REDIS_PRIVATE_H
#define RH_REDIS_REDIS_PRIVATE_H

#include <netdb.h>
#include <sys/socket.h>

#include "base/dynbuf.h"
#include "base/list.h"
#include "redis/redis.h"

struct redisReader;
struct redisReply;

#define RH_REDIS_HOST_SIZE 256
#define RH_REDIS_ADDRESSES_MAX 8
#define RH_REDIS_SCRIPTS_MAX 16
#define RH_REDIS_SHA_SIZE 41
#define RH_REDIS_OUT_BYTES_MAX ((size_t)64 * 1024 * 1024)  // of commands that are not written yet

// redis_url.c

typedef struct rh_redis_socket {
  struct sockaddr_storage address;
  socklen_t length;
} rh_redis_socket;

typedef struct rh_redis_place {
  char *user, *password;  // NULL = none
  unsigned database;
  char host[RH_REDIS_HOST_SIZE];  // "" = a unix socket
  char port[8];
  char label[RH_REDIS_HOST_SIZE + 32];  // for people: without user and password
  bool fixed;                           // `sockets` holds for ever: a numeric address or a unix socket
  rh_redis_socket sockets[RH_REDIS_ADDRESSES_MAX];
  size_t socket_count;
} rh_redis_place;

rh_status rh_redis_place_parse(const char *url, rh_redis_place *place, rh_error *error) RH_MUST_CHECK;
void rh_redis_place_release(rh_redis_place *place);
void rh_redis_place_take(rh_redis_place *place, const struct addrinfo *found);  // replaces `sockets`

// redis_resolve.c: a name to addresses in a thread of its own, because nothing else bounds getaddrinfo.

typedef struct rh_redis_lookup rh_redis_lookup;
typedef void (*rh_redis_found)(void *ctx, int resolved, const struct addrinfo *found);  // resolved: getaddrinfo's code

rh_redis_lookup *rh_redis_lookup_start(rh_loop *loop, const char *host, const char *port, rh_redis_found found,
                                       void *ctx);
void rh_redis_lookup_leave(rh_redis_lookup *lookup);  // after it was found, or earlier: the thread ends by itself

// redis.c

typedef enum rh_redis_ask {
  RH_REDIS_ASK_CALLER,
  RH_REDIS_ASK_AUTH,
  RH_REDIS_ASK_SELECT,
  RH_REDIS_ASK_PING
} rh_redis_ask;

typedef struct rh_redis_script_text {
  char *lua;
  size_t length;
  char sha[RH_REDIS_SHA_SIZE];
  bool sent;  // on this connection: the server knows it
} rh_redis_script_text;

struct rh_redis_request {
  rh_redis *redis;
  rh_list_node pending;  // written and not answered, in the order of the connection
  rh_list_node live;     // of those: somebody waits for it, and its time is not over
  rh_redis_ask ask;
  rh_redis_done done;
  void *ctx;
  uint64_t sent_ns, due_ns;
  rh_redis_script_text *script;  // NULL: a plain command
  bool expired;                  // its time was over before the answer
  bool said_again;               // after NOSCRIPT
  size_t words;                  // of the script's command
  size_t tail_length;            // of a script: its call after the hash, to say it again with the text
  char tail[];
};

typedef enum rh_redis_state {
  RH_REDIS_DOWN,        // a pause until the next attempt
  RH_REDIS_RESOLVING,   // a thread looks the name up
  RH_REDIS_CONNECTING,  // the kernel connects
  RH_REDIS_GREETING,    // AUTH, SELECT and PING are on their way
  RH_REDIS_SLOW,        // connected, but PING took too long: it will be tried again
  RH_REDIS_UP
} rh_redis_state;

struct rh_redis {
  rh_loop *loop;
  rh_redis_place place;
  uint64_t timeout_ns, backoff_min_ns, backoff_max_ns, backoff_ns;
  size_t pending_max;

  rh_redis_state state;
  rh_watch watch;  // fd -1 = no socket
  uint32_t watched;
  rh_timer retry;   // the pause, or the limit of an attempt
  rh_timer expiry;  // the first request whose time is over
  rh_deferred flush;
  rh_redis_lookup *lookup;
  size_t next_socket;
  uint64_t up_ns, flushed_ns;
  rh_dynbuf out;
  struct redisReader *reader;

  rh_list pending, live;
  unsigned timeouts_in_row;
  rh_redis_script_text scripts[RH_REDIS_SCRIPTS_MAX];
  size_t script_count;

  unsigned depth;  // of our calls on the stack that may call callers
  bool dead;       // freed inside a callback
  bool told_away;  // the log has said that it is away
  bool told_refusal;
  rh_redis_counts counts;
};

void rh_redis_enter(rh_redis *redis);
void rh_redis_leave(rh_redis *redis);  // the client may be gone after it
rh_redis_request *rh_redis_ask_server(rh_redis *redis, rh_redis_ask ask, size_t count, const char *const *args);
void rh_redis_answered(rh_redis *redis, const struct redisReply *reply);  // the oldest pending one
void rh_redis_fail_all(rh_redis *redis);
void rh_redis_arm_expiry(rh_redis *redis);

// redis_write.c

rh_status rh_redis_write(rh_redis *redis, size_t count, const char *const *args, const size_t *lengths) RH_MUST_CHECK;
rh_redis_script_text *rh_redis_find_script(rh_redis *redis, const char *lua);  // NULL: no memory, or too many scripts
size_t rh_redis_tail_size(size_t key_count, const char *const *keys, size_t arg_count, const char *const *args);
// `at` has room for the size and one byte more.
void rh_redis_tail_put(char *at, size_t key_count, const char *const *keys, size_t arg_count, const char *const *args);
bool rh_redis_write_script(rh_redis *redis, rh_redis_request *request, bool as_text);  // false: no room

// redis_link.c

void rh_redis_link_start(rh_redis *redis);
void rh_redis_link_close(rh_redis *redis);
// The connection is given up, callers are told, and the next attempt is set.
void rh_redis_link_fail(rh_redis *redis, const char *format, ...) RH_PRINTF(2, 3);
void rh_redis_link_read(rh_redis *redis);
void rh_redis_link_greeted(rh_redis *redis, rh_redis_ask ask, uint64_t took_ns, const struct redisReply *reply);
void rh_redis_link_event(void *ctx, uint32_t events);
void rh_redis_link_retry(void *ctx);
void rh_redis_link_flush(void *ctx);

#endif
