// SPDX-License-Identifier: Apache-2.0
//
// Which model a folder holds. Owns nothing between calls; any thread. The content decides: a folder with exactly one
// model of a kind is that model, one with several says which they are, one with none says what it holds instead.
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "base/text.h"
#include "model/format_private.h"
#include "model/gguf.h"
#include "model/names.h"

#define FILES_MAX 4096  // of one folder; more are not looked at
#define HUB_FOLDER "onnx"
#define MERGED_GRAPH "decoder_model_merged.onnx"
#define HUB_GRAPH HUB_FOLDER "/model.onnx"

// What was found directly in the folder.
typedef struct contents {
  char *gguf, *onnx, *tensorrt;  // the name of the first of each
  size_t gguf_count, onnx_count, tensorrt_count, projectors, safetensors, files, folders;
  rh_dynbuf ggufs, onnxes;  // their names, for an error
  rh_dynbuf others;         // "NAME (an HTML page)" of the first few
} contents;

static void contents_init(contents *c) {
  *c = (contents){.gguf = NULL};
  rh_dynbuf_init(&c->ggufs, 400);
  rh_dynbuf_init(&c->onnxes, 400);
  rh_dynbuf_init(&c->others, 240);
}

static void contents_free(contents *c) {
  rh_dynbuf_free(&c->ggufs);
  rh_dynbuf_free(&c->onnxes);
  rh_dynbuf_free(&c->others);
  free(c->gguf);
  free(c->onnx);
  free(c->tensorrt);
}

static void note(char **first, size_t *count, rh_dynbuf *names, const char *name) {
  if ((*count)++ == 0) *first = strdup(name);
  if (names != NULL) (void)rh_dynbuf_printf(names, "%s%s", names->length == 0 ? "" : ", ", name);
}

static bool nothing_outside(void *ctx, const char *location, int64_t end) {
  (void)ctx;
  (void)location;
  (void)end;
  return true;
}

static void look_at_gguf(contents *c, const char *name, const rh_format_file *file) {
  rh_gguf_summary summary;
  rh_error ignored = {0};
  rh_status status = rh_gguf_parse_summary(file->front, file->front_length, false, &summary, &ignored);
  if (status != RH_INVALID && strcmp(summary.architecture, "clip") == 0) {
    c->projectors++;  // the image part of another model
  } else if (rh_model_is_first_part(name)) {
    note(&c->gguf, &c->gguf_count, &c->ggufs, name);
  } else if (c->gguf == NULL) {
    // A later part without its first one: whoever looks at it finds that the first is missing.
    c->gguf = strdup(name);
  }
}

static void look_at(contents *c, const char *name, const rh_format_file *file) {
  char seen[96];
  if (rh_gguf_has_magic(file->front, file->front_length)) {
    look_at_gguf(c, name, file);
  } else if (rh_tensorrt_matches(&file->source)) {
    note(&c->tensorrt, &c->tensorrt_count, NULL, name);
  } else if (rh_safetensors_check(&file->source, NULL) != RH_UNSUPPORTED) {
    c->safetensors++;
  } else if (file->front_length > 0 && file->front[0] == 0x08 &&
             rh_onnx_walk(&file->source, nothing_outside, NULL, NULL) != RH_UNSUPPORTED) {
    note(&c->onnx, &c->onnx_count, &c->onnxes, name);
  } else if (c->others.length < 200) {
    (void)rh_format_describe(file->front, file->front_length, file->size, seen, sizeof seen);
    (void)rh_dynbuf_printf(&c->others, "%s%s (%s)", c->others.length == 0 ? "" : ", ", name, seen);
  }
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static rh_status look_through(const char *folder, contents *c, rh_error *error) {
  struct dirent **entries = NULL;
  int count = scandir(folder, &entries, is_visible, alphasort);
  if (count < 0) return rh_fail(error, RH_IO, "cannot read the folder %s: %s", folder, strerror(errno));
  for (int i = 0; i < count; i++) {
    char *path = i < FILES_MAX ? rh_format_join(folder, entries[i]->d_name) : NULL;
    rh_format_file file;
    rh_status status = path == NULL ? RH_NO_MEMORY : rh_format_file_open(path, &file, NULL);
    if (status == RH_OK) {
      c->files++;
      look_at(c, entries[i]->d_name, &file);
      rh_format_file_close(&file);
    } else if (status == RH_INVALID) {
      c->folders++;
    }
    free(path);
    free(entries[i]);
  }
  free(entries);
  return RH_OK;
}

static rh_status detect_inside(const char *folder, const char *name, rh_format_report *out, rh_error *error) {
  char *path = name == NULL ? NULL : rh_format_join(folder, name);
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", folder);
  rh_status status = rh_format_detect_file(path, out, error);
  free(path);
  return status;
}

static rh_status several(const char *folder, const char *kind, const rh_dynbuf *names, size_t count, rh_error *error) {
  return rh_fail(error, RH_INVALID, "%s holds %zu %s models (%.400s%s); name one of these files", folder, count, kind,
                 rh_dynbuf_data(names), names->failed ? ", ..." : "");
}

static rh_status nothing_known(const char *folder, const contents *c, rh_format_report *out, rh_error *error) {
  if (c->files == 0 && c->folders == 0) {
    (void)rh_text_copy(out->seen, sizeof out->seen, "an empty folder");
  } else if (c->safetensors > 0) {
    (void)snprintf(out->seen, sizeof out->seen, "a folder with safetensors but %s",
                   rh_format_file_size(folder, "adapter_config.json") >= 0
                       ? "only an adapter's configuration (a LoRA for another model)"
                       : "without config.json or without their usual name");
  } else if (c->projectors > 0) {
    (void)rh_text_copy(out->seen, sizeof out->seen, "a folder with only the image part of a model (GGUF)");
  } else if (c->files == 0) {
    (void)snprintf(out->seen, sizeof out->seen, "a folder with only folders in it (%zu)", c->folders);
  } else {
    (void)snprintf(out->seen, sizeof out->seen, "a folder with %s%s", rh_dynbuf_data(&c->others),
                   c->others.length >= 200 || c->others.failed ? ", ..." : "");
  }
  return rh_fail(error, RH_UNSUPPORTED, "%s is %s; a model is GGUF, ONNX, TensorRT, or safetensors with config.json",
                 folder, out->seen);
}

// Exports of decoders in three parts have one that does the work of the two others; beside an encoder it is half of a model.
static bool has_merged(const char *folder, const char *below) {
  char graph[64], encoder[64];
  (void)snprintf(graph, sizeof graph, "%s" MERGED_GRAPH, below);
  (void)snprintf(encoder, sizeof encoder, "%sencoder_model.onnx", below);
  return rh_format_file_size(folder, graph) >= 0 && rh_format_file_size(folder, encoder) < 0;
}

// In a folder with several graphs the one with the usual name is meant.
static rh_status choose_onnx(const char *folder, const contents *c, rh_format_report *out, rh_error *error) {
  if (c->onnx_count == 1) return detect_inside(folder, c->onnx, out, error);
  if (rh_format_file_size(folder, "model.onnx") >= 0) return detect_inside(folder, "model.onnx", out, error);
  if (has_merged(folder, "")) return detect_inside(folder, MERGED_GRAPH, out, error);
  return several(folder, "ONNX", &c->onnxes, c->onnx_count, error);
}

// The one graph in the folder HUB_FOLDER, as a name in `folder`; NULL: there is none, or several.
static char *only_hub_graph(const char *folder) {
  contents c;
  contents_init(&c);
  rh_error ignored = {0};
  char *inner = rh_format_join(folder, HUB_FOLDER);
  bool one = inner != NULL && look_through(inner, &c, &ignored) == RH_OK && c.onnx_count == 1 && c.onnx != NULL;
  char *name = one ? rh_format_join(HUB_FOLDER, c.onnx) : NULL;
  contents_free(&c);
  free(inner);
  return name;
}

// Hubs keep the graphs in a folder of their own, beside the configuration and the tokenizer: the one with the usual name,
// or the only one there ("model_q4.onnx"). RH_NOT_FOUND: not so here.
static rh_status detect_hub_graph(const char *folder, rh_format_report *out, rh_error *error) {
  bool usual = rh_format_file_size(folder, HUB_GRAPH) >= 0;
  bool merged = !usual && has_merged(folder, HUB_FOLDER "/");
  char *name = usual ? strdup(HUB_GRAPH) : merged ? strdup(HUB_FOLDER "/" MERGED_GRAPH) : only_hub_graph(folder);
  if (name == NULL) return RH_NOT_FOUND;
  rh_status status = detect_inside(folder, name, out, error);
  (void)rh_text_copy(out->entry, sizeof out->entry, name);
  free(name);
  return status;
}

// The same model as safetensors and as a graph: the graph can be served as it is. False when none is there that is whole
// and meant.
static bool prefer_graph(const char *folder, const contents *c, rh_format_report *out) {
  rh_format_report graph = {.format = RH_FORMAT_UNKNOWN};
  rh_error ignored = {0};
  rh_status status = RH_NOT_FOUND;
  if (c->onnx_count > 0) {
    status = choose_onnx(folder, c, &graph, &ignored);
  } else if (rh_format_file_size(folder, HUB_GRAPH) >= 0) {
    status = detect_hub_graph(folder, &graph, &ignored);
  }
  if (status != RH_OK || graph.format != RH_FORMAT_ONNX) return false;
  *out = graph;
  return true;
}

static rh_status decide(const char *folder, const contents *c, rh_format_report *out, rh_error *error) {
  if (c->gguf_count > 1) out->format = RH_FORMAT_GGUF;
  if (c->gguf_count > 1) return several(folder, "GGUF", &c->ggufs, c->gguf_count, error);
  if (c->gguf != NULL) {
    rh_status status = detect_inside(folder, c->gguf, out, error);
    if (c->projectors > 0 && out->parts[0] == '\0') {
      (void)rh_text_copy(out->parts, sizeof out->parts, "and an image part that is not used");
    }
    return status;
  }
  rh_status status = rh_format_detect_safetensors(folder, out, error);
  if (status != RH_UNSUPPORTED) return prefer_graph(folder, c, out) ? RH_OK : status;
  if (c->onnx_count > 0) return choose_onnx(folder, c, out, error);
  status = detect_hub_graph(folder, out, error);
  if (status != RH_NOT_FOUND) return status;
  if (c->tensorrt_count == 1) return detect_inside(folder, c->tensorrt, out, error);
  if (c->tensorrt_count > 1) {
    return rh_fail(error, RH_INVALID, "%s holds %zu TensorRT engines; name one of them", folder, c->tensorrt_count);
  }
  return nothing_known(folder, c, out, error);
}

rh_status rh_format_detect_folder(const char *folder, rh_format_report *out, rh_error *error) {
  rh_status status = rh_format_detect_genai(folder, out, error);
  if (status != RH_UNSUPPORTED) return status;
  contents c;
  contents_init(&c);
  status = look_through(folder, &c, error);
  if (status == RH_OK) status = decide(folder, &c, out, error);
  contents_free(&c);
  return status;
}
