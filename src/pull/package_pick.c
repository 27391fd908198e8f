// SPDX-License-Identifier: Apache-2.0
//
// Looks through an unpacked package for the model in it. Owns the list it gathers. Any thread that may block. Packages
// come from strangers: links are skipped, depth and number are bounded, and what a file is, its content tells.
#include "pull/package_pick.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "model/format.h"

#define DEPTH_MAX 12
#define FILES_MAX 4096

typedef struct walk {
  char *paths[FILES_MAX];  // regular files, relative to the package
  size_t count;
  bool too_many;
} walk;

void rh_picked_release(rh_picked *picked) {
  for (size_t i = 0; i < picked->count; i++) free(picked->paths[i]);
  free(picked->paths);
  *picked = (rh_picked){.paths = NULL};
}

static void walk_free(walk *all) {
  for (size_t i = 0; all != NULL && i < all->count; i++) free(all->paths[i]);
  free(all);
}

static bool is_noise(const char *name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "__pycache__") == 0 ||
         rh_text_ends_with(name, ".dist-info") || strcmp(name, "node_modules") == 0;
}

static void look_into(walk *all, int parent, const char *name, const char *prefix, int depth) {
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
  if (folder == NULL) {
    if (fd >= 0) close(fd);
    return;
  }
  const struct dirent *entry;
  while (!all->too_many && (entry = readdir(folder)) != NULL) {
    struct stat info;
    char path[RH_PULL_PATH_MAX];
    if (is_noise(entry->d_name) || fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    int written = snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] != '\0' ? "/" : "", entry->d_name);
    if (written < 0 || (size_t)written >= sizeof path) continue;
    if (S_ISDIR(info.st_mode) && depth < DEPTH_MAX) look_into(all, fd, entry->d_name, path, depth + 1);
    if (!S_ISREG(info.st_mode)) continue;
    all->too_many = all->count == FILES_MAX;
    char *copy = all->too_many ? NULL : strdup(path);
    if (copy != NULL) all->paths[all->count++] = copy;
  }
  closedir(folder);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static rh_status gather(const char *folder, walk **out, rh_error *error) {
  walk *all = calloc(1, sizeof *all);
  *out = all;
  if (all == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look through a package");
  look_into(all, AT_FDCWD, folder, "", 0);
  qsort(all->paths, all->count, sizeof *all->paths, by_text);
  if (!all->too_many) return RH_OK;
  return rh_fail(error, RH_TOO_LARGE, "the package holds more than %d files; name the one to take after #", FILES_MAX);
}

static rh_status take(rh_picked *out, const char *path, rh_error *error) {
  char **larger = realloc(out->paths, (out->count + 1) * sizeof *larger);
  if (larger == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the list of files");
  out->paths = larger;
  out->paths[out->count] = strdup(path);
  if (out->paths[out->count] == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the list of files");
  out->count++;
  return RH_OK;
}

// Code that comes beside a model in a package is no part of it.
static bool is_code(const char *path) {
  static const char *const endings[] = {".py", ".pyc", ".js", ".ts", ".mjs", ".cjs", ".so", ".map", "package.json"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    if (rh_text_ends_with(path, endings[i])) return true;
  }
  return false;
}

static bool is_below(const char *path, const char *folder) {
  size_t length = strlen(folder);
  return length == 0 || (strncmp(path, folder, length) == 0 && path[length] == '/');
}

// All files of a folder.
static rh_status take_folder(const walk *all, const char *folder, rh_picked *out, rh_error *error) {
  rh_status status = RH_OK;
  (void)rh_text_copy(out->base, sizeof out->base, folder);
  size_t skip = folder[0] != '\0' ? strlen(folder) + 1 : 0;
  for (size_t i = 0; i < all->count && status == RH_OK; i++) {
    if (is_below(all->paths[i], folder) && !is_code(all->paths[i])) status = take(out, all->paths[i] + skip, error);
  }
  return status;
}

static void split(const char *path, char *folder, size_t size, const char **name) {
  const char *slash = strrchr(path, '/');
  *name = slash != NULL ? slash + 1 : path;
  (void)snprintf(folder, size, "%.*s", slash != NULL ? (int)(slash - path) : 0, path);
}

// One file; of a model in parts, or with its weights beside it, the folder's other weights come along.
static rh_status take_file(const walk *all, const char *path, rh_picked *out, rh_error *error) {
  const char *name;
  split(path, out->base, sizeof out->base, &name);
  size_t skip = out->base[0] != '\0' ? strlen(out->base) + 1 : 0;
  long count = 0, at = 0;
  const char *mark = strstr(name, "-of-");
  bool parts =
      mark != NULL && mark - name >= 6 && sscanf(mark - 6, "-%5ld-of-%5ld.gguf", &at, &count) == 2 && count > 1;
  bool graph = rh_text_ends_with(name, ".onnx");
  rh_status status = RH_OK;
  for (size_t i = 0; i < all->count && status == RH_OK; i++) {
    const char *other = all->paths[i] + skip;
    if (!is_below(all->paths[i], out->base) || strchr(other, '/') != NULL) continue;
    bool wanted = strcmp(other, name) == 0;
    if (parts)
      wanted = wanted || (strncmp(other, name, (size_t)(mark - name) - 6) == 0 && rh_text_ends_with(other, ".gguf"));
    if (graph) wanted = wanted || strncmp(other, name, strlen(name)) == 0;  // "model.onnx_data", "model.onnx.data"
    if (wanted) status = take(out, other, error);
  }
  return status;
}

static bool holds(const walk *all, const char *path) {
  for (size_t i = 0; i < all->count; i++) {
    if (strcmp(all->paths[i], path) == 0) return true;
  }
  return false;
}

static bool is_folder(const walk *all, const char *path) {
  for (size_t i = 0; i < all->count; i++) {
    if (path[0] != '\0' && is_below(all->paths[i], path)) return true;
  }
  return false;
}

// The first names of a list, for messages.
static void join_names(char *const *names, size_t count, char *out, size_t size) {
  size_t at = 0;
  out[0] = '\0';
  for (size_t i = 0; i < count && at < size; i++) {
    if (i == 8) {
      (void)snprintf(out + at, size - at, ", and %zu more", count - i);
      return;
    }
    int written = snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "", names[i]);
    at += written > 0 ? (size_t)written : 0;
  }
}

// May a model begin with this file? Only a first sieve, so that not every text is opened; the content decides.
static bool may_begin(const char *path) {
  static const char *const endings[] = {".gguf", ".onnx", "config.json", ".engine", ".plan"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    if (rh_text_ends_with(path, endings[i])) return true;
  }
  return false;
}

// Adds the model that begins with `path`, if one does: its folder for those that are folders, else the file.
static rh_status consider(const char *folder, const char *path, rh_picked *found, rh_error *error) {
  char full[8192], own[RH_PULL_PATH_MAX];
  const char *name;
  rh_format_report report = {.format = RH_FORMAT_UNKNOWN};
  rh_error ignored = {0};
  split(path, own, sizeof own, &name);
  bool whole = rh_text_ends_with(name, "config.json");
  (void)snprintf(full, sizeof full, "%s/%s", folder, whole ? own : path);
  rh_status status = rh_format_detect(full, &report, &ignored);
  // A graph with config.json beside it, or above its folder "onnx", comes with that and with its tokenizer.
  bool of_folder = report.format == RH_FORMAT_SAFETENSORS || report.format == RH_FORMAT_ONNX_GENAI ||
                   (report.format == RH_FORMAT_ONNX && whole);
  if (status != RH_OK || of_folder != whole) return RH_OK;
  const char *what = whole ? own : path;
  for (size_t i = 0; i < found->count; i++) {
    // genai_config.json and config.json of one folder; later parts of a split file.
    if (strcmp(found->paths[i], what) == 0) return RH_OK;
  }
  if (report.format == RH_FORMAT_GGUF && strcmp(report.entry, name) != 0 && report.entry[0] != '\0') return RH_OK;
  return take(found, what, error);
}

// A graph that lies in a folder which is a model by itself is a part of that.
static void drop_inner(rh_picked *found) {
  for (size_t i = 0; i < found->count; i++) {
    for (size_t other = 0; other < found->count; other++) {
      if (i == other || !is_below(found->paths[i], found->paths[other])) continue;
      free(found->paths[i]);
      found->paths[i] = found->paths[--found->count];
      i--;
      break;
    }
  }
}

static rh_status pick_any(const char *folder, const walk *all, rh_picked *out, rh_error *error) {
  char names[400];
  rh_picked found = {.paths = NULL};
  rh_status status = RH_OK;
  for (size_t i = 0; i < all->count && status == RH_OK; i++) {
    if (may_begin(all->paths[i])) status = consider(folder, all->paths[i], &found, error);
  }
  drop_inner(&found);
  if (status == RH_OK && found.count == 0) {
    join_names(all->paths, all->count, names, sizeof names);
    status = rh_fail(error, RH_UNSUPPORTED, "the package holds no model that can be told from its files: %s", names);
  } else if (status == RH_OK && found.count > 1) {
    join_names(found.paths, found.count, names, sizeof names);
    status =
        rh_fail_param(error, RH_INVALID, "source", "the package holds several models; add #PATH, one of: %s", names);
  } else if (status == RH_OK) {
    bool file = holds(all, found.paths[0]);
    status = file ? take_file(all, found.paths[0], out, error) : take_folder(all, found.paths[0], out, error);
  }
  rh_picked_release(&found);
  return status;
}

rh_status rh_package_pick(const char *folder, const char *path, rh_picked *out, rh_error *error) {
  *out = (rh_picked){.paths = NULL};
  walk *all = NULL;
  rh_status status = gather(folder, &all, error);
  if (status == RH_OK) {
    if (path[0] == '\0') {
      status = pick_any(folder, all, out, error);
    } else if (holds(all, path)) {
      status = take_file(all, path, out, error);
    } else if (is_folder(all, path)) {
      status = take_folder(all, path, out, error);
    } else {
      char names[400];
      join_names(all->paths, all->count, names, sizeof names);
      status = rh_fail_param(error, RH_NOT_FOUND, "source", "the package has no %.120s; it holds: %s", path, names);
    }
  }
  walk_free(all);
  if (status != RH_OK) rh_picked_release(out);
  return status;
}
