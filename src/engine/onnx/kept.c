// SPDX-License-Identifier: Apache-2.0
//
// Purpose: optimized graphs on disk, so that the next load need not optimize again; and where verdicts on int8 variants lie.
// Data owned: files below the cache folder (ROUNDHOUSE_CACHE, else XDG_CACHE_HOME/roundhouse, else ~/.cache/roundhouse)/onnx.
// Threads: the engine thread; other processes do the same, and renaming is what keeps them apart.
// Not here: whether a kept graph works; session.c tries and deletes it when not.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/onnx/internal.h"

#define KEPT_MAX 16  // files; the oldest goes
#define VERDICTS_MAX 256
#define VERDICT_SUFFIX ".int8"
#define DIGEST_BYTES_MAX (INT64_C(64) << 20)
#define SUFFIX ".onnx"
#define DATA ".data"  // after the unfinished graph's name

static bool cache_folder(char *out, size_t size) {
  const char *own = getenv("ROUNDHOUSE_CACHE");
  const char *xdg = getenv("XDG_CACHE_HOME");
  const char *home = getenv("HOME");
  int length = own && own[0]            ? snprintf(out, size, "%s/onnx", own)
               : xdg && xdg[0] == '/'   ? snprintf(out, size, "%s/roundhouse/onnx", xdg)
               : home && home[0] == '/' ? snprintf(out, size, "%s/.cache/roundhouse/onnx", home)
                                        : -1;
  return length > 0 && (size_t)length < size;
}

// What the processor can do decides how weights are arranged, so it is part of the name.
static void add_processor(rh_sha256 *digest) {
  char line[4096];
  FILE *stream = fopen("/proc/cpuinfo", "re");
  bool found = false;
  while (stream && !found && fgets(line, sizeof line, stream)) {
    found = rh_text_starts_with(line, "flags") || rh_text_starts_with(line, "Features");
  }
  if (found) rh_sha256_update(digest, line, strlen(line));
  if (stream) fclose(stream);
}

// By content; but by size and time where reading it all would cost more than is won.
static bool add_graph(const char *path, rh_sha256 *digest) {
  char content[RH_SHA256_HEX], text[96];
  struct stat info;
  if (stat(path, &info) != 0) return false;
  if (info.st_size <= DIGEST_BYTES_MAX) {
    rh_error ignored = {0};
    if (rh_sha256_file(path, content, NULL, NULL, &ignored) != RH_OK) return false;
    rh_sha256_update(digest, content, strlen(content));
    return true;
  }
  int length = snprintf(text, sizeof text, "%lld %lld.%09ld\n", (long long)info.st_size, (long long)info.st_mtim.tv_sec,
                        info.st_mtim.tv_nsec);
  rh_sha256_update(digest, text, (size_t)length);
  rh_sha256_update(digest, path, strlen(path));
  return true;
}

// What lies beside it: its weights, its tokenizer.
static void add_neighbours(const char *graph, rh_sha256 *digest) {
  char folder[RH_ORT_PATH_MAX], path[RH_ORT_PATH_MAX + 300], text[512];
  (void)rh_text_copy(folder, sizeof folder, graph);
  char *slash = strrchr(folder, '/');
  if (!slash) return;
  *slash = '\0';
  const char *own = strrchr(graph, '/') + 1;
  struct dirent **entries = NULL;
  int count = scandir(folder, &entries, NULL, alphasort);
  for (int i = 0; i < count; i++) {
    struct stat info;
    (void)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
    bool other = entries[i]->d_name[0] != '.' && strcmp(entries[i]->d_name, own) != 0;
    if (other && stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
      int length = snprintf(text, sizeof text, "%s %lld %lld\n", entries[i]->d_name, (long long)info.st_size,
                            (long long)info.st_mtime);
      rh_sha256_update(digest, text, (size_t)length);
    }
    free(entries[i]);
  }
  if (count >= 0) free(entries);
}

// The tokenizer of a graph in a folder "onnx" lies above that.
static void add_folder_above(const char *graph, rh_sha256 *digest) {
  char folder[RH_ORT_PATH_MAX];
  (void)rh_text_copy(folder, sizeof folder, graph);
  char *slash = strrchr(folder, '/');
  if (slash) *slash = '\0';
  if (slash && rh_text_ends_with(folder, "/onnx")) add_neighbours(folder, digest);
}

bool rh_ort_kept_path(const rh_engine *engine, const char *provider, char *out, size_t size) {
  char folder[RH_ORT_PATH_MAX - 128], name[RH_SHA256_HEX], text[256];
  const rh_onnx_options *onnx = &engine->options.onnx;
  // Only what runs on the processor: other providers compile for their own devices.
  if (!onnx->keep_optimized || strcmp(provider, "cpu") != 0) return false;
  rh_error ignored = {0};
  if (!cache_folder(folder, sizeof folder) || rh_file_make_folders(folder, 0700, &ignored) != RH_OK) return false;
  rh_sha256 *digest = rh_sha256_new();
  if (!digest) return false;
  if (!add_graph(engine->path, digest)) {
    rh_sha256_free(digest);
    return false;
  }
  int length = snprintf(text, sizeof text, "3 %s %s %d\n", engine->library->version, provider, onnx->optimization);
  rh_sha256_update(digest, text, (size_t)length);
  add_processor(digest);
  add_neighbours(engine->path, digest);
  rh_sha256_finish(digest, name);
  length = snprintf(out, size, "%s/%s" SUFFIX, folder, name);
  return length > 0 && (size_t)length < size;
}

bool rh_ort_kept_verdict_path(const rh_ort_library *library, const rh_onnx_options *options, const char *graph,
                              const char *variant, char *out, size_t size) {
  char folder[RH_ORT_PATH_MAX - 128], name[RH_SHA256_HEX], text[256];
  rh_error ignored = {0};
  if (!cache_folder(folder, sizeof folder) || rh_file_make_folders(folder, 0700, &ignored) != RH_OK) return false;
  rh_sha256 *digest = rh_sha256_new();
  if (!digest) return false;
  if (!add_graph(graph, digest) || !add_graph(variant, digest)) {
    rh_sha256_free(digest);
    return false;
  }
  int length = snprintf(text, sizeof text, "int8 2 %s %d\n", library->version, options->optimization);
  rh_sha256_update(digest, text, (size_t)length);
  add_processor(digest);
  add_neighbours(graph, digest);
  add_neighbours(variant, digest);
  add_folder_above(graph, digest);
  rh_sha256_finish(digest, name);
  length = snprintf(out, size, "%s/%s" VERDICT_SUFFIX, folder, name);
  return length > 0 && (size_t)length < size;
}

// Weights go into a file of their own, arranged as the kernels want them: the next load maps it and copies nothing. The
// graph names that file, so it has its last name from the beginning: that of the unfinished graph.
OrtStatus *rh_ort_kept_write(const OrtApi *api, OrtSessionOptions *options, const char *unfinished) {
  char data[RH_ORT_PATH_MAX];
  const char *slash = strrchr(unfinished, '/');
  (void)snprintf(data, sizeof data, "%s" DATA, slash ? slash + 1 : unfinished);
  OrtStatus *status = api->SetOptimizedModelFilePath(options, unfinished);
  if (!status)
    status = api->AddSessionConfigEntry(options, "session.optimized_model_external_initializers_file_name", data);
  if (!status) {
    status =
        api->AddSessionConfigEntry(options, "session.optimized_model_external_initializers_min_size_in_bytes", "4096");
  }
  if (!status)
    status = api->AddSessionConfigEntry(options, "session.save_external_prepacked_constant_initializers", "1");
  return status;
}

// Every file whose name begins like that of the graph at `path`: itself, and weights. With `but` the graph stays, and so do
// those whose names begin like that.
static void remove_beginning(const char *path, const char *but) {
  char folder[RH_ORT_PATH_MAX], one[RH_ORT_PATH_MAX + 300];
  (void)rh_text_copy(folder, sizeof folder, path);
  char *slash = strrchr(folder, '/');
  if (!slash) return;
  *slash = '\0';
  DIR *entries = opendir(folder);
  for (struct dirent *entry = entries ? readdir(entries) : NULL; entry; entry = readdir(entries)) {
    if (!rh_text_starts_with(entry->d_name, slash + 1)) continue;
    if (but && (strcmp(entry->d_name, slash + 1) == 0 || rh_text_starts_with(entry->d_name, but))) continue;
    (void)snprintf(one, sizeof one, "%s/%s", folder, entry->d_name);
    (void)unlink(one);
  }
  if (entries) closedir(entries);
}

void rh_ort_kept_remove(const char *path) { remove_beginning(path, NULL); }

static int is_kept(const struct dirent *entry) { return rh_text_ends_with(entry->d_name, SUFFIX) ? 1 : 0; }

static int is_verdict(const struct dirent *entry) { return rh_text_ends_with(entry->d_name, VERDICT_SUFFIX) ? 1 : 0; }

// The oldest of more than `most`.
static void make_room(const char *path, int (*which)(const struct dirent *), int most) {
  char folder[RH_ORT_PATH_MAX], one[RH_ORT_PATH_MAX + 300], oldest[RH_ORT_PATH_MAX + 300] = "";
  (void)rh_text_copy(folder, sizeof folder, path);
  *strrchr(folder, '/') = '\0';
  struct dirent **entries = NULL;
  int count = scandir(folder, &entries, which, NULL);
  time_t least = 0;
  for (int i = 0; i < count; i++) {
    struct stat info;
    (void)snprintf(one, sizeof one, "%s/%s", folder, entries[i]->d_name);
    if (count > most && stat(one, &info) == 0 && (oldest[0] == '\0' || info.st_mtime < least)) {
      least = info.st_mtime;
      memcpy(oldest, one, sizeof oldest);
    }
    free(entries[i]);
  }
  if (count >= 0) free(entries);
  if (oldest[0]) rh_ort_kept_remove(oldest);
}

void rh_ort_kept_verdict_room(const char *path) { make_room(path, is_verdict, VERDICTS_MAX); }

// Of two processes that keep the same graph at once the later one wins; the other's weights go, and its session has them
// in memory already.
void rh_ort_kept_done(const char *unfinished, const char *path, bool well) {
  const char *name = strrchr(unfinished, '/');
  if (well && rename(unfinished, path) == 0) {
    remove_beginning(path, name ? name + 1 : unfinished);
    make_room(path, is_kept, KEPT_MAX);
    return;
  }
  if (well) RH_LOG(RH_LOG_WARN, "an optimized graph could not be kept", rh_log_str("path", path));
  remove_beginning(unfinished, NULL);
}
