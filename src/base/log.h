// SPDX-License-Identifier: Apache-2.0
//
// The log: one JSON object per line on standard error (or a file descriptor of the caller's choice), written whole, so
// that lines of several threads do not mix, in the order of the calls. Any thread may log. Prompts and secrets are never
// fields.
#ifndef RH_BASE_LOG_H
#define RH_BASE_LOG_H

#include <stdint.h>
#include <string.h>

#include "base/status.h"

typedef enum rh_log_level { RH_LOG_DEBUG, RH_LOG_INFO, RH_LOG_WARN, RH_LOG_ERROR, RH_LOG_OFF } rh_log_level;

typedef enum rh_log_format {
  RH_LOG_JSON,   // {"time":"...","level":"info","message":"...","model":"..."}
  RH_LOG_PLAIN,  // 08:49:56 info  worker ready  model=smollm2 pid=12
} rh_log_format;

typedef enum rh_log_field_type {
  RH_FIELD_END,
  RH_FIELD_STRING,
  RH_FIELD_INT,
  RH_FIELD_DOUBLE,
  RH_FIELD_BOOL,
} rh_log_field_type;

typedef struct rh_log_field {
  rh_log_field_type type;
  uint32_t key_length;
  const char *key;  // a word that needs no escape; it is written as it is
  union {
    const char *string;  // NULL is written as null
    int64_t integer;
    double number;
    bool boolean;
  } value;
} rh_log_field;

static inline rh_log_field rh_log_str(const char *key, const char *value) {
  return (rh_log_field){
      .type = RH_FIELD_STRING, .key_length = (uint32_t)strlen(key), .key = key, .value.string = value};
}
static inline rh_log_field rh_log_int(const char *key, int64_t value) {
  return (rh_log_field){.type = RH_FIELD_INT, .key_length = (uint32_t)strlen(key), .key = key, .value.integer = value};
}
static inline rh_log_field rh_log_num(const char *key, double value) {
  return (rh_log_field){
      .type = RH_FIELD_DOUBLE, .key_length = (uint32_t)strlen(key), .key = key, .value.number = value};
}
static inline rh_log_field rh_log_bool(const char *key, bool value) {
  return (rh_log_field){.type = RH_FIELD_BOOL, .key_length = (uint32_t)strlen(key), .key = key, .value.boolean = value};
}

void rh_log_setup(int fd, rh_log_level least, rh_log_format format);  // call once, before other threads start
rh_status rh_log_level_from_name(const char *name, rh_log_level *out);
bool rh_log_enabled(rh_log_level level);

// `fields` ends with an element of type RH_FIELD_END.
void rh_log_write(rh_log_level level, const char *message, const rh_log_field *fields);

// Between these two the calling thread's lines below RH_LOG_WARN may wait for one another, a few thousand bytes of them; then they
// are written together. A line of another thread or a graver one takes them along. Waiting lines are also written by exit(),
// fork() and what kills by itself (abort(), a crash). The event loop calls them around the work between two sleeps.
void rh_log_hold(void);
void rh_log_release(void);

// RH_LOG(RH_LOG_INFO, "worker ready", rh_log_str("model", name), rh_log_int("pid", pid));
#define RH_LOG(level, message, ...)                                                                           \
  do {                                                                                                        \
    if (rh_log_enabled(level))                                                                                \
      rh_log_write(level, message, (const rh_log_field[]){__VA_ARGS__, {.type = RH_FIELD_END, .key = NULL}}); \
  } while (0)

#endif
