// SPDX-License-Identifier: Apache-2.0
//
// What kind of model a file or folder holds: the words for formats, opening files, and which detector is asked in which
// order. Owns nothing between calls; any thread. A name never decides, except where a format itself is about names (the
// parts of a split GGUF, the configuration of a Hugging Face folder).
#include "model/format.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "model/format_private.h"
#include "model/gguf.h"

typedef struct format_row {
  const char *name, *engine;
} format_row;

// The index is the format. These words stand in manifests: add, never rename.
static const format_row rows[RH_FORMAT_COUNT] = {
    [RH_FORMAT_UNKNOWN] = {"unknown", NULL},
    [RH_FORMAT_GGUF] = {"gguf", "llama"},
    [RH_FORMAT_ONNX] = {"onnx", "onnx"},
    [RH_FORMAT_ONNX_GENAI] = {"onnx-genai", "onnx"},
    [RH_FORMAT_SAFETENSORS] = {"safetensors", NULL},
    [RH_FORMAT_TENSORRT] = {"tensorrt", NULL},
    [RH_FORMAT_FAKE] = {"fake", "fake"},
};

const char *rh_format_name(rh_format format) {
  return (unsigned)format < RH_FORMAT_COUNT ? rows[format].name : rows[RH_FORMAT_UNKNOWN].name;
}

rh_format rh_format_from_name(const char *name) {
  for (unsigned i = 0; name != NULL && i < RH_FORMAT_COUNT; i++) {
    if (strcmp(rows[i].name, name) == 0) return (rh_format)i;
  }
  return RH_FORMAT_UNKNOWN;
}

const char *rh_format_engine(rh_format format) {
  return (unsigned)format < RH_FORMAT_COUNT ? rows[format].engine : NULL;
}

// --- small things that all detectors use ----------------------------------------------------------------------------

char *rh_format_join(const char *folder, const char *name) {
  char *path = NULL;
  return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

int64_t rh_format_file_size(const char *folder, const char *name) {
  char *path = rh_format_join(folder, name);
  struct stat info;
  bool regular = path != NULL && stat(path, &info) == 0 && S_ISREG(info.st_mode);
  free(path);
  return regular ? (int64_t)info.st_size : -1;
}

bool rh_format_path_is_inside(const char *path) {
  if (path[0] == '\0' || path[0] == '/') return false;
  for (const char *at = path; at != NULL; at = strchr(at, '/')) {
    if (*at == '/') at++;
    if (strncmp(at, "..", 2) == 0 && (at[2] == '\0' || at[2] == '/')) return false;
  }
  return true;
}

rh_status rh_format_missing(rh_format_report *out, const char *where, const char *part, rh_error *error) {
  (void)rh_text_copy(out->missing, sizeof out->missing, part);
  return rh_fail(error, RH_INVALID, "a part of the model is missing: %s %s, which is not there; get it again", where,
                 part);
}

static bool read_at(void *ctx, int64_t offset, void *out, size_t length) {
  const rh_format_file *file = ctx;
  for (size_t done = 0; done < length;) {
    ssize_t n = pread(file->fd, (char *)out + done, length - done, (off_t)offset + (off_t)done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;  // also when it shrank meanwhile
    done += (size_t)n;
  }
  return true;
}

rh_status rh_format_file_open(const char *path, rh_format_file *file, rh_error *error) {
  // Without O_NONBLOCK a named pipe would hold us until somebody writes to it.
  file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return rh_fail(error, RH_NOT_FOUND, "there is no file %s", path);
    return rh_fail(error, RH_IO, "cannot open %s: %s", path, strerror(errno));
  }
  struct stat info;
  rh_status status = RH_OK;
  if (fstat(file->fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = rh_fail(error, RH_INVALID, "%s is not a regular file", path);
  } else {
    file->size = info.st_size;
    file->front_length = info.st_size < RH_FORMAT_PEEK_BYTES ? (size_t)info.st_size : RH_FORMAT_PEEK_BYTES;
    file->source = (rh_format_source){read_at, file, file->size};
    if (!read_at(file, 0, file->front, file->front_length)) {
      status = rh_fail(error, RH_IO, "cannot read %s: %s", path, strerror(errno));
    }
  }
  if (status != RH_OK) close(file->fd);
  return status;
}

void rh_format_file_close(rh_format_file *file) { close(file->fd); }

// --- TensorRT -------------------------------------------------------------------------------------------------------

// NVIDIA does not document the plan's format. Its files begin with "ftrt" or, older ones, "ptrt": so Netron
// (source/tensorrt.js) and Torch-TensorRT (_TorchTensorRTModule's check of an engine) tell them. Ultralytics' exporter
// puts a JSON text with its length (4 bytes little-endian) before the engine.
static bool has_plan_magic(const uint8_t *bytes) {
  return memcmp(bytes, "ftrt", 4) == 0 || memcmp(bytes, "ptrt", 4) == 0;
}

bool rh_tensorrt_matches(const rh_format_source *source) {
  uint8_t front[24];  // the shortest header
  if (source->size < (int64_t)sizeof front || !source->read(source->ctx, 0, front, sizeof front)) return false;
  if (has_plan_magic(front)) return true;
  if (front[3] != 0 || front[4] != '{') return false;
  int64_t at = 4 + (int64_t)(front[0] | (uint32_t)front[1] << 8 | (uint32_t)front[2] << 16);
  return at + (int64_t)sizeof front <= source->size && source->read(source->ctx, at, front, 4) && has_plan_magic(front);
}

// --- one file -------------------------------------------------------------------------------------------------------

static rh_status something_else(const char *path, const rh_format_file *file, rh_format_report *out, rh_error *error) {
  const char *advice = rh_format_describe(file->front, file->front_length, file->size, out->seen, sizeof out->seen);
  return rh_fail(error, RH_UNSUPPORTED,
                 "%s is %s and no model (GGUF, ONNX, TensorRT, safetensors with config.json)%s%s", path, out->seen,
                 advice == NULL ? "" : "; ", advice == NULL ? "" : advice);
}

// A single safetensors file is a model together with the config.json beside it.
static rh_status detect_safetensors_file(const char *path, const rh_format_file *file, rh_format_report *out,
                                         rh_error *error) {
  rh_error inner = {0};
  rh_status status = rh_safetensors_check(&file->source, &inner);
  if (status != RH_OK) return rh_fail(error, status, "%s: %s", path, inner.message);
  const char *slash = strrchr(path, '/');
  char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
  if (folder == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", path);
  bool has_config = rh_format_file_size(folder, "config.json") >= 0;
  free(folder);
  if (!has_config) {
    (void)rh_text_copy(out->seen, sizeof out->seen, "a safetensors file without config.json beside it");
    return rh_fail(error, RH_UNSUPPORTED, "%s is %s; its config.json and tokenizer belong into the same folder", path,
                   out->seen);
  }
  out->format = RH_FORMAT_SAFETENSORS;
  out->bytes = file->size;
  (void)rh_text_copy(out->entry, sizeof out->entry, slash == NULL ? path : slash + 1);
  return RH_OK;
}

static rh_status detect_opened(const char *path, const rh_format_file *file, rh_format_report *out, rh_error *error) {
  if (rh_tensorrt_matches(&file->source)) {
    const char *slash = strrchr(path, '/');
    out->format = RH_FORMAT_TENSORRT;
    out->bytes = file->size;
    (void)rh_text_copy(out->entry, sizeof out->entry, slash == NULL ? path : slash + 1);
    return RH_OK;
  }
  if (rh_safetensors_check(&file->source, NULL) != RH_UNSUPPORTED) {
    return detect_safetensors_file(path, file, out, error);
  }
  rh_status status = rh_format_detect_onnx(path, file, out, error);
  return status == RH_UNSUPPORTED ? something_else(path, file, out, error) : status;
}

rh_status rh_format_detect_file(const char *path, rh_format_report *out, rh_error *error) {
  rh_format_file file;
  rh_status status = rh_format_file_open(path, &file, error);
  if (status != RH_OK) return status;
  bool gguf = rh_gguf_has_magic(file.front, file.front_length);
  if (!gguf) status = detect_opened(path, &file, out, error);
  rh_format_file_close(&file);
  return gguf ? rh_format_detect_gguf(path, out, error) : status;
}

rh_status rh_format_detect(const char *path, rh_format_report *out, rh_error *error) {
  assert(path != NULL && out != NULL);
  *out = (rh_format_report){.format = RH_FORMAT_UNKNOWN};
  if (rh_text_starts_with(path, "fake:")) {
    out->format = RH_FORMAT_FAKE;
    (void)rh_text_copy(out->entry, sizeof out->entry, path);
    return RH_OK;
  }
  struct stat info;
  bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  // What detectors say that were asked in vain is no error once another one knows the format.
  rh_error inner = {.message = ""};
  rh_status status = folder ? rh_format_detect_folder(path, out, &inner) : rh_format_detect_file(path, out, &inner);
  return status == RH_OK ? RH_OK : rh_fail(error, status, "%s", inner.message);
}
