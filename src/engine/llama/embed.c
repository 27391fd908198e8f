// SPDX-License-Identifier: Apache-2.0
//
// Purpose: models that give one vector, or one row of scores, for a text: GGUF encoders and decoders with a pooling.
// Data owned: in the engine: its context and batch, the scratch of a text's tokens, the text of its configuration.
// Threads: the engine thread.
// Not here: normalization, prompts, cutting of long texts, which texts go together. The task layer does that.
#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/llama/internal.h"

#define TEMPLATE_MAX ((size_t)64 << 20)

// --- what the file says --------------------------------------------------------------------------------------------

static bool read_key(const struct llama_model *model, const char *prefix, const char *key, char *out, size_t size) {
  char name[192];
  (void)snprintf(name, sizeof name, "%s%s", prefix, key);
  return llama_model_meta_val_str(model, name, out, size) >= 0;
}

// An encoder, or a decoder whose file names a way to make one vector of its tokens'.
bool rh_llama_embed_detect(rh_engine *engine) {
  char architecture[64] = "", prefix[80], value[64];
  (void)llama_model_meta_val_str(engine->model, "general.architecture", architecture, sizeof architecture);
  (void)snprintf(prefix, sizeof prefix, "%s.", architecture);
  engine->pooling = LLAMA_POOLING_TYPE_NONE;
  if (read_key(engine->model, prefix, "pooling_type", value, sizeof value)) {
    engine->pooling = (enum llama_pooling_type)strtol(value, NULL, 10);
  }
  bool pools = engine->pooling == LLAMA_POOLING_TYPE_MEAN || engine->pooling == LLAMA_POOLING_TYPE_CLS ||
               engine->pooling == LLAMA_POOLING_TYPE_LAST || engine->pooling == LLAMA_POOLING_TYPE_RANK;
  bool both_ways = read_key(engine->model, prefix, "attention.causal", value, sizeof value) && value[0] == 'f';
  bool encoder = llama_model_has_encoder(engine->model) && !llama_model_has_decoder(engine->model);
  if (llama_model_is_diffusion(engine->model) || (!pools && !both_ways && !encoder)) return false;
  // An encoder whose file does not say: the mean is what most were trained for.
  if (!pools) engine->pooling = LLAMA_POOLING_TYPE_MEAN;
  return true;
}

static rh_status make_config(rh_engine *engine, rh_error *error) {
  bool ranks = engine->pooling == LLAMA_POOLING_TYPE_RANK;
  json_t *labels = json_object();
  for (int32_t i = 0; ranks && i < engine->embedding_width; i++) {
    char key[16], usual[32];
    (void)snprintf(key, sizeof key, "%d", i);
    (void)snprintf(usual, sizeof usual, "LABEL_%d", i);
    const char *label = llama_model_cls_label(engine->model, (uint32_t)i);
    json_object_set_new(labels, key, json_string(label != NULL && label[0] != '\0' ? label : usual));
  }
  // Unless the file says otherwise, vectors have length 1, as llama-server gives them.
  char value[16] = "";
  bool as_they_are =
      read_key(engine->model, "", "roundhouse.embedding.normalize", value, sizeof value) && value[0] == 'f';
  const char *task = !ranks ? "embed" : engine->embedding_width == 1 ? "rerank" : "classify";
  json_t *config = json_pack("{s:o,s:I,s:{s:s,s:b}}", "id2label", labels, "max_position_embeddings",
                             (json_int_t)engine->context_size, "roundhouse", "task", task, "normalize", !as_they_are);
  engine->config = config != NULL ? json_dumps(config, JSON_COMPACT) : NULL;
  json_decref(config);
  return engine->config != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "not enough memory to describe the model");
}

// --- load ----------------------------------------------------------------------------------------------------------

// Tokens of one text: what it was trained or meant for, at most the usual context unless the load asks for more.
static void choose_sizes(rh_engine *engine, const rh_load_options *options) {
  char value[32];
  int64_t most = engine->context_trained > 0 ? engine->context_trained : RH_LLAMA_CONTEXT_DEFAULT;
  if (read_key(engine->model, "", "roundhouse.embedding.max_tokens", value, sizeof value)) {
    int64_t meant = strtoll(value, NULL, 10);
    if (meant > 0 && meant < most) most = meant;
  }
  int64_t wanted = options->context > 0 ? options->context : RH_LLAMA_CONTEXT_DEFAULT;
  engine->context_size = wanted < most ? wanted : most;
  engine->slot_count = options->slots > 0 ? (size_t)options->slots : RH_LLAMA_EMBED_SLOTS;
  // Texts are seen whole, so a batch holds the longest. Many short ones go together up to the usual batch.
  engine->batch_size = options->batch > 0 ? options->batch : RH_LLAMA_BATCH_DEFAULT;
  if (engine->batch_size < engine->context_size) engine->batch_size = engine->context_size;
  engine->texts_max = llama_max_parallel_sequences() < RH_LLAMA_EMBED_TEXTS ? (int32_t)llama_max_parallel_sequences()
                                                                            : RH_LLAMA_EMBED_TEXTS;
}

struct llama_context_params rh_llama_embed_params(rh_engine *engine, const rh_load_options *options) {
  choose_sizes(engine, options);
  struct llama_context_params params = llama_context_default_params();
  params.n_ctx = (uint32_t)engine->batch_size;
  params.n_batch = (uint32_t)engine->batch_size;
  params.n_ubatch = (uint32_t)engine->batch_size;
  params.n_seq_max = (uint32_t)engine->texts_max;
  params.embeddings = true;
  params.pooling_type = engine->pooling;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
  // One long text may take all of the cells, many short ones share them.
  params.kv_unified = true;
  params.no_perf = true;
  return params;
}

rh_status rh_llama_embed_prepare(rh_engine *engine, rh_error *error) {
  engine->embedding_width = engine->pooling == LLAMA_POOLING_TYPE_RANK ? (int32_t)llama_model_n_cls_out(engine->model)
                                                                       : llama_model_n_embd_out(engine->model);
  engine->embeds = true;
  engine->batch = llama_batch_init((int32_t)engine->batch_size, 0, 1);
  if (engine->batch.token == NULL) return rh_fail(error, RH_NO_MEMORY, "not enough memory for a batch");
  if (engine->embedding_width <= 0) {
    return rh_fail(error, RH_UNSUPPORTED, "%s gives no vectors and no scores", engine->name);
  }
  return make_config(engine, error);
}

// --- tokens --------------------------------------------------------------------------------------------------------

static bool text_room(rh_engine *engine, size_t count) {
  if (count <= engine->text_room) return true;
  llama_token *tokens = realloc(engine->text_tokens, count * sizeof *tokens);
  if (tokens == NULL) return false;
  engine->text_tokens = tokens;
  engine->text_room = count;
  return true;
}

// Tokens of a text behind the `used` that are there.
static rh_status append_text(rh_engine *engine, const char *text, size_t length, bool special, size_t *used,
                             rh_error *error) {
  if (length > (size_t)INT32_MAX / 2) return rh_fail_param(error, RH_TOO_LARGE, "input", "the text is too large");
  bool room = text_room(engine, *used + length / 2 + 16);
  int32_t count = 0;
  for (int i = 0; i < 2 && room; i++) {
    count = llama_tokenize(engine->vocab, text, (int32_t)length, engine->text_tokens + *used,
                           (int32_t)(engine->text_room - *used), special, true);
    if (count >= 0 || count == INT32_MIN) break;
    room = text_room(engine, *used + (size_t)-count);
  }
  if (!room) return rh_fail(error, RH_NO_MEMORY, "not enough memory for the tokens of a text");
  if (count < 0) return rh_fail_param(error, RH_TOO_LARGE, "input", "the text has too many tokens");
  *used += (size_t)count;
  return RH_OK;
}

static rh_status append_token(rh_engine *engine, llama_token token, size_t *used, rh_error *error) {
  if (!text_room(engine, *used + 1)) return rh_fail(error, RH_NO_MEMORY, "not enough memory for the tokens of a text");
  engine->text_tokens[(*used)++] = token;
  return RH_OK;
}

// A pair in the words of the model's own template for reranking.
static char *fill_template(const char *form, const char *query, size_t query_length, const char *document,
                           size_t document_length, size_t *length) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, TEMPLATE_MAX);
  while (*form != '\0') {
    if (rh_text_starts_with(form, "{query}")) {
      (void)rh_dynbuf_append(&text, query, query_length);
      form += strlen("{query}");
    } else if (rh_text_starts_with(form, "{document}")) {
      (void)rh_dynbuf_append(&text, document, document_length);
      form += strlen("{document}");
    } else {
      (void)rh_dynbuf_append_char(&text, *form++);
    }
  }
  return rh_dynbuf_take(&text, length);
}

// As llama-server puts a pair together for reranking.
static rh_status tokenize_pair(rh_engine *engine, const char *text, size_t length, const char *pair, size_t pair_length,
                               size_t *used, rh_error *error) {
  const struct llama_vocab *vocab = engine->vocab;
  const char *form = llama_model_chat_template(engine->model, "rerank");
  if (form != NULL) {
    size_t filled_length = 0;
    char *filled = fill_template(form, text, length, pair, pair_length, &filled_length);
    if (filled == NULL) return rh_fail_param(error, RH_TOO_LARGE, "input", "the pair of texts is too large");
    rh_status status = append_text(engine, filled, filled_length, false, used, error);
    free(filled);
    return status;
  }
  llama_token end = llama_vocab_eos(vocab) >= 0 ? llama_vocab_eos(vocab) : llama_vocab_sep(vocab);
  bool ends = llama_vocab_get_add_eos(vocab) && end >= 0;
  rh_status status = RH_OK;
  if (llama_vocab_get_add_bos(vocab)) status = append_token(engine, llama_vocab_bos(vocab), used, error);
  if (status == RH_OK) status = append_text(engine, text, length, false, used, error);
  if (status == RH_OK && ends) status = append_token(engine, end, used, error);
  if (status == RH_OK && llama_vocab_get_add_sep(vocab)) {
    status = append_token(engine, llama_vocab_sep(vocab), used, error);
  }
  if (status == RH_OK) status = append_text(engine, pair, pair_length, false, used, error);
  if (status == RH_OK && ends) status = append_token(engine, end, used, error);
  return status;
}

static rh_status tokenize(rh_engine *engine, const char *text, size_t length, const char *pair, size_t pair_length,
                          bool add_special, rh_token_text *out, rh_error *error) {
  size_t used = 0;
  rh_status status = pair != NULL ? tokenize_pair(engine, text, length, pair, pair_length, &used, error)
                                  : append_text(engine, text, length, add_special, &used, error);
  if (status != RH_OK) return status;
  const struct llama_vocab *vocab = engine->vocab;
  bool pieces = llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_WPM;  // [CLS] and [SEP], whatever the flags say
  bool head = add_special && (pieces || llama_vocab_get_add_bos(vocab));
  bool tail = add_special && (pieces || llama_vocab_get_add_eos(vocab) || llama_vocab_get_add_sep(vocab));
  if (pair != NULL) tail = used > 0 && llama_vocab_get_add_eos(vocab);
  *out = (rh_token_text){.ids = engine->text_tokens, .count = used, .head = head ? 1 : 0, .tail = tail ? 1 : 0};
  if (out->head + out->tail > used) out->head = out->tail = 0;
  return RH_OK;
}

// --- computing -----------------------------------------------------------------------------------------------------

static void add_row(rh_engine *engine, const rh_token_row *row, llama_seq_id sequence) {
  struct llama_batch *batch = &engine->batch;
  for (size_t i = 0; i < row->count; i++) {
    int32_t at = batch->n_tokens++;
    batch->token[at] = row->ids[i];
    batch->pos[at] = (llama_pos)i;
    batch->n_seq_id[at] = 1;
    batch->seq_id[at][0] = sequence;
    batch->logits[at] = 1;
  }
}

static rh_status compute(rh_engine *engine, size_t texts, float *out, rh_error *error) {
  int32_t result = 0;
  if (engine->memory != NULL) {
    llama_memory_clear(engine->memory, false);
    result = llama_decode(engine->context, engine->batch);
  } else {
    result = llama_encode(engine->context, engine->batch);
  }
  if (result != 0) {
    char reason[512];
    rh_llama_log_reason(reason, sizeof reason, "llama.cpp gave no reason");
    return rh_fail(error, RH_INTERNAL, "llama.cpp could not compute a batch of %zu texts (%d): %s", texts, result,
                   reason);
  }
  size_t width = (size_t)engine->embedding_width;
  for (size_t i = 0; i < texts; i++) {
    const float *vector = llama_get_embeddings_seq(engine->context, (llama_seq_id)i);
    if (vector == NULL) return rh_fail(error, RH_INTERNAL, "llama.cpp gave no vector for a text");
    memcpy(out + i * width, vector, width * sizeof *out);
  }
  return RH_OK;
}

static rh_status embed(rh_engine *engine, const rh_token_row *rows, size_t row_count, float *out, rh_error *error) {
  size_t width = (size_t)engine->embedding_width;
  for (size_t first = 0; first < row_count;) {
    engine->batch.n_tokens = 0;
    size_t next = first;
    while (next < row_count && next - first < (size_t)engine->texts_max) {
      if (rows[next].count > (size_t)engine->batch_size) {
        return rh_fail_param(error, RH_CONTEXT_OVERFLOW, "input", "the text has %zu tokens, but the model takes %lld",
                             rows[next].count, (long long)engine->context_size);
      }
      if (engine->batch.n_tokens + (int64_t)rows[next].count > engine->batch_size) break;
      add_row(engine, &rows[next], (llama_seq_id)(next - first));
      next++;
    }
    rh_status status = compute(engine, next - first, out + first * width, error);
    if (status != RH_OK) return status;
    first = next;
  }
  return RH_OK;
}

rh_status rh_llama_embed_warm_up(rh_engine *engine, rh_error *error) {
  llama_token token = llama_vocab_bos(engine->vocab);
  int32_t id = token >= 0 ? token : 0;
  rh_token_row row = {.ids = &id, .count = 1};
  float *out = malloc((size_t)engine->embedding_width * sizeof *out);
  if (out == NULL) return rh_fail(error, RH_NO_MEMORY, "not enough memory for a vector");
  rh_status status = embed(engine, &row, 1, out, error);
  free(out);
  return status;
}

// --- the table -----------------------------------------------------------------------------------------------------

static const char *no_folder(const rh_engine *engine) {
  (void)engine;
  return NULL;
}

static const char *config_of(const rh_engine *engine) { return engine->config; }

const rh_engine_infer_ops *rh_llama_infer(const rh_engine *engine) {
  static const rh_engine_infer_ops ops = {
      .folder = no_folder, .config = config_of, .tokenize = tokenize, .embed = embed};
  return engine->embeds ? &ops : NULL;
}
