// SPDX-License-Identifier: Apache-2.0
//
// Purpose: llama's log. Lines go to our own log, errors are remembered so that a failed load can say what llama said.
// Data owned: the line being put together and the last error lines; one of each per process, as llama's logger is.
// Threads: llama may log from any of its threads, so a mutex guards the two buffers.
// Not here: deciding what a line means. llama reports most failures only through this log.
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "engine/llama/internal.h"

#define LINE_BYTES 1024
#define REASON_LINES 3

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char line[LINE_BYTES];
static size_t line_length;
static enum ggml_log_level line_level;
static char reasons[REASON_LINES][LINE_BYTES];  // a ring; reason_count lines were written since _forget
static size_t reason_count;

static void flush_line(void) {
  line[line_length] = '\0';
  line_length = 0;
  if (line[0] == '\0') return;
  if (line_level == GGML_LOG_LEVEL_ERROR) {
    memcpy(reasons[reason_count % REASON_LINES], line, sizeof line);
    reason_count++;
  }
  // llama's own "info" tells developers about tensors and buffers; operators do not want it.
  rh_log_level level = line_level == GGML_LOG_LEVEL_ERROR  ? RH_LOG_ERROR
                       : line_level == GGML_LOG_LEVEL_WARN ? RH_LOG_WARN
                                                           : RH_LOG_DEBUG;
  RH_LOG(level, "llama", rh_log_str("text", line));
}

// llama writes lines in pieces; a piece of level CONT goes on with the line before it.
static void take(enum ggml_log_level level, const char *text, void *ctx) {
  (void)ctx;
  if (!text) return;
  pthread_mutex_lock(&mutex);
  if (level != GGML_LOG_LEVEL_CONT) {
    if (line_length > 0) flush_line();
    line_level = level;
  }
  for (; *text; text++) {
    if (*text == '\n') {
      flush_line();
    } else if (line_length + 1 < sizeof line && *text != '\r') {
      line[line_length++] = *text;
    }
  }
  pthread_mutex_unlock(&mutex);
}

void rh_llama_log_install(void) { llama_log_set(take, NULL); }

void rh_llama_log_forget(void) {
  pthread_mutex_lock(&mutex);
  reason_count = 0;
  pthread_mutex_unlock(&mutex);
}

void rh_llama_log_reason(char *out, size_t size, const char *otherwise) {
  pthread_mutex_lock(&mutex);
  if (line_length > 0) flush_line();
  size_t count = reason_count < REASON_LINES ? reason_count : REASON_LINES;
  size_t used = 0;
  if (count == 0) (void)snprintf(out, size, "%s", otherwise);
  for (size_t i = 0; i < count && used < size; i++) {
    const char *text = reasons[(reason_count - count + i) % REASON_LINES];
    int wrote = snprintf(out + used, size - used, "%s%s", i > 0 ? "; " : "", text);
    if (wrote > 0) used += (size_t)wrote;
  }
  pthread_mutex_unlock(&mutex);
}
