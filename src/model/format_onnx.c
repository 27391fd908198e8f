// SPDX-License-Identifier: Apache-2.0
//
// Is it an ONNX graph, and which files does it need besides itself? Walks the protobuf wire format of a ModelProto
// through a small window and jumps over weights. Owns nothing between calls; any thread. It deliberately checks no
// operators and loads no tensors: that is an engine's business.
//
// Field numbers: onnx/onnx.proto of the ONNX project. Wire format: protobuf's encoding guide.
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/format_private.h"

#define WINDOW_BYTES 65536
#define DEPTH_MAX 24         // of messages in messages: graphs in attributes of nodes of graphs
#define FIELDS_MAX 20000000  // in the whole file; the largest public graphs have below a million
#define LOCATION_BYTES_MAX 1024
#define IR_VERSION_MAX 1000

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct walk {
  const rh_format_source *source;
  rh_onnx_on_external *on_external;
  void *ctx;
  uint8_t *window;
  int64_t window_at;     // where the window begins in the file
  size_t window_length;  // what of it is filled
  int64_t fields;
  rh_status status;  // sticky: the first failure
  bool has_ir, has_graph, has_opset;
} walk;

// A field of a message: its number, and its value or where its bytes lie.
typedef struct field {
  uint32_t number;
  unsigned wire;
  uint64_t value;
  int64_t from, to;
} field;

static bool fail(walk *w, rh_status status) {
  if (w->status == RH_OK) w->status = status;
  return false;
}

// `length` bytes at `offset`; they must lie in the file.
static const uint8_t *look(walk *w, int64_t offset, size_t length) {
  assert(length <= WINDOW_BYTES && offset >= 0 && offset + (int64_t)length <= w->source->size);
  bool inside = offset >= w->window_at && offset + (int64_t)length <= w->window_at + (int64_t)w->window_length;
  if (!inside) {
    int64_t left = w->source->size - offset;
    w->window_length = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
    w->window_at = offset;
    if (!w->source->read(w->source->ctx, offset, w->window, w->window_length)) {
      w->window_length = 0;
      fail(w, RH_IO);
      return NULL;
    }
  }
  return w->window + (offset - w->window_at);
}

static bool read_varint(walk *w, int64_t *at, int64_t end, uint64_t *out) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (*at >= end) return fail(w, RH_INVALID);
    const uint8_t *byte = look(w, *at, 1);
    if (byte == NULL) return false;
    ++*at;
    value |= (uint64_t)(*byte & 0x7f) << shift;
    if ((*byte & 0x80) == 0) {
      *out = value;
      return true;
    }
  }
  return fail(w, RH_INVALID);
}

// The field at *at, and *at behind it. False at the end of the message and on failure.
static bool next_field(walk *w, int64_t *at, int64_t end, field *out) {
  uint64_t key, length = 0;
  if (w->status != RH_OK || *at >= end) return false;
  if (++w->fields > FIELDS_MAX) return fail(w, RH_INVALID);
  if (!read_varint(w, at, end, &key)) return false;
  *out = (field){.number = (uint32_t)(key >> 3), .wire = (unsigned)(key & 7)};
  if (out->number == 0 || key >> 3 > 536870911) return fail(w, RH_INVALID);
  switch (out->wire) {
    case WIRE_VARINT: return read_varint(w, at, end, &out->value);
    case WIRE_64: length = 8; break;
    case WIRE_32: length = 4; break;
    case WIRE_BYTES:
      if (!read_varint(w, at, end, &length)) return false;
      break;
    default: return fail(w, RH_INVALID);  // groups are older than ONNX
  }
  if (length > (uint64_t)(end - *at)) return fail(w, RH_INVALID);
  out->from = *at;
  *at += (int64_t)length;
  out->to = *at;
  return true;
}

// A short text of a field; false when it is longer than `size` or holds a NUL.
static bool read_text(walk *w, const field *f, char *out, size_t size) {
  size_t length = (size_t)(f->to - f->from);
  if (f->wire != WIRE_BYTES || length >= size) return false;
  const uint8_t *bytes = length == 0 ? (const uint8_t *)"" : look(w, f->from, length);
  if (bytes == NULL || memchr(bytes, '\0', length) != NULL) return false;
  memcpy(out, bytes, length);
  out[length] = '\0';
  return true;
}

typedef struct external {
  char location[LOCATION_BYTES_MAX];
  int64_t offset, length;
  bool marked;  // data_location says EXTERNAL
} external;

static int64_t to_number(const char *text) {
  char *end;
  long long value = strtoll(text, &end, 10);
  return *text == '\0' || *end != '\0' || value < 0 || value > INT64_MAX / 2 ? -1 : value;
}

// StringStringEntryProto: key = 1, value = 2.
static void read_pair(walk *w, const field *pair, external *out) {
  field f = {.number = 0};
  char key[32] = "", value[LOCATION_BYTES_MAX] = "";
  for (int64_t at = pair->from; next_field(w, &at, pair->to, &f);) {
    if (f.number == 1 && !read_text(w, &f, key, sizeof key)) key[0] = '\0';
    if (f.number == 2 && !read_text(w, &f, value, sizeof value)) value[0] = '\0';
  }
  if (strcmp(key, "location") == 0) memcpy(out->location, value, sizeof value);
  if (strcmp(key, "offset") == 0) out->offset = to_number(value);
  if (strcmp(key, "length") == 0) out->length = to_number(value);
}

// TensorProto: external_data = 13, data_location = 14 (EXTERNAL = 1).
static void walk_tensor(walk *w, const field *tensor) {
  external where = {.length = -1};
  field f = {.number = 0};
  for (int64_t at = tensor->from; next_field(w, &at, tensor->to, &f);) {
    if (f.number == 13 && f.wire == WIRE_BYTES) read_pair(w, &f, &where);
    if (f.number == 14 && f.wire == WIRE_VARINT) where.marked = f.value == 1;
  }
  if (w->status != RH_OK || !where.marked) return;
  if (where.location[0] == '\0') {
    fail(w, RH_INVALID);
    return;
  }
  int64_t end = where.length < 0 || where.offset < 0 ? -1 : where.offset + where.length;
  if (!w->on_external(w->ctx, where.location, end)) fail(w, RH_CANCELLED);
}

// Which messages inside a message are worth going into. Types are rows of `kinds`.
typedef enum kind { KIND_GRAPH, KIND_NODE, KIND_ATTRIBUTE, KIND_SPARSE, KIND_FUNCTION, KIND_TENSOR, KIND_NONE } kind;

static kind inner_kind(kind outer, uint32_t number) {
  switch (outer) {
    case KIND_GRAPH:  // node = 1, initializer = 5, sparse_initializer = 15
      return number == 1 ? KIND_NODE : number == 5 ? KIND_TENSOR : number == 15 ? KIND_SPARSE : KIND_NONE;
    case KIND_FUNCTION: return number == 7 ? KIND_NODE : KIND_NONE;
    case KIND_NODE: return number == 5 ? KIND_ATTRIBUTE : KIND_NONE;
    case KIND_SPARSE: return number == 1 || number == 2 ? KIND_TENSOR : KIND_NONE;  // values, indices
    case KIND_ATTRIBUTE:  // t = 5, g = 6, tensors = 10, graphs = 11, sparse_tensor = 22, sparse_tensors = 23
      if (number == 5 || number == 10) return KIND_TENSOR;
      if (number == 6 || number == 11) return KIND_GRAPH;
      return number == 22 || number == 23 ? KIND_SPARSE : KIND_NONE;
    case KIND_TENSOR:
    case KIND_NONE: break;
  }
  return KIND_NONE;
}

static void walk_message(walk *w, kind outer, const field *message) {
  struct {
    kind kind;
    int64_t at, to;
  } stack[DEPTH_MAX] = {{outer, message->from, message->to}};
  for (size_t depth = 1; depth > 0 && w->status == RH_OK;) {
    field f = {.number = 0};
    if (!next_field(w, &stack[depth - 1].at, stack[depth - 1].to, &f)) {
      depth--;
      continue;
    }
    kind inner = f.wire == WIRE_BYTES ? inner_kind(stack[depth - 1].kind, f.number) : KIND_NONE;
    if (inner == KIND_TENSOR) {
      walk_tensor(w, &f);
    } else if (inner != KIND_NONE) {
      if (depth == DEPTH_MAX) {
        fail(w, RH_INVALID);
        return;
      }
      stack[depth].kind = inner;
      stack[depth].at = f.from;
      stack[depth].to = f.to;
      depth++;
    }
  }
}

// ModelProto. False when a field is not what it should be.
static bool check_model_field(walk *w, const field *f) {
  static const struct {
    uint32_t number;
    unsigned wire;
  } known[] = {{1, WIRE_VARINT}, {2, WIRE_BYTES},  {3, WIRE_BYTES},  {4, WIRE_BYTES},
               {5, WIRE_VARINT}, {6, WIRE_BYTES},  {7, WIRE_BYTES},  {8, WIRE_BYTES},
               {14, WIRE_BYTES}, {20, WIRE_BYTES}, {25, WIRE_BYTES}, {26, WIRE_BYTES}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (known[i].number != f->number) continue;
    if (f->number == 1) {
      if (f->value == 0 || f->value > IR_VERSION_MAX) return false;
      w->has_ir = true;
    }
    if (f->number == 7) w->has_graph = true;
    if (f->number == 8) w->has_opset = true;
    return known[i].wire == f->wire;
  }
  return false;
}

// RH_INVALID after an ir_version and a second field of the model is a damaged graph; before, it is no ONNX at all.
static rh_status walk_model(walk *w, bool *plausible) {
  field f = {.number = 0};
  int64_t fields = 0;
  *plausible = false;
  for (int64_t at = 0; next_field(w, &at, w->source->size, &f);) {
    if (!check_model_field(w, &f)) return RH_UNSUPPORTED;
    if (++fields >= 2 && w->has_ir) *plausible = true;
    if (f.number == 7) walk_message(w, KIND_GRAPH, &f);
    if (f.number == 25) walk_message(w, KIND_FUNCTION, &f);
  }
  if (w->status != RH_OK) return w->status;
  return w->has_graph && (w->has_ir || w->has_opset) ? RH_OK : RH_UNSUPPORTED;
}

rh_status rh_onnx_walk(const rh_format_source *source, rh_onnx_on_external *on_external, void *ctx, rh_error *error) {
  assert(source != NULL && on_external != NULL);
  walk w = {.source = source, .on_external = on_external, .ctx = ctx, .window = malloc(WINDOW_BYTES)};
  if (w.window == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look at the file");
  bool plausible;
  rh_status status = walk_model(&w, &plausible);
  free(w.window);
  if (status == RH_INVALID && !plausible) status = RH_UNSUPPORTED;
  if (status == RH_INVALID) {
    return rh_fail(error, status, "the ONNX graph is damaged or cut short; it was not downloaded completely");
  }
  if (status == RH_IO) return rh_fail(error, status, "the file cannot be read");
  return status == RH_OK ? RH_OK : rh_fail(error, status, "it is no ONNX graph");
}
