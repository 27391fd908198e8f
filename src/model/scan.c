// SPDX-License-Identifier: Apache-2.0
//
// Finds models in a folder, and makes names from file names.
// Owns nothing that outlives a call. One owner thread, the catalogue's. It looks at files and at folders that hold one
// model each, and deliberately no deeper; it does not watch for changes.
#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "flow/limits.h"
#include "model/catalogue.h"
#include "model/format.h"
#include "model/gguf.h"
#include "model/names.h"

// Enough for the first keys of a header, of which the architecture is one.
#define PEEK_BYTES 4096
// "-00001-of-00003", as llama.cpp's own tool names the files of a model in parts.
#define PART_LENGTH 15

static bool digits(const char *text, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!isdigit((unsigned char)text[i])) return false;
  }
  return true;
}

// Length of `stem` without its part number; `*number` is 0 when it has none.
static size_t split_part(const char *stem, size_t length, long *number) {
  *number = 0;
  if (length <= PART_LENGTH) return length;
  const char *part = stem + length - PART_LENGTH;
  if (part[0] != '-' || !digits(part + 1, 5) || strncmp(part + 6, "-of-", 4) != 0 || !digits(part + 10, 5))
    return length;
  *number = strtol(part + 1, NULL, 10);
  return length - PART_LENGTH;
}

static bool has_suffix(const char *path) {
  size_t length = strlen(path);
  return length > 5 && (strcasecmp(path + length - 5, ".gguf") == 0 || strcasecmp(path + length - 5, ".onnx") == 0);
}

static size_t stem_length(const char *base) { return strlen(base) - (has_suffix(base) ? 5 : 0); }

static const char *base_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash == NULL ? path : slash + 1;
}

bool rh_model_is_first_part(const char *path) {
  const char *base = base_of(path);
  long number;
  (void)split_part(base, stem_length(base), &number);
  return number <= 1;
}

void rh_model_name_from_path(const char *path, char *out, size_t size) {
  assert(path != NULL && out != NULL && size > 8);
  if (rh_text_starts_with(path, "fake:")) {
    (void)rh_text_copy(out, size, "fake");
    return;
  }
  const char *base = base_of(path);
  long number;
  size_t length = split_part(base, stem_length(base), &number);
  if (length > size - 1) length = size - 1;
  if (length > RH_MODEL_NAME_MAX) length = RH_MODEL_NAME_MAX;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)base[i];
    bool fine = c < 0x80 && (isalnum(c) || c == '.' || c == '_' || c == '-');
    out[i] = fine ? (char)tolower(c) : '-';
  }
  out[length] = '\0';
  if (length == 0) (void)rh_text_copy(out, size, "model");
}

// Reads only the beginning: a folder of large models must not delay the start.
static rh_status peek_architecture(const char *path, rh_gguf_summary *summary, rh_error *error) {
  uint8_t bytes[PEEK_BYTES];
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return rh_fail(error, RH_IO, "cannot open it: %s", strerror(errno));
  struct stat info;
  ssize_t got = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? pread(fd, bytes, sizeof bytes, 0) : -1;
  close(fd);
  if (got < 0) return rh_fail(error, RH_INVALID, "it is not a readable file");
  rh_status status = rh_gguf_parse_summary(bytes, (size_t)got, (size_t)got < sizeof bytes, summary, error);
  return status == RH_AGAIN ? RH_OK : status;
}

static void skip(const char *path, const rh_error *reason) {
  RH_LOG(RH_LOG_WARN, "something in the models folder was skipped", rh_log_str("path", path),
         rh_log_str("reason", reason->message));
}

// The image part of another model lies beside it and cannot be served alone. Whatever else is wrong with a file is found
// and said when it is added.
static bool is_image_part(const char *path) {
  rh_gguf_summary summary;
  rh_error reason = {0};
  if (peek_architecture(path, &summary, &reason) != RH_OK || strcmp(summary.architecture, "clip") != 0) return false;
  rh_fail(&reason, RH_UNSUPPORTED, "it is the image part of another model");
  skip(path, &reason);
  return true;
}

// A folder may be there for reasons of its own: only one that holds a model is worth a word.
static bool holds_model(const char *path) {
  rh_format_report report;
  rh_status status = rh_format_detect(path, &report, NULL);
  return status == RH_OK || report.format != RH_FORMAT_UNKNOWN;
}

static rh_status add_found(rh_catalogue *catalogue, const char *path, const rh_load_options *defaults,
                           int64_t queue_max, rh_error *error) {
  char name[RH_MODEL_NAME_MAX + 1];
  struct stat info;
  rh_model_name_from_path(path, name, sizeof name);
  // What the configuration or a flag names wins over what lies in the folder.
  if (rh_catalogue_find(catalogue, name) != NULL) return RH_OK;
  if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
    if (!holds_model(path)) return RH_OK;
  } else if (!has_suffix(path) || !rh_model_is_first_part(path) || is_image_part(path)) {
    return RH_OK;
  }
  rh_error reason = {0};
  rh_status status = rh_catalogue_add_file(catalogue, name, path, defaults, queue_max, &reason);
  if (status == RH_OK) return RH_OK;
  if (status == RH_NO_MEMORY) return rh_fail(error, status, "%s", reason.message);
  // Nobody asked for this very file, so it must not keep the others from being served.
  skip(path, &reason);
  return RH_OK;
}

static int may_be_model(const struct dirent *entry) {
  bool folder = entry->d_type == DT_DIR || entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN;
  return entry->d_name[0] != '.' && (folder || has_suffix(entry->d_name));
}

rh_status rh_catalogue_scan(rh_catalogue *catalogue, const char *folder, const rh_load_options *defaults,
                            int64_t queue_max, rh_error *error) {
  assert(catalogue != NULL && folder != NULL);
  // Sorted, so that of two files with one name the same one wins on every start.
  struct dirent **entries = NULL;
  int count = scandir(folder, &entries, may_be_model, alphasort);
  if (count < 0) {
    if (errno == ENOENT) return RH_OK;
    return rh_fail_param(error, RH_IO, "models_dir", "cannot read the models folder %s: %s", folder, strerror(errno));
  }
  rh_status status = RH_OK;
  for (int i = 0; i < count; i++) {
    char *path = NULL;
    if (status == RH_OK && asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) {
      status = rh_fail(error, RH_NO_MEMORY, "no memory to read the models folder");
      path = NULL;
    }
    if (status == RH_OK) status = add_found(catalogue, path, defaults, queue_max, error);
    free(path);
    free(entries[i]);
  }
  free(entries);
  return status;
}
