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

#include "model/protobuf.h"

#define DEPTH_MAX 24  // of messages in messages: graphs in attributes of nodes of graphs
#define LOCATION_BYTES_MAX 1024
#define IR_VERSION_MAX 1000

typedef rh_pb_field field;

typedef struct walk {
  rh_pb pb;
  rh_onnx_on_external *on_external;
  void *ctx;
  bool has_ir, has_graph, has_opset;
} walk;

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
  for (int64_t at = pair->from; rh_pb_next(&w->pb, &at, pair->to, &f);) {
    if (f.number == 1 && !rh_pb_text(&w->pb, &f, key, sizeof key)) key[0] = '\0';
    if (f.number == 2 && !rh_pb_text(&w->pb, &f, value, sizeof value)) value[0] = '\0';
  }
  if (strcmp(key, "location") == 0) memcpy(out->location, value, sizeof value);
  if (strcmp(key, "offset") == 0) out->offset = to_number(value);
  if (strcmp(key, "length") == 0) out->length = to_number(value);
}

// TensorProto: external_data = 13, data_location = 14 (EXTERNAL = 1).
static void walk_tensor(walk *w, const field *tensor) {
  external where = {.length = -1};
  field f = {.number = 0};
  for (int64_t at = tensor->from; rh_pb_next(&w->pb, &at, tensor->to, &f);) {
    if (f.number == 13 && f.wire == RH_PB_BYTES) read_pair(w, &f, &where);
    if (f.number == 14 && f.wire == RH_PB_VARINT) where.marked = f.value == 1;
  }
  if (w->pb.status != RH_OK || !where.marked) return;
  if (where.location[0] == '\0') {
    (void)rh_pb_fail(&w->pb, RH_INVALID);
    return;
  }
  int64_t end = where.length < 0 || where.offset < 0 ? -1 : where.offset + where.length;
  if (!w->on_external(w->ctx, where.location, end)) (void)rh_pb_fail(&w->pb, RH_CANCELLED);
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
  for (size_t depth = 1; depth > 0 && w->pb.status == RH_OK;) {
    field f = {.number = 0};
    if (!rh_pb_next(&w->pb, &stack[depth - 1].at, stack[depth - 1].to, &f)) {
      depth--;
      continue;
    }
    kind inner = f.wire == RH_PB_BYTES ? inner_kind(stack[depth - 1].kind, f.number) : KIND_NONE;
    if (inner == KIND_TENSOR) {
      walk_tensor(w, &f);
    } else if (inner != KIND_NONE) {
      if (depth == DEPTH_MAX) {
        (void)rh_pb_fail(&w->pb, RH_INVALID);
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
  } known[] = {{1, RH_PB_VARINT}, {2, RH_PB_BYTES},  {3, RH_PB_BYTES},  {4, RH_PB_BYTES},
               {5, RH_PB_VARINT}, {6, RH_PB_BYTES},  {7, RH_PB_BYTES},  {8, RH_PB_BYTES},
               {14, RH_PB_BYTES}, {20, RH_PB_BYTES}, {25, RH_PB_BYTES}, {26, RH_PB_BYTES}};
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
  for (int64_t at = 0; rh_pb_next(&w->pb, &at, w->pb.source->size, &f);) {
    if (!check_model_field(w, &f)) return RH_UNSUPPORTED;
    if (++fields >= 2 && w->has_ir) *plausible = true;
    if (f.number == 7) walk_message(w, KIND_GRAPH, &f);
    if (f.number == 25) walk_message(w, KIND_FUNCTION, &f);
  }
  if (w->pb.status != RH_OK) return w->pb.status;
  return w->has_graph && (w->has_ir || w->has_opset) ? RH_OK : RH_UNSUPPORTED;
}

rh_status rh_onnx_walk(const rh_format_source *source, rh_onnx_on_external *on_external, void *ctx, rh_error *error) {
  assert(source != NULL && on_external != NULL);
  walk w = {.on_external = on_external, .ctx = ctx};
  if (!rh_pb_open(&w.pb, source)) return rh_fail(error, RH_NO_MEMORY, "no memory to look at the file");
  bool plausible;
  rh_status status = walk_model(&w, &plausible);
  rh_pb_close(&w.pb);
  if (status == RH_INVALID && !plausible) status = RH_UNSUPPORTED;
  if (status == RH_INVALID) {
    return rh_fail(error, status, "the ONNX graph is damaged or cut short; it was not downloaded completely");
  }
  if (status == RH_IO) return rh_fail(error, status, "the file cannot be read");
  return status == RH_OK ? RH_OK : rh_fail(error, status, "it is no ONNX graph");
}
