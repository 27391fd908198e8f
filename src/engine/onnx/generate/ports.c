// SPDX-License-Identifier: Apache-2.0
//
// Purpose: is a graph a decoder's, and which of its inputs and outputs is what. The names are those of Hugging Face's exports
// and of onnxruntime-genai's models.
// Data owned: the list of key and value ports, in the engine's arena. Threads: the engine thread.
// Not here: whether past and present may be one buffer; no name tells (trial.c).
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "engine/onnx/generate/generate.h"

static const rh_graph_port *find(const rh_graph_port *ports, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(ports[i].name, name) == 0) return &ports[i];
  }
  return NULL;
}

static rh_status refuse(rh_error *error, const char *what, const char *name) {
  return rh_fail(error, RH_UNSUPPORTED, "%s \"%.64s\"", what, name);
}

// "past_key_values.3.key" -> "present.3.key"; also "past_key_values_3_key" and "past.3.key".
static const rh_graph_port *present_of(const rh_graph *graph, const char *past) {
  static const char *const pasts[] = {"past_key_values", "past"};
  static const char *const presents[] = {"present", "present_key_values"};
  char name[256];
  for (size_t i = 0; i < sizeof pasts / sizeof pasts[0]; i++) {
    if (!rh_text_starts_with(past, pasts[i])) continue;
    for (size_t j = 0; j < sizeof presents / sizeof presents[0]; j++) {
      (void)snprintf(name, sizeof name, "%s%s", presents[j], past + strlen(pasts[i]));
      const rh_graph_port *port = find(graph->outputs, graph->output_count, name);
      if (port) return port;
    }
    return NULL;
  }
  return NULL;
}

static bool is_float(rh_dtype type) { return type == RH_DTYPE_F32 || type == RH_DTYPE_F16 || type == RH_DTYPE_BF16; }

static rh_status add_kv(const rh_graph *graph, const rh_graph_port *past, rh_gen_ports *ports, rh_error *error) {
  const rh_graph_port *present = present_of(graph, past->name);
  if (!present) return refuse(error, "no output goes on from the input", past->name);
  const int64_t most = INT64_C(1) << 20;
  if (past->rank != 4 || present->rank != 4 || past->shape[1] <= 0 || past->shape[1] > most || past->shape[3] <= 0 ||
      past->shape[3] > most) {
    return refuse(error, "keys and values are taken as [rows, heads, positions, width] only, which is not the shape of",
                  past->name);
  }
  if (past->shape[2] >= 0) return refuse(error, "the graph has a fixed number of positions in", past->name);
  if (!is_float(past->type) || present->type != past->type) {
    return refuse(error, "keys and values must be float32, float16 or bfloat16, unlike", past->name);
  }
  if (ports->kv_count > 0 && ports->kv_type != past->type) return refuse(error, "another type has", past->name);
  ports->kv_type = past->type;
  ports->kv[ports->kv_count++] =
      (rh_kv_port){.past = past->name, .present = present->name, .heads = past->shape[1], .width = past->shape[3]};
  if (past->shape[0] == 1) ports->rows_max = 1;
  return RH_OK;
}

typedef struct known_port {
  const char *name;
  size_t place;  // of the pointer in rh_gen_ports
  size_t rank_least, rank_most;
} known_port;

#define PLACE(member) offsetof(rh_gen_ports, member)

static const known_port known[] = {
    {"input_ids", PLACE(ids), 2, 2},
    {"attention_mask", PLACE(mask), 2, 2},
    {"position_ids", PLACE(positions), 2, 2},
    {"token_type_ids", PLACE(types), 2, 2},
    {"cache_position", PLACE(cache_position), 1, 1},
    {"use_cache_branch", PLACE(use_cache), 0, 1},
    {"num_logits_to_keep", PLACE(kept_logits), 0, 1},
    {"logits_to_keep", PLACE(kept_logits), 0, 1},
};

static bool is_whole(rh_dtype type) { return type == RH_DTYPE_I64 || type == RH_DTYPE_I32 || type == RH_DTYPE_BOOL; }

static rh_status add_known(const rh_graph_port *port, rh_gen_ports *ports, rh_error *error) {
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(port->name, known[i].name) != 0) continue;
    if (!is_whole(port->type) || port->rank < known[i].rank_least || port->rank > known[i].rank_most) {
      return refuse(error, "of another type or shape than decoders have is the input", port->name);
    }
    const rh_graph_port *there = NULL;
    memcpy(&there, (char *)ports + known[i].place, sizeof there);
    if (there) return refuse(error, "another input means the same as", port->name);
    memcpy((char *)ports + known[i].place, &port, sizeof port);
    if (port->rank == 2 && port->shape[0] == 1) ports->rows_max = 1;
    return RH_OK;
  }
  return refuse(error, "nothing is known that could be given to the input", port->name);
}

rh_status rh_gen_ports_find(rh_engine *engine, rh_gen_ports *ports, rh_error *error) {
  const rh_graph *graph = &engine->graph;
  *ports = (rh_gen_ports){.rows_max = RH_GEN_SLOTS_MAX};
  ports->logits = find(graph->outputs, graph->output_count, "logits");
  bool tokens = find(graph->inputs, graph->input_count, "input_ids") != NULL;
  bool past = false;
  for (size_t i = 0; i < graph->input_count; i++) past = past || rh_text_starts_with(graph->inputs[i].name, "past");
  if (!tokens || !past || !ports->logits) {
    return rh_fail(error, RH_UNSUPPORTED, "its graph is not a decoder's (input_ids, past keys and values, logits)");
  }
  if (!is_float(ports->logits->type) || ports->logits->rank != 3) return refuse(error, "unknown logits", "logits");
  ports->kv = rh_arena_alloc_array(engine->arena, graph->input_count, sizeof *ports->kv);
  if (!ports->kv) return rh_fail(error, RH_NO_MEMORY, "no memory for the ports of %s", engine->name);
  for (size_t i = 0; i < graph->input_count; i++) {
    const rh_graph_port *port = &graph->inputs[i];
    bool kv = rh_text_starts_with(port->name, "past") && port->rank > 1;
    rh_status status = kv ? add_kv(graph, port, ports, error) : add_known(port, ports, error);
    if (status != RH_OK) return status;
  }
  if (ports->ids->shape[1] >= 0) return refuse(error, "the graph has a fixed number of tokens in", ports->ids->name);
  // Without a mask rows of different lengths cannot be told apart.
  if (!ports->mask || ports->cache_position) ports->rows_max = 1;
  return RH_OK;
}
