// SPDX-License-Identifier: Apache-2.0
//
// An ONNX graph with the files it needs beside it, and folders for onnxruntime-genai. Owns nothing between calls; any
// thread. The bytes are walked in format_onnx.c.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/format_private.h"

#define EXTERNALS_MAX 65536  // older exporters write one file for each tensor
#define CONFIG_BYTES_MAX ((size_t)4 * 1024 * 1024)
#define CONFIG_DEPTH_MAX 8
#define GRAPHS_MAX 64

typedef struct externals {
  char *folder;
  json_t *seen;  // location -> size of the file
  rh_format_report *out;
  rh_status status;
  rh_error *error;
} externals;

// How large that file is; asked of the file system once. -1 after a failure.
static int64_t size_of(externals *e, const char *location) {
  const json_t *known = json_object_get(e->seen, location);
  if (known != NULL) return json_integer_value(known);
  if (!rh_format_path_is_inside(location)) {
    e->status = rh_fail(e->error, RH_INVALID, "the ONNX graph keeps weights outside its folder (%.200s)", location);
    return -1;
  }
  int64_t size = rh_format_file_size(e->folder, location);
  if (size < 0) {
    e->status = rh_format_missing(e->out, "the ONNX graph keeps weights in", location, e->error);
    return -1;
  }
  if (json_object_size(e->seen) >= EXTERNALS_MAX || json_object_set_new(e->seen, location, json_integer(size)) != 0) {
    e->status = rh_fail(e->error, RH_INVALID, "the ONNX graph keeps its weights in too many files");
    return -1;
  }
  size_t count = json_object_size(e->seen);
  if (count == 1) (void)snprintf(e->out->parts, sizeof e->out->parts, "external data in %.200s", location);
  if (count > 1) (void)snprintf(e->out->parts, sizeof e->out->parts, "external data in %zu files", count);
  e->out->bytes += size;
  return size;
}

static bool on_external(void *ctx, const char *location, int64_t end) {
  externals *e = ctx;
  int64_t size = size_of(e, location);
  if (size < 0) return false;
  if (end <= size) return true;
  e->status = rh_fail(e->error, RH_INVALID, "%s/%s is cut short: the ONNX graph wants %lld bytes of it, %lld are there",
                      e->folder, location, (long long)end, (long long)size);
  return false;
}

rh_status rh_format_detect_onnx(const char *path, const rh_format_file *file, rh_format_report *out, rh_error *error) {
  const char *slash = strrchr(path, '/');
  externals e = {.out = out, .error = error};
  e.folder = slash == NULL ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
  e.seen = json_object();
  if (e.folder == NULL || e.seen == NULL) {
    free(e.folder);
    json_decref(e.seen);
    return rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", path);
  }
  rh_error inner = {0};
  rh_status status = rh_onnx_walk(&file->source, on_external, &e, &inner);
  if (status == RH_CANCELLED) {
    status = e.status;  // with its message
  } else if (status != RH_OK) {
    rh_fail(error, status, "%s: %s", path, inner.message);
  }
  if (status != RH_UNSUPPORTED) {
    out->format = RH_FORMAT_ONNX;
    (void)rh_text_copy(out->entry, sizeof out->entry, slash == NULL ? path : slash + 1);
    out->bytes += file->size;
  }
  json_decref(e.seen);
  free(e.folder);
  return status;
}

// --- genai ----------------------------------------------------------------------------------------------------------

typedef struct graphs {
  const char *names[GRAPHS_MAX];  // borrowed from the configuration
  size_t count;
} graphs;

// Every "filename" below "model" names a graph: decoder, encoder, vision, pipelines of several.
static bool find_graphs(const json_t *value, unsigned depth, graphs *out) {
  const char *key;
  json_t *item;
  size_t index;
  if (depth > CONFIG_DEPTH_MAX) return true;
  json_array_foreach((json_t *)(uintptr_t)value, index, item) {
    if (!find_graphs(item, depth + 1, out)) return false;
  }
  if (!json_is_object(value)) return true;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    if (strcmp(key, "filename") == 0 && json_is_string(item)) {
      if (out->count == GRAPHS_MAX) return false;
      out->names[out->count++] = json_string_value(item);
    } else if (!find_graphs(item, depth + 1, out)) {
      return false;
    }
  }
  return true;
}

static rh_status check_graph(const char *folder, const char *name, rh_format_report *out, rh_error *error) {
  if (!rh_format_path_is_inside(name)) {
    return rh_fail(error, RH_INVALID, "%s/genai_config.json names a graph outside its folder", folder);
  }
  char *path = rh_format_join(folder, name);
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", folder);
  rh_format_file file;
  rh_format_report one = {.format = RH_FORMAT_UNKNOWN};
  rh_status status = rh_format_file_open(path, &file, error);
  if (status == RH_NOT_FOUND) {
    status = rh_format_missing(out, "genai_config.json names", path, error);
  } else if (status == RH_OK) {
    status = rh_format_detect_onnx(path, &file, &one, error);
    if (status == RH_UNSUPPORTED) {
      status = rh_fail(error, RH_INVALID, "%s should be an ONNX graph, but is something else", path);
    }
    rh_format_file_close(&file);
    out->bytes += one.bytes;
    if (one.missing[0] != '\0') (void)rh_text_copy(out->missing, sizeof out->missing, one.missing);
  }
  free(path);
  return status;
}

rh_status rh_format_detect_genai(const char *folder, rh_format_report *out, rh_error *error) {
  char *path = rh_format_join(folder, "genai_config.json");
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", folder);
  rh_dynbuf text;
  rh_dynbuf_init(&text, CONFIG_BYTES_MAX);
  rh_error inner = {0};
  rh_status status = rh_file_read(path, &text, &inner);
  json_t *config = status == RH_OK ? rh_json_parse(rh_dynbuf_data(&text), text.length, &inner) : NULL;
  rh_dynbuf_free(&text);
  graphs found = {.count = 0};
  if (status == RH_NOT_FOUND) {
    status = rh_fail(error, RH_UNSUPPORTED, "%s holds no genai_config.json", folder);
  } else {
    out->format = RH_FORMAT_ONNX_GENAI;
    (void)rh_text_copy(out->entry, sizeof out->entry, "genai_config.json");
    if (config == NULL) {
      status = rh_fail(error, RH_INVALID, "%s: %s", path, inner.message);
    } else if (!find_graphs(json_object_get(config, "model"), 0, &found) || found.count == 0) {
      status = rh_fail(error, RH_INVALID, "%s names %s graphs", path, found.count == 0 ? "no" : "too many");
    }
  }
  for (size_t i = 0; i < found.count && status == RH_OK; i++) status = check_graph(folder, found.names[i], out, error);
  if (status == RH_OK && found.count > 1) (void)snprintf(out->parts, sizeof out->parts, "%zu graphs", found.count);
  json_decref(config);
  free(path);
  return status;
}
