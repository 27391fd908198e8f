// SPDX-License-Identifier: Apache-2.0
//
// Walks an ONNX ModelProto for what `roundhouse show` and the estimate of memory want to know. Owns the ports of a summary
// until they are freed; any thread. It checks no operators and reads no weights: sizes come from the tensors' shapes.
//
// Field numbers: onnx/onnx.proto of the ONNX project.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "model/onnx.h"
#include "model/protobuf.h"

#define DEPTH_MAX 24  // graphs in attributes of nodes of graphs
#define ELEMENTS_MAX (INT64_C(1) << 46)

typedef struct scan {
  rh_pb pb;
  rh_onnx_summary *out;
  bool has_graph, out_of_memory, too_many;
  int64_t integer_bytes[2];          // of weights: int8, uint8
  int64_t float_bytes[3];            // float32, float16, bfloat16
  bool integer_nodes, nibble_nodes;  // nodes that compute with integers; with packed weights of a few bits
  bool dynamic_nodes, fixed_nodes;   // integers made of what flows through: by its own scale, by one in the graph
  int64_t nibble_bits;
} scan;

// TensorProto.DataType: the name, and bits of an element.
static const struct {
  const char *name;
  int bits;
} types[] = {
    {"undefined", 0},      {"float32", 32},  {"uint8", 8},        {"int8", 8},           {"uint16", 16},
    {"int16", 16},         {"int32", 32},    {"int64", 64},       {"string", 0},         {"bool", 8},
    {"float16", 16},       {"float64", 64},  {"uint32", 32},      {"uint64", 64},        {"complex64", 64},
    {"complex128", 128},   {"bfloat16", 16}, {"float8e4m3fn", 8}, {"float8e4m3fnuz", 8}, {"float8e5m2", 8},
    {"float8e5m2fnuz", 8}, {"uint4", 4},     {"int4", 4},         {"float4e2m1", 4},
};
#define TYPES (sizeof types / sizeof *types)

enum { FLOAT = 1, UINT8 = 2, INT8 = 3, FLOAT16 = 10, BFLOAT16 = 16, UINT4 = 21, INT4 = 22 };

static const char *type_name(uint64_t type) { return type < TYPES ? types[type].name : "unknown"; }

// --- ports ----------------------------------------------------------------------------------------------------------

// TensorShapeProto.Dimension: dim_value = 1, dim_param = 2.
static void read_dimension(scan *s, const rh_pb_field *dimension, rh_onnx_port *port) {
  rh_pb_field f = {.number = 0};
  if (port->rank == RH_ONNX_RANK_MAX) return;
  int64_t *size = &port->shape[port->rank];
  char *word = port->words[port->rank++];
  *size = -1;
  for (int64_t at = dimension->from; rh_pb_next(&s->pb, &at, dimension->to, &f);) {
    if (f.number == 1 && f.wire == RH_PB_VARINT) *size = (int64_t)f.value < 0 ? -1 : (int64_t)f.value;
    if (f.number == 2 && !rh_pb_text(&s->pb, &f, word, sizeof port->words[0])) word[0] = '\0';
  }
}

// TypeProto.Tensor: elem_type = 1, shape = 2 (TensorShapeProto: dim = 1).
static void read_tensor_type(scan *s, const rh_pb_field *tensor, rh_onnx_port *port) {
  rh_pb_field f = {.number = 0}, dimension = {.number = 0};
  for (int64_t at = tensor->from; rh_pb_next(&s->pb, &at, tensor->to, &f);) {
    if (f.number == 1 && f.wire == RH_PB_VARINT) (void)rh_text_copy(port->type, sizeof port->type, type_name(f.value));
    if (f.number != 2 || f.wire != RH_PB_BYTES) continue;
    port->has_shape = true;
    for (int64_t inner = f.from; rh_pb_next(&s->pb, &inner, f.to, &dimension);) {
      if (dimension.number == 1 && dimension.wire == RH_PB_BYTES) read_dimension(s, &dimension, port);
    }
  }
}

// TypeProto: tensor_type = 1, sequence_type = 4, map_type = 5, sparse_tensor_type = 8, optional_type = 9.
static void read_type(scan *s, const rh_pb_field *type, rh_onnx_port *port) {
  static const char *const words[] = {[4] = "sequence", [5] = "map", [8] = "sparse tensor", [9] = "optional"};
  rh_pb_field f = {.number = 0};
  for (int64_t at = type->from; rh_pb_next(&s->pb, &at, type->to, &f);) {
    if (f.wire != RH_PB_BYTES) continue;
    if (f.number == 1) read_tensor_type(s, &f, port);
    if (f.number < sizeof words / sizeof *words && words[f.number] != NULL) {
      (void)rh_text_copy(port->type, sizeof port->type, words[f.number]);
    }
  }
}

// ValueInfoProto: name = 1, type = 2. One more port at the end of a list that grows by doubling.
static void read_port(scan *s, const rh_pb_field *value, rh_onnx_port **ports, size_t *count) {
  if (*count >= RH_ONNX_PORTS_MAX) {
    s->too_many = true;
    return;
  }
  if ((*count & (*count - 1)) == 0) {
    rh_onnx_port *larger = realloc(*ports, (*count == 0 ? 1 : *count * 2) * sizeof *larger);
    if (larger == NULL) {
      s->out_of_memory = true;
      return;
    }
    *ports = larger;
  }
  rh_onnx_port *port = &(*ports)[(*count)++];
  *port = (rh_onnx_port){.has_shape = false};
  rh_pb_field f = {.number = 0};
  for (int64_t at = value->from; rh_pb_next(&s->pb, &at, value->to, &f);) {
    if (f.number == 1 && !rh_pb_text(&s->pb, &f, port->name, sizeof port->name)) port->name[0] = '\0';
    if (f.number == 2 && f.wire == RH_PB_BYTES) read_type(s, &f, port);
  }
}

// --- weights --------------------------------------------------------------------------------------------------------

static int64_t times(int64_t count, uint64_t size) {
  if (size == 0 || count == 0) return 0;
  return size > (uint64_t)(ELEMENTS_MAX / count) ? ELEMENTS_MAX : count * (int64_t)size;
}

static void note_weights(scan *s, uint64_t type, int64_t elements, bool outside) {
  if (type >= TYPES || types[type].bits == 0) return;
  int64_t bytes = (elements * types[type].bits + 7) / 8;
  if (elements >= ELEMENTS_MAX || s->out->parameters > ELEMENTS_MAX) {
    (void)rh_pb_fail(&s->pb, RH_INVALID);  // there is no such model
    return;
  }
  s->out->weights_bytes += bytes;
  if (outside) s->out->outside_bytes += bytes;
  if (type == INT8 || type == UINT8) s->integer_bytes[type == UINT8] += bytes;
  if (type == FLOAT) s->float_bytes[0] += bytes;
  if (type == FLOAT16) s->float_bytes[1] += bytes;
  if (type == BFLOAT16) s->float_bytes[2] += bytes;
  if (type == FLOAT16 || type == BFLOAT16) s->out->half_bytes += bytes;
  if (type == UINT4 || type == INT4) {
    s->nibble_nodes = true;
    s->nibble_bits = 4;
  }
  s->out->parameters += elements;
}

// TensorProto: dims = 1 (repeated, packed or not), data_type = 2, data_location = 14 (EXTERNAL = 1).
static void read_tensor(scan *s, const rh_pb_field *tensor) {
  int64_t elements = 1;
  uint64_t type = 0, value;
  bool outside = false;
  rh_pb_field f = {.number = 0};
  for (int64_t at = tensor->from; rh_pb_next(&s->pb, &at, tensor->to, &f);) {
    if (f.number == 1 && f.wire == RH_PB_VARINT) elements = times(elements, f.value);
    for (int64_t inner = f.from; f.number == 1 && f.wire == RH_PB_BYTES && inner < f.to;) {
      if (!rh_pb_varint(&s->pb, &inner, f.to, &value)) return;
      elements = times(elements, value);
    }
    if (f.number == 2 && f.wire == RH_PB_VARINT) type = f.value;
    if (f.number == 14 && f.wire == RH_PB_VARINT) outside = f.value == 1;
  }
  note_weights(s, type, elements, outside);
}

// --- nodes ----------------------------------------------------------------------------------------------------------

static void scan_graph(scan *s, const rh_pb_field *graph, unsigned depth);

// AttributeProto: name = 1, i = 3, t = 5, g = 6, graphs = 11. The value of an integer with the name `wanted` into *out.
static void read_attribute(scan *s, const rh_pb_field *attribute, unsigned depth, const char *wanted, int64_t *out) {
  char name[16] = "";
  rh_pb_field f = {.number = 0};
  for (int64_t at = attribute->from; rh_pb_next(&s->pb, &at, attribute->to, &f);) {
    if (f.number == 1 && !rh_pb_text(&s->pb, &f, name, sizeof name)) name[0] = '\0';
    if (f.number == 3 && f.wire == RH_PB_VARINT && strcmp(name, wanted) == 0) *out = (int64_t)f.value;
    if (f.wire != RH_PB_BYTES) continue;
    if (f.number == 5) read_tensor(s, &f);
    if (f.number == 6 || f.number == 11) scan_graph(s, &f, depth + 1);
  }
}

// Operators that compute with integers, ONNX's own and ONNX Runtime's.
static bool is_integer_operator(const char *op) {
  static const char *const words[] = {
      "MatMulInteger", "ConvInteger", "DynamicQuantize", "QuantizeLinear",           "DequantizeLinear",
      "QLinear",       "QAttention",  "QGemm",           "QEmbedLayerNormalization", "QOrdered",
      "QMoE"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (rh_text_starts_with(op, words[i])) return true;
  }
  return false;
}

// NodeProto: op_type = 4, attribute = 5.
static void read_node(scan *s, const rh_pb_field *node, unsigned depth) {
  char op[64] = "";
  int64_t bits = 4;
  rh_pb_field f = {.number = 0};
  s->out->nodes++;
  for (int64_t at = node->from; rh_pb_next(&s->pb, &at, node->to, &f);) {
    if (f.number == 4 && !rh_pb_text(&s->pb, &f, op, sizeof op)) op[0] = '\0';
    if (f.number == 5 && f.wire == RH_PB_BYTES) read_attribute(s, &f, depth, "bits", &bits);
  }
  if (is_integer_operator(op)) s->integer_nodes = true;
  if (rh_text_starts_with(op, "DynamicQuantize")) s->dynamic_nodes = true;
  if (rh_text_starts_with(op, "QuantizeLinear") || rh_text_starts_with(op, "QLinear")) s->fixed_nodes = true;
  if (strcmp(op, "MatMulNBits") == 0 || strcmp(op, "GatherBlockQuantized") == 0) {
    s->nibble_nodes = true;
    if (bits >= 1 && bits <= 8) s->nibble_bits = bits;
  }
}

static void drop_port(scan *s, const char *name) {
  for (size_t i = 0; i < s->out->input_count; i++) {
    if (strcmp(s->out->inputs[i].name, name) != 0) continue;
    memmove(&s->out->inputs[i], &s->out->inputs[i + 1], (--s->out->input_count - i) * sizeof *s->out->inputs);
    return;
  }
}

// Older exporters list weights among the inputs too. TensorProto: name = 8.
static void drop_weights(scan *s, const rh_pb_field *graph) {
  char name[128];
  rh_pb_field f = {.number = 0}, inner = {.number = 0};
  for (int64_t at = graph->from; s->out->input_count > 0 && rh_pb_next(&s->pb, &at, graph->to, &f);) {
    if (f.number != 5 || f.wire != RH_PB_BYTES) continue;
    for (int64_t in = f.from; rh_pb_next(&s->pb, &in, f.to, &inner);) {
      if (inner.number == 8 && rh_pb_text(&s->pb, &inner, name, sizeof name)) drop_port(s, name);
    }
  }
}

// GraphProto: node = 1, initializer = 5, input = 11, output = 12.
static void scan_graph(scan *s, const rh_pb_field *graph, unsigned depth) {
  rh_pb_field f = {.number = 0};
  if (depth >= DEPTH_MAX) {
    (void)rh_pb_fail(&s->pb, RH_INVALID);
    return;
  }
  for (int64_t at = graph->from; rh_pb_next(&s->pb, &at, graph->to, &f);) {
    if (f.wire != RH_PB_BYTES) continue;
    if (f.number == 1) read_node(s, &f, depth);
    if (f.number == 5) read_tensor(s, &f);
    if (depth > 0) continue;
    if (f.number == 11) read_port(s, &f, &s->out->inputs, &s->out->input_count);
    if (f.number == 12) read_port(s, &f, &s->out->outputs, &s->out->output_count);
  }
}

// --- the model ------------------------------------------------------------------------------------------------------

// OperatorSetIdProto: domain = 1, version = 2.
static void read_opset(scan *s, const rh_pb_field *opset) {
  char domain[64] = "";
  int64_t version = 0;
  rh_pb_field f = {.number = 0};
  for (int64_t at = opset->from; rh_pb_next(&s->pb, &at, opset->to, &f);) {
    if (f.number == 1 && !rh_pb_text(&s->pb, &f, domain, sizeof domain)) domain[0] = '\0';
    if (f.number == 2 && f.wire == RH_PB_VARINT) version = (int64_t)f.value;
  }
  if (domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0) {
    s->out->opset = version;
    return;
  }
  size_t used = strlen(s->out->operators);
  (void)snprintf(s->out->operators + used, sizeof s->out->operators - used, "%s%s %lld", used > 0 ? ", " : "", domain,
                 (long long)version);
}

// ModelProto: ir_version = 1, producer_name = 2, producer_version = 3, graph = 7, opset_import = 8.
static void scan_model(scan *s) {
  char version[32] = "", producer[60] = "";
  rh_pb_field f = {.number = 0};
  for (int64_t at = 0; rh_pb_next(&s->pb, &at, s->pb.source->size, &f);) {
    if (f.number == 1 && f.wire == RH_PB_VARINT) s->out->ir_version = (int64_t)f.value;
    if (f.wire != RH_PB_BYTES) continue;
    if (f.number == 2 && !rh_pb_text(&s->pb, &f, producer, sizeof producer)) producer[0] = '\0';
    if (f.number == 3 && !rh_pb_text(&s->pb, &f, version, sizeof version)) version[0] = '\0';
    if (f.number == 8) read_opset(s, &f);
    if (f.number != 7) continue;
    s->has_graph = true;
    scan_graph(s, &f, 0);
    drop_weights(s, &f);
  }
  (void)snprintf(s->out->producer, sizeof s->out->producer, "%s%s%s", producer, version[0] != '\0' ? " " : "", version);
}

static void judge(scan *s) {
  rh_onnx_summary *out = s->out;
  const char *word = "float32";
  int64_t integers = s->integer_bytes[0] + s->integer_bytes[1];
  out->dynamic = s->dynamic_nodes && !s->nibble_nodes && integers > 0;
  out->fixed = s->fixed_nodes && !out->dynamic && !s->nibble_nodes && integers > 0;
  out->quantized = s->nibble_nodes || (s->integer_nodes && integers > 0);
  if (s->float_bytes[1] > s->float_bytes[0]) word = "float16";
  if (s->float_bytes[2] > s->float_bytes[0] && s->float_bytes[2] > s->float_bytes[1]) word = "bfloat16";
  if (out->quantized) word = s->integer_bytes[1] > s->integer_bytes[0] ? "uint8" : "int8";
  if (s->nibble_nodes) {
    (void)snprintf(out->quantization, sizeof out->quantization, "int%lld", (long long)s->nibble_bits);
    // Weights of a few bits are packed into bytes.
    out->parameters += s->integer_bytes[1] * 8 / s->nibble_bits - s->integer_bytes[1];
  } else if (out->quantized || out->weights_bytes > 0) {
    (void)rh_text_copy(out->quantization, sizeof out->quantization, word);
  }
}

static rh_status summarize(const rh_format_source *source, rh_onnx_summary *out, rh_error *error) {
  scan s = {.out = out, .nibble_bits = 4};
  *out = (rh_onnx_summary){.ir_version = 0};
  if (!rh_pb_open(&s.pb, source)) return rh_fail(error, RH_NO_MEMORY, "no memory to look at the graph");
  scan_model(&s);
  rh_status status = s.out_of_memory ? RH_NO_MEMORY : s.too_many ? RH_TOO_LARGE : s.pb.status;
  rh_pb_close(&s.pb);
  if (status == RH_OK && !s.has_graph) status = RH_UNSUPPORTED;
  if (status == RH_OK) {
    judge(&s);
    return RH_OK;
  }
  rh_onnx_summary_free(out);
  return rh_fail(error, status, "%s",
                 status == RH_TOO_LARGE     ? "the graph has too many inputs or outputs"
                 : status == RH_UNSUPPORTED ? "it is no ONNX graph"
                 : status == RH_NO_MEMORY   ? "no memory to look at the graph"
                                            : "the ONNX graph is damaged or cannot be read");
}

rh_status rh_onnx_summarize(const rh_format_source *source, rh_onnx_summary *out, rh_error *error) {
  assert(source != NULL && out != NULL);
  return summarize(source, out, error);
}

rh_status rh_onnx_read_summary(const char *path, rh_onnx_summary *out, rh_error *error) {
  rh_format_file file;
  rh_error inner = {0};
  *out = (rh_onnx_summary){.ir_version = 0};
  rh_status status = rh_format_file_open(path, &file, error);
  if (status != RH_OK) return status;
  status = summarize(&file.source, out, &inner);
  rh_format_file_close(&file);
  return status == RH_OK ? RH_OK : rh_fail(error, status, "%s: %s", path, inner.message);
}

void rh_onnx_summary_free(rh_onnx_summary *summary) {
  free(summary->inputs);
  free(summary->outputs);
  summary->inputs = summary->outputs = NULL;
  summary->input_count = summary->output_count = 0;
}

void rh_onnx_quantization_text(const rh_onnx_summary *summary, char *out, size_t size) {
  static const struct {
    const char *long_word, *word;
  } floats[] = {{"float32", "fp32"}, {"float16", "fp16"}, {"bfloat16", "bf16"}};
  const char *word = summary->quantization;
  for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
    if (strcmp(word, floats[i].long_word) == 0) word = floats[i].word;
  }
  (void)snprintf(out, size, "%s%s", word, summary->dynamic ? " dynamic" : summary->fixed ? " static" : "");
}

void rh_onnx_port_text(const rh_onnx_port *port, char *out, size_t size) {
  int wrote = snprintf(out, size, "%s %s%s", port->name, port->type, port->has_shape ? "[" : "");
  size_t used = wrote > 0 ? (size_t)wrote : 0;
  for (size_t i = 0; port->has_shape && i < port->rank && used < size; i++) {
    const char *comma = i > 0 ? "," : "";
    wrote = port->shape[i] >= 0
                ? snprintf(out + used, size - used, "%s%lld", comma, (long long)port->shape[i])
                : snprintf(out + used, size - used, "%s%s", comma, port->words[i][0] != '\0' ? port->words[i] : "?");
    used += wrote > 0 ? (size_t)wrote : 0;
  }
  if (port->has_shape && used < size) (void)snprintf(out + used, size - used, "]");
}
