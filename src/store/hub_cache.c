// SPDX-License-Identifier: Apache-2.0
//
// Models of a Hugging Face cache, used where they lie. Owns nothing between calls; any thread. Nothing of the cache is
// ever changed.
//
// Layout, from the huggingface_hub library's "Manage your cache" guide: models--ORG--REPO/refs/REF holds a commit;
// snapshots/COMMIT/... are links into blobs/, whose names are the SHA-256 of large files (git's SHA-1 of small ones).
// A GGUF repository holds several quantizations: each is a model of its own, called ORG/REPO:QUANTIZATION. Any other
// folder that is a model is ORG/REPO:REF, or the beginning of its commit where no ref names it.
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "model/catalogue.h"
#include "model/gguf.h"
#include "model/names.h"
#include "store/internal.h"

#define SNAPSHOTS_MAX 16  // of one repository
#define DEPTH_MAX 3       // folders in a snapshot: "Q4_K_M/model-00001-of-00003.gguf"
#define COMMIT_DIGITS 12
#define FILES_MAX 4096

typedef struct scan {
  rh_stored_list *out;
  rh_status status;
  rh_error *error;
  char name[RH_MODEL_NAME_MAX + 1];  // of the repository
  char commit[128], ref[RH_MODEL_NAME_MAX + 1];
} scan;

static bool is_taken(const scan *s, const rh_model_ref *ref) {
  for (size_t i = 0; i < s->out->count; i++) {
    const rh_model_ref *other = &s->out->items[i].ref;
    if (strcmp(other->name, ref->name) == 0 && strcmp(other->version, ref->version) == 0) return true;
  }
  return false;
}

// The name of the blob that a file of a snapshot points to, when it is a SHA-256.
static void read_digest(const char *path, char out[RH_SHA256_HEX]) {
  char target[1024];
  out[0] = '\0';
  ssize_t length = readlink(path, target, sizeof target - 1);
  if (length <= 0) return;
  target[length] = '\0';
  const char *base = strrchr(target, '/');
  base = base == NULL ? target : base + 1;
  if (strlen(base) == RH_SHA256_HEX - 1 && strspn(base, "0123456789abcdef") == RH_SHA256_HEX - 1) {
    memcpy(out, base, RH_SHA256_HEX);
  }
}

static rh_status add_file(rh_stored *item, const char *name, const struct stat *info, const char *path,
                          rh_error *error) {
  if (item->file_count == FILES_MAX) return rh_fail(error, RH_TOO_LARGE, "%s holds too many files", item->folder);
  rh_stored_file *files = realloc(item->files, (item->file_count + 1) * sizeof *files);
  if (files == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to read a Hugging Face cache");
  item->files = files;
  rh_stored_file *file = &files[item->file_count];
  *file = (rh_stored_file){.path = strdup(name), .bytes = info->st_size};
  if (file->path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to read a Hugging Face cache");
  read_digest(path, file->sha256);
  item->file_count++;
  item->bytes += file->bytes;
  if (info->st_mtime > item->created_s) item->created_s = info->st_mtime;
  return RH_OK;
}

// Does file `name` belong to the model whose first file is `entry`? All do, unless it is one GGUF of several.
static bool belongs(const rh_stored *item, const char *name) {
  if (item->format != RH_FORMAT_GGUF || strcmp(name, item->entry) == 0) return true;
  char stem[RH_MODEL_NAME_MAX + 1], other[RH_MODEL_NAME_MAX + 1];
  rh_model_name_from_path(item->entry, stem, sizeof stem);
  rh_model_name_from_path(name, other, sizeof other);
  const char *slash = strrchr(item->entry, '/');
  size_t folder = slash == NULL ? 0 : (size_t)(slash + 1 - item->entry);
  bool beside = strncmp(name, item->entry, folder) == 0 && strchr(name + folder, '/') == NULL;
  return beside && !rh_model_is_first_part(name) && strcmp(stem, other) == 0;
}

// Plain names before longer ones, so that of two files of one quantization the plain one gets its name.
static int by_length(const FTSENT **a, const FTSENT **b) {
  if ((*a)->fts_namelen != (*b)->fts_namelen) return (*a)->fts_namelen < (*b)->fts_namelen ? -1 : 1;
  return strcmp((*a)->fts_name, (*b)->fts_name);
}

// The files of a snapshot, up to DEPTH_MAX folders deep. `each` gets the path below the folder; false stops.
static void each_file(const char *folder,
                      bool (*each)(void *ctx, const char *name, const char *path, const struct stat *info), void *ctx) {
  char *copy = strdup(folder);
  char *const roots[] = {copy, NULL};
  FTS *tree = copy == NULL ? NULL : fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_length);
  FTSENT *entry;
  while (tree != NULL && (entry = fts_read(tree)) != NULL) {
    if (entry->fts_info == FTS_D && entry->fts_level > DEPTH_MAX) (void)fts_set(tree, entry, FTS_SKIP);
    if (entry->fts_info != FTS_F) continue;
    const char *name = entry->fts_path + strlen(folder);
    while (*name == '/') name++;
    if (rh_manifest_path_is_safe(name) && !each(ctx, name, entry->fts_path, entry->fts_statp)) break;
  }
  if (tree != NULL) fts_close(tree);
  free(copy);
}

typedef struct gathering {
  rh_stored *item;
  rh_status status;
  rh_error *error;
} gathering;

static bool gather(void *ctx, const char *name, const char *path, const struct stat *info) {
  gathering *g = ctx;
  if (belongs(g->item, name)) g->status = add_file(g->item, name, info, path, g->error);
  return g->status == RH_OK;
}

static void describe(scan *s, rh_stored *item) {
  char *entry = rh_stored_entry_path(item);
  rh_gguf_summary summary;
  if (item->format == RH_FORMAT_GGUF && entry != NULL && rh_gguf_read_summary(entry, &summary, NULL) == RH_OK) {
    (void)rh_text_copy(item->quantization, sizeof item->quantization, summary.quantization);
    (void)rh_text_copy(item->architecture, sizeof item->architecture, summary.architecture);
    item->context = summary.context_trained;
    item->parameters = summary.parameters;
  }
  free(entry);
  (void)snprintf(item->source, sizeof item->source, "hf:%s@%s", s->name, s->commit);
  (void)rh_text_copy(item->revision, sizeof item->revision, s->commit);
}

// Quantization, else the ref or commit; where that is taken within one snapshot, the file's own name.
static bool choose_version(const scan *s, rh_stored *item) {
  char whole[RH_MODEL_NAME_MAX + 1];
  (void)rh_text_copy(item->ref.name, sizeof item->ref.name, s->name);
  (void)rh_text_copy(item->ref.version, sizeof item->ref.version, s->ref);
  if (item->quantization[0] != '\0') {
    (void)rh_text_copy(item->ref.version, sizeof item->ref.version, item->quantization);
    if (is_taken(s, &item->ref)) {
      rh_model_name_from_path(item->entry, item->ref.version, sizeof item->ref.version);
    }
  }
  return !is_taken(s, &item->ref) && rh_model_ref_format(&item->ref, whole, sizeof whole) == RH_OK;
}

// An older snapshot often links to the very files of a newer one.
static bool is_known_blob(const scan *s, const rh_stored *item) {
  const char *digest = "";
  int64_t largest = 0;  // the weights: configurations are often the same from one model to the next
  for (size_t i = 0; i < item->file_count; i++) {
    if (item->files[i].bytes > largest) {
      largest = item->files[i].bytes;
      digest = item->files[i].sha256;
    }
  }
  for (size_t i = 0; digest[0] != '\0' && i < s->out->count; i++) {
    const rh_stored *other = &s->out->items[i];
    for (size_t k = 0; k < other->file_count; k++) {
      if (strcmp(other->ref.name, s->name) == 0 && strcmp(other->files[k].sha256, digest) == 0) return true;
    }
  }
  return false;
}

static void add_model(scan *s, const char *folder, const char *entry, rh_format format) {
  rh_stored item = {.format = format, .in_place = true, .folder = strdup(folder), .entry = strdup(entry)};
  gathering g = {.item = &item, .error = s->error};
  if (item.folder == NULL || item.entry == NULL) {
    g.status = rh_fail(s->error, RH_NO_MEMORY, "no memory to read a Hugging Face cache");
  } else {
    each_file(folder, gather, &g);
  }
  if (g.status == RH_OK) {
    describe(s, &item);
    if (!is_known_blob(s, &item) && choose_version(s, &item)) g.status = rh_stored_list_add(s->out, &item, s->error);
  }
  if (s->status == RH_OK) s->status = g.status;
  rh_stored_release(&item);
}

typedef struct snapshot {
  scan *scan;
  const char *folder;
  size_t ggufs;
} snapshot;

static bool is_projector(const char *path) {
  rh_gguf_summary summary;
  return rh_gguf_read_summary(path, &summary, NULL) != RH_OK || strcmp(summary.architecture, "clip") == 0;
}

static bool look_for_gguf(void *ctx, const char *name, const char *path, const struct stat *info) {
  snapshot *snap = ctx;
  scan *s = snap->scan;
  char magic[RH_GGUF_MAGIC_BYTES] = "";
  FILE *file = info->st_size > RH_GGUF_MAGIC_BYTES ? fopen(path, "rbe") : NULL;
  size_t got = file == NULL ? 0 : fread(magic, 1, sizeof magic, file);
  if (file != NULL) (void)fclose(file);
  if (!rh_gguf_has_magic(magic, got)) return true;
  snap->ggufs++;
  if (!rh_model_is_first_part(name)) return true;
  rh_format_report report;
  rh_error reason = {0};
  if (rh_format_detect(path, &report, &reason) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "a model of the Hugging Face cache was skipped", rh_log_str("path", path),
           rh_log_str("reason", reason.message));
  } else if (!is_projector(path)) {
    add_model(s, snap->folder, name, report.format);
  }
  return s->status == RH_OK;
}

static void scan_snapshot(scan *s, const char *folder) {
  snapshot snap = {.scan = s, .folder = folder};
  each_file(folder, look_for_gguf, &snap);
  if (snap.ggufs > 0 || s->status != RH_OK) return;
  // Quietly: a cache holds tokenizers, adapters and half-fetched repositories, which are no fault of anybody's.
  rh_format_report report;
  if (rh_format_detect(folder, &report, NULL) == RH_OK) add_model(s, folder, report.entry, report.format);
}

// --- repositories ---------------------------------------------------------------------------------------------------

typedef struct known_ref {
  char commit[128], ref[RH_MODEL_NAME_MAX + 1];
} known_ref;

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static bool has_snapshot(const char *repository, const char *commit) {
  char *path = NULL;
  struct stat info;
  if (!rh_manifest_path_is_safe(commit) || asprintf(&path, "%s/snapshots/%s", repository, commit) < 0) return false;
  bool there = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  free(path);
  return there;
}

static void add_ref(const char *repository, const char *ref, known_ref *out, size_t *count) {
  char *path = NULL;
  rh_dynbuf text;
  rh_dynbuf_init(&text, sizeof out->commit - 1);
  if (*count < SNAPSHOTS_MAX && asprintf(&path, "%s/refs/%s", repository, ref) >= 0 &&
      rh_file_read(path, &text, NULL) == RH_OK) {
    known_ref *to = &out[*count];
    (void)rh_text_copy(to->commit, sizeof to->commit, rh_dynbuf_data(&text));
    to->commit[strcspn(to->commit, "\r\n ")] = '\0';
    (void)rh_text_copy(to->ref, sizeof to->ref, ref);
    bool twice = false;
    for (size_t i = 0; i < *count; i++) twice = twice || strcmp(out[i].commit, to->commit) == 0;
    if (!twice && has_snapshot(repository, to->commit)) ++*count;
  }
  rh_dynbuf_free(&text);
  free(path);
}

// Calls add_ref for the files of repository/refs, or takes the folders of repository/snapshots that no ref names.
static void each_name(const char *repository, bool refs, known_ref *out, size_t *count) {
  struct dirent **entries = NULL;
  char *path = rh_store_join(repository, refs ? "refs" : "snapshots");
  int found = path == NULL ? -1 : scandir(path, &entries, is_visible, alphasort);
  for (int i = 0; i < found; i++) {
    const char *name = entries[i]->d_name;
    bool known = false;
    for (size_t k = 0; k < *count; k++) known = known || strcmp(out[k].commit, name) == 0;
    if (refs) {
      add_ref(repository, name, out, count);
    } else if (!known && *count < SNAPSHOTS_MAX && strlen(name) < sizeof out->commit) {
      known_ref *to = &out[(*count)++];
      (void)rh_text_copy(to->commit, sizeof to->commit, name);
      (void)snprintf(to->ref, sizeof to->ref, "%.*s", COMMIT_DIGITS, name);
    }
    free(entries[i]);
  }
  free(entries);
  free(path);
}

static void scan_repository(scan *s, const char *folder) {
  known_ref refs[SNAPSHOTS_MAX];
  size_t count = 0;
  add_ref(folder, "main", refs, &count);  // first, so that its files win
  each_name(folder, true, refs, &count);
  each_name(folder, false, refs, &count);
  for (size_t i = 0; i < count && s->status == RH_OK; i++) {
    char *path = NULL;
    if (asprintf(&path, "%s/snapshots/%s", folder, refs[i].commit) < 0) return;
    (void)rh_text_copy(s->commit, sizeof s->commit, refs[i].commit);
    rh_model_ref_clean(refs[i].ref, s->ref, sizeof s->ref);
    scan_snapshot(s, path);
    free(path);
  }
}

// "models--org--repo" -> "org/repo". False when that can be no name.
static bool repository_name(const char *folder, char out[RH_MODEL_NAME_MAX + 1]) {
  const char *at = folder + strlen("models--");
  size_t length = 0;
  rh_model_ref ref;
  while (*at != '\0' && length < RH_MODEL_NAME_MAX) {
    bool separator = at[0] == '-' && at[1] == '-';
    out[length++] = separator ? '/' : *at;
    at += separator ? 2 : 1;
  }
  out[length] = '\0';
  return *at == '\0' && rh_model_ref_parse(out, &ref, NULL) == RH_OK && ref.version[0] == '\0';
}

// What the huggingface_hub library looks at, in its order.
static char *default_folder(void) {
  static const struct {
    const char *variable, *below;
  } places[] = {{"HF_HUB_CACHE", ""},
                {"HUGGINGFACE_HUB_CACHE", ""},
                {"HF_HOME", "/hub"},
                {"XDG_CACHE_HOME", "/huggingface/hub"},
                {"HOME", "/.cache/huggingface/hub"}};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    const char *value = getenv(places[i].variable);
    char *path = NULL;
    if (value == NULL || value[0] == '\0') continue;
    return asprintf(&path, "%s%s", value, places[i].below) < 0 ? NULL : path;
  }
  return NULL;
}

rh_status rh_store_scan_hub_cache(const char *folder, rh_stored_list *out, rh_error *error) {
  assert(out != NULL);
  *out = (rh_stored_list){.items = NULL};
  char *given = folder != NULL ? strdup(folder) : default_folder();
  if (given == NULL) return RH_OK;  // no home, no cache
  char *root = realpath(given, NULL);
  free(given);
  if (root == NULL) return RH_OK;
  struct dirent **entries = NULL;
  int count = scandir(root, &entries, is_visible, alphasort);
  scan s = {.out = out, .error = error};
  if (count < 0) s.status = rh_file_fail(error, errno, "read the Hugging Face cache", root);
  for (int i = 0; i < count; i++) {
    char *path = rh_store_join(root, entries[i]->d_name);
    bool is_model = rh_text_starts_with(entries[i]->d_name, "models--");
    if (s.status == RH_OK && path != NULL && is_model && repository_name(entries[i]->d_name, s.name)) {
      scan_repository(&s, path);
    }
    free(path);
    free(entries[i]);
  }
  free(entries);
  free(root);
  if (s.status != RH_OK) {
    rh_stored_list_release(out);
    return s.status;
  }
  rh_stored_list_sort(out);
  return RH_OK;
}
