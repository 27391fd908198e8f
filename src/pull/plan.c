// SPDX-License-Identifier: Apache-2.0
//
// Plans: the list of files a source promises. A path comes from strangers (a hub's listing, a bucket's keys), so it is
// checked here, once, before anything is made of it. Pure but for memory; any thread, one owner at a time.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "pull/internal.h"

static bool part_is_safe(const char *part, size_t length) {
  if (length == 0 || length > 255) return false;
  if (length == 1 && part[0] == '.') return false;
  if (length == 2 && part[0] == '.' && part[1] == '.') return false;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)part[i];
    if (c < 0x20 || c == 0x7f || c == '\\') return false;
  }
  return true;
}

bool rh_pull_path_is_safe(const char *path) {
  size_t length = strlen(path);
  if (length == 0 || length >= RH_PULL_PATH_MAX) return false;
  // Names that mean something in a model's folder.
  if (strcmp(path, "manifest.json") == 0) return false;
  size_t work = strlen(RH_PULL_WORK);
  if (strncmp(path, RH_PULL_WORK, work) == 0 && (path[work] == '/' || path[work] == '\0')) return false;
  for (const char *part = path;; part++) {
    const char *end = strchrnul(part, '/');
    if (!part_is_safe(part, (size_t)(end - part))) return false;
    if (*end == '\0') return true;
    part = end;
  }
}

static void release_file(rh_pull_file *file) {
  free(file->path);
  free(file->url);
  free(file->local);
  *file = (rh_pull_file){0};
}

static rh_status check_path(const rh_plan *plan, const char *path, rh_error *error) {
  if (!rh_pull_path_is_safe(path))
    return rh_fail_param(error, RH_INVALID, "source",
                         "the source names a file \"%.80s\" that may not be stored: it is empty, absolute, too long, "
                         "reserved or leaves its folder",
                         path);
  for (size_t i = 0; i < plan->count; i++) {
    if (strcmp(plan->files[i].path, path) == 0)
      return rh_fail_param(error, RH_INVALID, "source", "the source names the file \"%.80s\" twice", path);
  }
  if (plan->count >= RH_PULL_FILES_MAX)
    return rh_fail_param(error, RH_TOO_LARGE, "source",
                         "the source has more than %d files: name the one that is meant, or a folder of it",
                         RH_PULL_FILES_MAX);
  return RH_OK;
}

rh_status rh_plan_add_file(rh_plan *plan, const char *path, const char *url, const char *local, int64_t bytes,
                           const char *sha256, rh_error *error) {
  assert(plan != NULL && path != NULL && bytes >= -1);
  rh_status status = check_path(plan, path, error);
  if (status != RH_OK) return status;
  rh_pull_file *files = realloc(plan->files, (plan->count + 1) * sizeof *files);
  if (files == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a list of files");
  plan->files = files;
  rh_pull_file *file = &files[plan->count];
  *file = (rh_pull_file){.bytes = bytes};
  file->path = strdup(path);
  if (url != NULL) file->url = strdup(url);
  if (local != NULL) file->local = strdup(local);
  if (sha256 != NULL) (void)rh_text_copy(file->sha256, sizeof file->sha256, sha256);
  if (file->path == NULL || (url != NULL && file->url == NULL) || (local != NULL && file->local == NULL)) {
    release_file(file);
    return rh_fail(error, RH_NO_MEMORY, "no memory for a list of files");
  }
  plan->count++;
  return RH_OK;
}

void rh_plan_clear_files(rh_plan *plan) {
  for (size_t i = 0; i < plan->count; i++) release_file(&plan->files[i]);
  free(plan->files);
  plan->files = NULL;
  plan->count = 0;
}

static void wipe(char **secret) {
  if (*secret == NULL) return;
  explicit_bzero(*secret, strlen(*secret));
  free(*secret);
  *secret = NULL;
}

void rh_plan_release(rh_plan *plan) {
  rh_plan_clear_files(plan);
  wipe(&plan->auth.bearer);
  wipe(&plan->auth.aws_key);
  wipe(&plan->auth.aws_token);
  *plan = (rh_plan){0};
}

int64_t rh_plan_bytes(const rh_plan *plan, bool *unknown) {
  int64_t sum = 0;
  if (unknown != NULL) *unknown = false;
  for (size_t i = 0; i < plan->count; i++) {
    int64_t bytes = plan->files[i].bytes;
    if (bytes < 0 && unknown != NULL) *unknown = true;
    if (bytes > 0 && sum <= INT64_MAX - bytes) sum += bytes;
  }
  return sum;
}
