// SPDX-License-Identifier: Apache-2.0
//
// The parts of the format detection that look at bytes, as pure functions over something that can be read at an offset,
// so that they can be fuzzed from memory.
#ifndef RH_MODEL_FORMAT_PRIVATE_H
#define RH_MODEL_FORMAT_PRIVATE_H

#include <stdint.h>

#include "model/format.h"

// A file, or bytes that stand for one.
typedef struct rh_format_source {
  // Bytes [offset, offset + length), which lie inside `size`, into `out`; false when they cannot be read.
  bool (*read)(void *ctx, int64_t offset, void *out, size_t length);
  void *ctx;
  int64_t size;
} rh_format_source;

// What the first bytes of something that is no model look like ("an HTML page"), into `out`. Gives an advice ("run git
// lfs pull ..."), or NULL. `size` is the whole file's.
const char *rh_format_describe(const void *bytes, size_t length, int64_t size, char *out, size_t out_size);

// A file that an ONNX graph needs besides itself. `end` is the last byte that it uses of it, plus one; -1 when the graph
// does not say. False gives up.
typedef bool rh_onnx_on_external(void *ctx, const char *location, int64_t end);

// RH_OK: a serialized ModelProto with a graph. RH_UNSUPPORTED: something else. RH_INVALID: it begins like one, but is cut
// short or damaged. RH_IO: it cannot be read. RH_CANCELLED: the callback gave up.
rh_status rh_onnx_walk(const rh_format_source *source, rh_onnx_on_external *on_external, void *ctx,
                       rh_error *error) RH_MUST_CHECK;

// What a graph says about itself; see onnx.h.
struct rh_onnx_summary;
rh_status rh_onnx_summarize(const rh_format_source *source, struct rh_onnx_summary *out, rh_error *error) RH_MUST_CHECK;

// RH_OK: the length, the JSON header and the data it describes fill the file. RH_UNSUPPORTED: no safetensors file.
// RH_INVALID: cut short or damaged.
rh_status rh_safetensors_check(const rh_format_source *source, rh_error *error) RH_MUST_CHECK;

// A 16-bit value of a GGUF header's first bytes, such as split.count; false when it is not among them.
bool rh_gguf_find_u16(const void *bytes, size_t length, const char *key, uint16_t *out);

// Does a serialized TensorRT engine begin here?
bool rh_tensorrt_matches(const rh_format_source *source);

// --- files and folders ----------------------------------------------------------------------------------------------

#define RH_FORMAT_PEEK_BYTES 4096

typedef struct rh_format_file {
  int fd;
  int64_t size;
  uint8_t front[RH_FORMAT_PEEK_BYTES];
  size_t front_length;
  rh_format_source source;  // reads this file
} rh_format_file;

// RH_NOT_FOUND, RH_IO, RH_INVALID (a pipe, a device). Close it only after RH_OK. It must not move.
rh_status rh_format_file_open(const char *path, rh_format_file *file, rh_error *error) RH_MUST_CHECK;
void rh_format_file_close(rh_format_file *file);

// Each fills out->entry, parts, bytes, missing for a file or folder of its format; RH_UNSUPPORTED when it is another.
rh_status rh_format_detect_gguf(const char *path, rh_format_report *out, rh_error *error) RH_MUST_CHECK;  // a file
rh_status rh_format_detect_onnx(const char *path, const rh_format_file *file, rh_format_report *out,
                                rh_error *error) RH_MUST_CHECK;
rh_status rh_format_detect_genai(const char *folder, rh_format_report *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_format_detect_safetensors(const char *folder, rh_format_report *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_format_detect_folder(const char *folder, rh_format_report *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_format_detect_file(const char *path, rh_format_report *out, rh_error *error) RH_MUST_CHECK;

// "FOLDER/NAME", malloc'ed; NULL when memory is short.
char *rh_format_join(const char *folder, const char *name);
// Size of a regular file (a link is followed), or -1.
int64_t rh_format_file_size(const char *folder, const char *name);
// A path of a model's own files: relative, and never out of its folder.
bool rh_format_path_is_inside(const char *path);
// Note the first missing part: RH_INVALID with its name.
rh_status rh_format_missing(rh_format_report *out, const char *where, const char *part, rh_error *error);

#endif
