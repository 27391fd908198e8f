// SPDX-License-Identifier: Apache-2.0
//
// Purpose: from the tensors of a folder to those of a GGUF file.
// Data owned: the plan. Threads: one. Not here: reading or writing a single weight.
//
// Llama's rotation of query and key: the original model turns neighbouring numbers of a head (0 with 1, 2 with 3),
// Hugging Face's files have each head's rows sorted so that number i is turned with number i + half. llama.cpp computes
// "llama" the first way, so row i of each half goes back beside its partner.
#include "convert/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

// Tensors beyond one layer come first in a file, and what belongs together lies together.
typedef struct planned {
  rh_plan_tensor tensor;
  int64_t layer;  // -1: of no layer
  ptrdiff_t rule;
} planned;

typedef struct planner {
  const rh_conversion *conversion;
  planned *list;
  size_t count;
  uint8_t *seen;  // [rule * layers + layer]: its weight is there
  size_t rule_count;
} planner;

// Parts that are made anew by every program, belong to training, or are of no use without a head of their own.
static bool superfluous(const rh_arch *arch, const char *name) {
  static const char *const ends[] = {"rotary_emb.inv_freq", "embeddings.position_ids",
                                     ".attention.self.distance_embedding"};
  static const char *const starts[] = {"pooler.",         "cls.", "lm_head.", "vocab_transform.", "vocab_layer_norm.",
                                       "vocab_projector."};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    if (rh_text_ends_with(name, ends[i])) return true;
  }
  for (size_t i = 0; i < sizeof starts / sizeof *starts && arch->family == RH_FAMILY_BERT; i++) {
    if (rh_text_starts_with(name, starts[i])) return true;
  }
  return false;
}

static bool of_images(const char *name) {
  return strstr(name, "vision_tower.") != NULL || strstr(name, "multi_modal_projector.") != NULL;
}

// The name as the rules have it: models are saved with and without the names of what is around them.
static void bare_name(const rh_arch *arch, const char *name, char *out, size_t size) {
  static const char *const bert[] = {"bert.", "distilbert.", "roberta.", "camembert."};
  static const char *const inner[] = {"language_model.model.", "model.language_model."};
  if (arch->family == RH_FAMILY_BERT) {
    for (size_t i = 0; i < sizeof bert / sizeof *bert; i++) {
      if (rh_text_starts_with(name, bert[i])) name += strlen(bert[i]);
    }
    (void)rh_text_copy(out, size, name);
    return;
  }
  for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
    if (!rh_text_starts_with(name, inner[i])) continue;
    (void)snprintf(out, size, "model.%s", name + strlen(inner[i]));
    return;
  }
  if (rh_text_starts_with(name, "language_model.lm_head.")) name += strlen("language_model.");
  bool headless = rh_text_ends_with(arch->name, "Model") && !rh_text_starts_with(name, "model.");
  (void)snprintf(out, size, "%s%s", headless ? "model." : "", name);
}

static enum ggml_type choose_type(const rh_conversion *self, const rh_plan_tensor *tensor, unsigned flags) {
  bool small =
      tensor->dims < 2 || (flags & (RH_RULE_NORM | RH_RULE_F32)) != 0 || !rh_text_ends_with(tensor->name, ".weight");
  if (small) return GGML_TYPE_F32;
  // A row that does not fill whole blocks cannot be quantized.
  if (tensor->ne[0] % ggml_blck_size(self->type) != 0) return GGML_TYPE_F16;
  return self->type;
}

static rh_status set_rotation(const rh_conversion *self, unsigned flags, rh_plan_tensor *tensor, rh_error *error) {
  if (!self->arch->rotate || (flags & (RH_RULE_ROTATE_Q | RH_RULE_ROTATE_K)) == 0) return RH_OK;
  int64_t heads = (flags & RH_RULE_ROTATE_Q) != 0 ? self->hparams.heads : self->hparams.heads_kv;
  int64_t rows = tensor->dims == 1 ? tensor->ne[0] : tensor->ne[1];
  if (rows != heads * self->hparams.head_dim || self->hparams.head_dim % 2 != 0)
    return rh_fail(error, RH_INVALID, "%s has %lld rows, which are not %lld heads of %lld numbers",
                   tensor->source->info->name, (long long)rows, (long long)heads, (long long)self->hparams.head_dim);
  tensor->rotate_head = self->hparams.head_dim;
  return RH_OK;
}

static rh_status set_shape(const rh_conversion *self, unsigned flags, rh_plan_tensor *tensor, rh_error *error) {
  const rh_safetensor *info = tensor->source->info;
  if (info->dims < 1 || info->dims > 2 || info->elements == 0)
    return rh_fail(error, RH_UNSUPPORTED, "tensor %s has %u dimensions or is empty; 1 or 2 can be converted",
                   info->name, info->dims);
  if (info->dtype == RH_DTYPE_OTHER)
    return rh_fail(error, RH_UNSUPPORTED,
                   "tensor %s is of type %s; F32, F16 and BF16 can be converted. Is it quantized already?", info->name,
                   info->dtype_name);
  tensor->dims = info->dims;
  for (unsigned i = 0; i < 4; i++) tensor->ne[i] = i < info->dims ? info->shape[info->dims - 1 - i] : 1;
  if ((flags & RH_RULE_POSITIONS) != 0) {
    tensor->row_first = self->hparams.position_first;
    if (tensor->row_first >= tensor->ne[1]) return rh_fail(error, RH_INVALID, "tensor %s has too few rows", info->name);
    tensor->ne[1] -= tensor->row_first;
  }
  return set_rotation(self, flags, tensor, error);
}

static bool left_out(const rh_conversion *self, unsigned flags) {
  return (flags & RH_RULE_OUTPUT) != 0 && self->hparams.tied;
}

static rh_status add_tensor(planner *self, const rh_source_tensor *source, rh_error *error) {
  const rh_conversion *conversion = self->conversion;
  const rh_hparams *h = &conversion->hparams;
  char bare[512];
  planned *entry = &self->list[self->count];
  *entry = (planned){.tensor.source = source};
  bare_name(conversion->arch, source->info->name, bare, sizeof bare);
  const rh_tensor_rule *rule =
      rh_arch_match(conversion->arch, bare, &entry->layer, entry->tensor.name, sizeof entry->tensor.name);
  if (rule == NULL) {
    if (superfluous(conversion->arch, bare) || of_images(source->info->name)) return RH_OK;
    return rh_fail(error, RH_UNSUPPORTED, "tensor %s has no place in a %s model; is config.json that of these weights?",
                   source->info->name, conversion->arch->name);
  }
  if (left_out(conversion, rule->flags)) return RH_OK;
  if (entry->layer >= h->layers)
    return rh_fail(error, RH_INVALID, "tensor %s belongs to layer %lld, but config.json has %lld layers",
                   source->info->name, (long long)entry->layer, (long long)h->layers);
  entry->rule = rule - conversion->arch->rules;
  rh_status status = set_shape(conversion, rule->flags, &entry->tensor, error);
  if (status != RH_OK) return status;
  entry->tensor.type = choose_type(conversion, &entry->tensor, rule->flags);
  bool weight = rh_text_ends_with(entry->tensor.name, ".weight");
  if (conversion->arch->norm_plus_one && (rule->flags & RH_RULE_NORM) != 0) entry->tensor.add = 1.0F;
  if (weight) self->seen[entry->rule * h->layers + (entry->layer < 0 ? 0 : entry->layer)] = 1;
  self->count++;
  return RH_OK;
}

static rh_status check_complete(const planner *self, rh_error *error) {
  const rh_conversion *conversion = self->conversion;
  int64_t layers = conversion->hparams.layers;
  for (size_t i = 0; i < self->rule_count; i++) {
    const rh_tensor_rule *rule = &conversion->arch->rules[i];
    bool in_layers = strchr(rule->from, '#') != NULL;
    if ((rule->flags & RH_RULE_OUTPUT) != 0 && !conversion->hparams.tied && self->seen[(int64_t)i * layers] == 0)
      rh_report_warning(conversion->report, "there is no %s.weight: the embeddings are used for the output too",
                        rule->from);
    if ((rule->flags & RH_RULE_NEEDED) == 0) continue;
    for (int64_t layer = 0; layer < (in_layers ? layers : 1); layer++) {
      if (self->seen[(int64_t)i * layers + layer] != 0) continue;
      if (!in_layers) return rh_fail(error, RH_INVALID, "the weights lack %s.weight", rule->from);
      return rh_fail(error, RH_INVALID, "the weights lack %s.weight of layer %lld", rule->from, (long long)layer);
    }
  }
  return RH_OK;
}

// Embedding first, then layer by layer, then the rest: the order in which a model is read.
static int64_t group_of(const planned *entry) {
  if (entry->layer >= 0) return 1;
  return entry->rule < 4 ? 0 : 2;
}

static int in_order(const void *left, const void *right) {
  const planned *a = left, *b = right;
  int64_t ga = group_of(a), gb = group_of(b);
  if (ga != gb) return ga < gb ? -1 : 1;
  if (a->layer != b->layer) return a->layer < b->layer ? -1 : 1;
  if (a->rule != b->rule) return a->rule < b->rule ? -1 : 1;
  return strcmp(a->tensor.name, b->tensor.name);
}

static rh_status check_unique(const planner *self, rh_error *error) {
  for (size_t i = 1; i < self->count; i++) {
    if (strcmp(self->list[i - 1].tensor.name, self->list[i].tensor.name) == 0)
      return rh_fail(error, RH_INVALID, "%s and %s are the same tensor by two names",
                     self->list[i - 1].tensor.source->info->name, self->list[i].tensor.source->info->name);
  }
  return RH_OK;
}

// The factors of scaled positions go before everything else.
static rh_status finish(const planner *self, rh_plan *out, rh_error *error) {
  rh_rope_factors factors;
  rh_status status = rh_rope_factors_make(self->conversion, &factors, error);
  if (status == RH_OK) {
    out->tensors = calloc(self->count + factors.tensors + 1, sizeof *out->tensors);
    if (out->tensors == NULL) status = rh_fail(error, RH_NO_MEMORY, "out of memory for the plan of tensors");
  }
  for (size_t i = 0; status == RH_OK && i < factors.tensors; i++) {
    rh_plan_tensor *tensor = &out->tensors[out->count++];
    *tensor = (rh_plan_tensor){
        .own = factors.values[i], .type = GGML_TYPE_F32, .dims = 1, .ne = {(int64_t)factors.count, 1, 1, 1}};
    factors.values[i] = NULL;
    (void)rh_text_copy(tensor->name, sizeof tensor->name, factors.names[i]);
  }
  for (size_t i = 0; status == RH_OK && i < self->count; i++) out->tensors[out->count++] = self->list[i].tensor;
  rh_rope_factors_free(&factors);
  return status;
}

rh_status rh_plan_make(const rh_conversion *self, rh_plan *out, rh_error *error) {
  *out = (rh_plan){0};
  planner work = {.conversion = self};
  while (self->arch->rules[work.rule_count].from != NULL) work.rule_count++;
  work.list = calloc(self->source->tensor_count + 1, sizeof *work.list);
  work.seen = calloc(work.rule_count * (size_t)self->hparams.layers, 1);
  rh_status status = RH_OK;
  bool images = false;
  if (work.list == NULL || work.seen == NULL)
    status = rh_fail(error, RH_NO_MEMORY, "out of memory for the plan of tensors");
  for (size_t i = 0; status == RH_OK && i < self->source->tensor_count; i++) {
    status = add_tensor(&work, &self->source->tensors[i], error);
    images = images || of_images(self->source->tensors[i].info->name);
  }
  if (status == RH_OK) status = check_complete(&work, error);
  if (status == RH_OK) {
    qsort(work.list, work.count, sizeof *work.list, in_order);
    status = check_unique(&work, error);
  }
  if (status == RH_OK) status = finish(&work, out, error);
  if (status == RH_OK && images)
    rh_report_warning(self->report, "the parts of this model that look at images are left out");
  free(work.list);
  free(work.seen);
  if (status != RH_OK) rh_plan_free(out);
  return status;
}

void rh_plan_free(rh_plan *self) {
  for (size_t i = 0; i < self->count; i++) free(self->tensors[i].own);
  free(self->tensors);
  *self = (rh_plan){0};
}

int64_t rh_plan_row_length(const rh_plan_tensor *tensor) {
  return tensor->dims == 1 && tensor->rotate_head > 0 ? 1 : tensor->ne[0];
}

int64_t rh_plan_rows(const rh_plan_tensor *tensor) {
  return tensor->ne[0] * tensor->ne[1] * tensor->ne[2] * tensor->ne[3] / rh_plan_row_length(tensor);
}

int64_t rh_plan_source_row(const rh_plan_tensor *tensor, int64_t row) {
  int64_t head = tensor->rotate_head;
  if (head == 0) return row + tensor->row_first;
  int64_t first = row / head * head, place = row % head;
  return first + (place % 2) * (head / 2) + place / 2;
}
