// SPDX-License-Identifier: Apache-2.0
//
// What a GGUF model's header says, once: a daemon asks about the same files after every change on disk, and the header of
// a large vocabulary takes milliseconds to read. Owns a small table of answers, found by the file's identity, size and
// time, under a lock; any thread. A model in parts has its tensors in all of them, so all are asked how many they have.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "model/gguf.h"

#define REMEMBERED 256
#define PATH_SIZE 4200
#define SETTLED_NS 100000000

typedef struct answer {
  dev_t device;
  ino_t inode;
  off_t bytes;
  struct timespec changed;
  rh_gguf_summary summary;
} answer;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static answer answers[REMEMBERED];
static size_t answer_count, answer_next;

bool rh_gguf_split_parse(const char *path, rh_gguf_split *out) {
  static const char pattern[] = "-00001-of-00003.gguf";
  size_t length = strlen(path), tail = sizeof pattern - 1;
  if (length <= tail) return false;
  const char *at = path + length - tail;
  for (size_t i = 0; i < tail; i++) {
    bool digit = pattern[i] >= '0' && pattern[i] <= '9';
    bool same = digit ? at[i] >= '0' && at[i] <= '9' : strncasecmp(&at[i], &pattern[i], 1) == 0;
    if (!same) return false;
  }
  out->stem = length - tail;
  out->number = (unsigned)strtoul(at + 1, NULL, 10);
  out->count = (unsigned)strtoul(at + 10, NULL, 10);
  return out->number >= 1 && out->number <= out->count && out->count <= RH_GGUF_PARTS_MAX;
}

static bool is_of(const answer *known, const struct stat *info) {
  return known->inode == info->st_ino && known->device == info->st_dev && known->bytes == info->st_size &&
         known->changed.tv_sec == info->st_ctim.tv_sec && known->changed.tv_nsec == info->st_ctim.tv_nsec;
}

static bool recall(const struct stat *info, rh_gguf_summary *out) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; !found && i < answer_count; i++) {
    found = is_of(&answers[i], info);
    if (found) *out = answers[i].summary;
  }
  pthread_mutex_unlock(&lock);
  return found;
}

static answer answer_of(const struct stat *info, const rh_gguf_summary *summary) {
  return (answer){.device = info->st_dev,
                  .inode = info->st_ino,
                  .bytes = info->st_size,
                  .changed = info->st_ctim,
                  .summary = *summary};
}

static void remember(const answer *read) {
  pthread_mutex_lock(&lock);
  answers[answer_next] = *read;
  answer_next = (answer_next + 1) % REMEMBERED;
  if (answer_count < REMEMBERED) answer_count++;
  pthread_mutex_unlock(&lock);
}

// Two changes within one tick of the file system's clock cannot be told apart.
static bool is_settled(const struct stat *info) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  int64_t age_ns = (int64_t)(now.tv_sec - info->st_ctim.tv_sec) * 1000000000 + (now.tv_nsec - info->st_ctim.tv_nsec);
  return age_ns > SETTLED_NS;
}

static rh_status read_one(const char *path, rh_gguf_summary *out, rh_error *error) {
  struct stat before, after;
  bool settled = stat(path, &before) == 0 && S_ISREG(before.st_mode) && is_settled(&before);
  if (settled && recall(&before, out)) return RH_OK;
  rh_status status = rh_gguf_read(path, out, NULL, error);
  if (status != RH_OK || !settled || stat(path, &after) != 0) return status;
  answer read = answer_of(&before, out);
  if (is_of(&read, &after)) remember(&read);
  return RH_OK;
}

rh_status rh_gguf_read_summary(const char *path, rh_gguf_summary *out, rh_error *error) {
  rh_gguf_split split;
  rh_status status = read_one(path, out, error);
  if (status != RH_OK || !rh_gguf_split_parse(path, &split) || split.number != 1) return status;
  for (unsigned number = 2; number <= split.count; number++) {
    char part[PATH_SIZE];
    rh_gguf_summary more;
    int length = snprintf(part, sizeof part, "%.*s-%05u-of-%05u.gguf", (int)split.stem, path, number, split.count);
    // A part that is missing is told by whoever wants to load the model.
    if (length < 0 || (size_t)length >= sizeof part || read_one(part, &more, NULL) != RH_OK) continue;
    out->tensor_count += more.tensor_count;
    out->parameters += more.parameters;
  }
  return RH_OK;
}
