// SPDX-License-Identifier: Apache-2.0
//
// What `roundhouse show` says of an ONNX graph: operator sets, quantization, size, inputs and outputs. Owns nothing that
// outlives a call. One thread. It runs nothing: no inference library is opened here.
#include "cli/show_onnx.h"

#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "model/onnx.h"

// {"name", "type", "shape": [1, null, "batch"]}: null = any size.
static json_t *port_json(const rh_onnx_port *port) {
  json_t *object = json_pack("{ssss}", "name", port->name, "type", port->type);
  if (!port->has_shape) return object;
  json_t *shape = json_array();
  for (size_t i = 0; i < port->rank; i++) {
    json_array_append_new(shape, port->shape[i] >= 0         ? json_integer((json_int_t)port->shape[i])
                                 : port->words[i][0] != '\0' ? json_string(port->words[i])
                                                             : json_null());
  }
  json_object_set_new(object, "shape", shape);
  return object;
}

static json_t *ports_json(const rh_onnx_port *ports, size_t count) {
  json_t *array = json_array();
  for (size_t i = 0; i < count; i++) json_array_append_new(array, port_json(&ports[i]));
  return array;
}

void rh_show_add_onnx(json_t *object, const char *path) {
  rh_onnx_summary graph;
  rh_error ignored = {0};
  if (rh_onnx_read_summary(path, &graph, &ignored) != RH_OK) return;
  json_t *onnx = json_pack("{sIsI}", "opset", (json_int_t)graph.opset, "ir_version", (json_int_t)graph.ir_version);
  if (graph.operators[0] != '\0') json_object_set_new(onnx, "other_operators", json_string(graph.operators));
  if (graph.producer[0] != '\0') json_object_set_new(onnx, "producer", json_string(graph.producer));
  json_object_set_new(onnx, "quantized", json_boolean(graph.quantized));
  if (graph.quantization[0] != '\0') json_object_set_new(onnx, "quantization", json_string(graph.quantization));
  json_object_set_new(onnx, "parameters", json_integer((json_int_t)graph.parameters));
  json_object_set_new(onnx, "weights_bytes", json_integer((json_int_t)graph.weights_bytes));
  json_object_set_new(onnx, "nodes", json_integer((json_int_t)graph.nodes));
  json_object_set_new(onnx, "inputs", ports_json(graph.inputs, graph.input_count));
  json_object_set_new(onnx, "outputs", ports_json(graph.outputs, graph.output_count));
  json_object_set_new(object, "onnx", onnx);
  rh_onnx_summary_free(&graph);
}

static void print_port(const json_t *port) {
  const char *words[] = {json_string_value(json_object_get(port, "name")),
                         json_string_value(json_object_get(port, "type"))};
  const json_t *shape = json_object_get(port, "shape");
  size_t i;
  json_t *size;
  fputs("    ", stdout);
  for (i = 0; i < 2 && words[i] != NULL; i++) {
    if (i > 0) fputc(' ', stdout);
    rh_cli_write_text(stdout, words[i], strlen(words[i]));
  }
  if (shape != NULL) fputc('[', stdout);
  json_array_foreach(shape, i, size) {
    const char *word = json_string_value(size);
    if (i > 0) fputc(',', stdout);
    if (json_is_integer(size)) {
      printf("%lld", (long long)json_integer_value(size));
    } else {
      rh_cli_write_text(stdout, word != NULL ? word : "?", strlen(word != NULL ? word : "?"));
    }
  }
  fputs(shape != NULL ? "]\n" : "\n", stdout);
}

void rh_show_print_ports(const char *heading, const json_t *ports) {
  size_t i;
  json_t *port;
  printf("  %s%s%s\n", rh_cli_style(stdout, RH_STYLE_BOLD), heading, rh_cli_style(stdout, RH_STYLE_OFF));
  json_array_foreach(ports, i, port) print_port(port);
}
