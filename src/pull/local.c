// SPDX-License-Identifier: Apache-2.0
//
// file: a file or a folder of this machine. It is copied (a reflink where the file system can), never linked: the user's
// file may be changed later, the store's must not. The pull's thread.
#include <assert.h>
#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "pull/internal.h"
#include "pull/source.h"

static rh_status add(rh_pulling *pull, const char *relative, const char *absolute, const struct stat *info,
                     rh_error *error) {
  const char *sha256 = pull->source.sha256;
  rh_status status = rh_plan_add_file(&pull->plan, relative, NULL, absolute, (int64_t)info->st_size, sha256, error);
  if (status != RH_OK) return status;
  rh_pull_file *file = &pull->plan.files[pull->plan.count - 1];
  (void)snprintf(file->validator, sizeof file->validator, "id:file:%ju:%jd:%jd.%09ld", (uintmax_t)info->st_ino,
                 (intmax_t)info->st_size, (intmax_t)info->st_mtim.tv_sec, info->st_mtim.tv_nsec);
  if (pull->plan.quantization[0] == '\0') (void)rh_quantization_of(relative, pull->plan.quantization);
  return RH_OK;
}

static bool is_hidden(const char *name) { return name[0] == '.'; }

static rh_status add_entry(rh_pulling *pull, FTS *tree, FTSENT *entry, size_t skip, rh_error *error) {
  switch (entry->fts_info) {
    case FTS_D:
      if (entry->fts_level > 0 && is_hidden(entry->fts_name)) (void)fts_set(tree, entry, FTS_SKIP);
      if (entry->fts_level > 8)
        return rh_fail(error, RH_TOO_LARGE, "%s is nested too deeply for a model", entry->fts_path);
      return RH_OK;
    case FTS_F:
      if (is_hidden(entry->fts_name)) return RH_OK;
      return add(pull, entry->fts_path + skip, entry->fts_path, entry->fts_statp, error);
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS: return rh_fail(error, RH_IO, "cannot read %s: %s", entry->fts_path, strerror(entry->fts_errno));
    default: return RH_OK;  // sockets, pipes and links that lead nowhere
  }
}

static rh_status add_folder(rh_pulling *pull, char *folder, rh_error *error) {
  char *const roots[] = {folder, NULL};
  // FTS_LOGICAL: folders of a Hugging Face cache are made of links.
  FTS *tree = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
  if (tree == NULL) return rh_fail(error, RH_IO, "cannot read %s: %s", folder, strerror(errno));
  rh_status status = RH_OK;
  FTSENT *entry;
  while (status == RH_OK && (entry = fts_read(tree)) != NULL)
    status = add_entry(pull, tree, entry, strlen(folder) + 1, error);
  (void)fts_close(tree);
  if (status == RH_OK && pull->plan.count == 0) return rh_fail(error, RH_NOT_FOUND, "there are no files in %s", folder);
  return status;
}

// The first of a split GGUF stands for all of them.
static rh_status add_parts(rh_pulling *pull, const char *path, const struct stat *info, rh_error *error) {
  size_t stem;
  long number, count;
  const char *base = strrchr(path, '/') + 1;
  if (!rh_part_of(path, &stem, &number, &count)) return add(pull, base, path, info, error);
  rh_status status = RH_OK;
  for (long i = 1; status == RH_OK && i <= count; i++) {
    char part[4200];
    struct stat part_info;
    (void)snprintf(part, sizeof part, "%.*s-%05ld-of-%05ld.gguf", (int)stem, path, i, count);
    if (stat(part, &part_info) != 0)
      return rh_fail(error, RH_NOT_FOUND, "%s: part %ld of %ld is missing", part, i, count);
    status = add(pull, strrchr(part, '/') + 1, part, &part_info, error);
  }
  return status;
}

static rh_status resolve(rh_pulling *pull, rh_error *error) {
  struct stat info;
  char *path = realpath(pull->source.location, NULL);
  if (path == NULL || stat(path, &info) != 0) {
    int number = errno;
    free(path);
    return rh_fail_param(error, number == ENOENT ? RH_NOT_FOUND : RH_IO, "source", "cannot read %s: %s",
                         pull->source.location, strerror(number));
  }
  rh_status status;
  if (S_ISDIR(info.st_mode))
    status = add_folder(pull, path, error);
  else if (S_ISREG(info.st_mode))
    status = add_parts(pull, path, &info, error);
  else
    status = rh_fail_param(error, RH_INVALID, "source", "%s is neither a file nor a folder", path);
  free(path);
  return status;
}

const rh_pull_backend rh_pull_local = {.kind = RH_SOURCE_FILE, .network = false, .resolve = resolve};
