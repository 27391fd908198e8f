// SPDX-License-Identifier: Apache-2.0
//
// The bytes of commands, and the scripts a client has used with their hashes. Commands are written straight into the
// client's buffer, whole or not at all. Owns the texts of the scripts. Thread: the event loop's. It waits for nothing.
#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis/redis_private.h"

// The bytes of a command: "*2\r\n$3\r\nGET\r\n$1\r\nx\r\n".

static size_t decimal_digits(size_t value) {
  size_t digits = 1;
  for (; value >= 10; value /= 10) digits++;
  return digits;
}

static size_t bulk_size(size_t length) { return 1 + decimal_digits(length) + 2 + length + 2; }

static char *put_count(char *at, char kind, size_t value) { return at + sprintf(at, "%c%zu\r\n", kind, value); }

static char *put_bulk(char *at, const char *bytes, size_t length) {
  at = put_count(at, '$', length);
  if (length > 0) memcpy(at, bytes, length);
  memcpy(at + length, "\r\n", 2);
  return at + length + 2;
}

// Room for `size` bytes; NULL: more would wait than is allowed. One more byte, because put_count ends with a NUL.
static char *reserve(rh_redis *redis, size_t size) { return rh_dynbuf_reserve(&redis->out, size + 1); }

static void written(rh_redis *redis, size_t size) {
  rh_dynbuf_grow(&redis->out, size);
  rh_loop_defer(redis->loop, &redis->flush);  // one write for all commands of a turn
}

rh_status rh_redis_write(rh_redis *redis, size_t count, const char *const *args, const size_t *lengths) {
  size_t size = 1 + decimal_digits(count) + 2;
  for (size_t i = 0; i < count; i++) {
    size_t length = lengths != NULL ? lengths[i] : strlen(args[i]);
    if (length > RH_REDIS_OUT_BYTES_MAX || size > RH_REDIS_OUT_BYTES_MAX) return RH_UNAVAILABLE;
    size += bulk_size(length);
  }
  char *begin = reserve(redis, size);
  if (begin == NULL) return RH_UNAVAILABLE;
  char *at = put_count(begin, '*', count);
  for (size_t i = 0; i < count; i++) at = put_bulk(at, args[i], lengths != NULL ? lengths[i] : strlen(args[i]));
  assert((size_t)(at - begin) == size);
  written(redis, size);
  return RH_OK;
}

bool rh_redis_write_script(rh_redis *redis, rh_redis_request *request, bool as_text) {
  size_t words = request->words;
  const char *verb = as_text ? "EVAL" : "EVALSHA";
  const char *what = as_text ? request->script->lua : request->script->sha;
  size_t length = as_text ? request->script->length : RH_REDIS_SHA_SIZE - 1;
  size_t size = 1 + decimal_digits(words) + 2 + bulk_size(strlen(verb)) + bulk_size(length) + request->tail_length;
  char *begin = reserve(redis, size);
  if (begin == NULL) return false;
  char *at = put_count(begin, '*', words);
  at = put_bulk(at, verb, strlen(verb));
  at = put_bulk(at, what, length);
  memcpy(at, request->tail, request->tail_length);
  written(redis, size);
  request->script->sent = true;
  return true;
}

// Scripts. The tail of a call, from the number of keys on, is the same with the hash and with the text.

size_t rh_redis_tail_size(size_t key_count, const char *const *keys, size_t arg_count, const char *const *args) {
  size_t size = bulk_size(decimal_digits(key_count));
  for (size_t i = 0; i < key_count; i++) size += bulk_size(strlen(keys[i]));
  for (size_t i = 0; i < arg_count; i++) size += bulk_size(strlen(args[i]));
  return size;
}

void rh_redis_tail_put(char *at, size_t key_count, const char *const *keys, size_t arg_count, const char *const *args) {
  char number[24];
  int digits = snprintf(number, sizeof number, "%zu", key_count);
  at = put_bulk(at, number, (size_t)digits);
  for (size_t i = 0; i < key_count; i++) at = put_bulk(at, keys[i], strlen(keys[i]));
  for (size_t i = 0; i < arg_count; i++) at = put_bulk(at, args[i], strlen(args[i]));
}

rh_redis_script_text *rh_redis_find_script(rh_redis *redis, const char *lua) {
  for (size_t i = 0; i < redis->script_count; i++) {
    if (strcmp(redis->scripts[i].lua, lua) == 0) return &redis->scripts[i];
  }
  if (redis->script_count == RH_REDIS_SCRIPTS_MAX) return NULL;
  rh_redis_script_text *script = &redis->scripts[redis->script_count];
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  *script = (rh_redis_script_text){.lua = strdup(lua), .length = strlen(lua)};
  if (script->lua == NULL || EVP_Digest(lua, script->length, digest, &length, EVP_sha1(), NULL) != 1 || length != 20) {
    free(script->lua);
    return NULL;
  }
  for (unsigned i = 0; i < length; i++) (void)sprintf(script->sha + (size_t)2 * i, "%02x", digest[i]);
  redis->script_count++;
  return script;
}
