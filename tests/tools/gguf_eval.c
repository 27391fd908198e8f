// SPDX-License-Identifier: Apache-2.0
//
// For the conversion's tests: what llama.cpp makes of a GGUF file, number by number. Usage: gguf_eval MODEL.gguf; one JSON
// object a line on standard input, one answer a line on standard output:
//   {"op":"tokenize","text":T,"special":true}  -> {"tokens":[...]}     `special`: with what the model puts around a text
//   {"op":"logits","tokens":[...]}             -> {"logits":[[...],...]}  one row a token
//   {"op":"embed","text":T}                    -> {"embedding":[...]}  pooled as the file says, not normalised
//   {"op":"meta","key":K}                      -> {"value":"..."} or {"value":null}
#include <dlfcn.h>
#include <ggml-backend.h>
#include <jansson.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX 2048

static void fail(const char *what) {
  fprintf(stderr, "gguf_eval: %s\n", what);
  exit(1);
}

static void log_errors(enum ggml_log_level level, const char *text, void *ctx) {
  (void)ctx;
  if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN) fputs(text, stderr);
}

static struct llama_context *make_context(struct llama_model *model, bool embed) {
  struct llama_context_params params = llama_context_default_params();
  int trained = llama_model_n_ctx_train(model);
  params.n_ctx = (uint32_t)(trained < TOKENS_MAX ? trained : TOKENS_MAX);
  params.n_batch = params.n_ubatch = params.n_ctx;
  params.embeddings = embed;
  params.n_threads = params.n_threads_batch = 2;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = params.type_v = GGML_TYPE_F32;
  struct llama_context *context = llama_init_from_model(model, params);
  if (context == NULL) fail("no context");
  return context;
}

static int32_t tokenize(const struct llama_model *model, const json_t *request, llama_token *out) {
  const json_t *text = json_object_get(request, "text");
  if (!json_is_string(text)) fail("no text");
  bool special = !json_is_false(json_object_get(request, "special"));
  int32_t count = llama_tokenize(llama_model_get_vocab(model), json_string_value(text),
                                 (int32_t)json_string_length(text), out, TOKENS_MAX, special, true);
  if (count < 0) fail("too many tokens");
  return count;
}

static json_t *floats(const float *values, int32_t count) {
  json_t *list = json_array();
  for (int32_t i = 0; i < count; i++) json_array_append_new(list, json_real((double)values[i]));
  return list;
}

static void run(struct llama_context *context, const llama_token *tokens, int32_t count, bool encode) {
  struct llama_batch batch = llama_batch_init(count, 0, 1);
  batch.n_tokens = count;
  for (int32_t i = 0; i < count; i++) {
    batch.token[i] = tokens[i];
    batch.pos[i] = i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  if (llama_get_memory(context) != NULL) llama_memory_clear(llama_get_memory(context), true);
  if ((encode ? llama_encode(context, batch) : llama_decode(context, batch)) != 0) fail("the model did not compute");
  llama_batch_free(batch);
}

static json_t *answer_tokens(const struct llama_model *model, const json_t *request) {
  llama_token tokens[TOKENS_MAX];
  int32_t count = tokenize(model, request, tokens);
  json_t *list = json_array();
  for (int32_t i = 0; i < count; i++) json_array_append_new(list, json_integer(tokens[i]));
  return json_pack("{so}", "tokens", list);
}

static json_t *answer_logits(struct llama_model *model, const json_t *request) {
  llama_token tokens[TOKENS_MAX] = {0};
  const json_t *given = json_object_get(request, "tokens");
  int32_t count = (int32_t)json_array_size(given);
  if (count < 1 || count > TOKENS_MAX) fail("no tokens, or too many");
  for (int32_t i = 0; i < count; i++) tokens[i] = (llama_token)json_integer_value(json_array_get(given, (size_t)i));
  struct llama_context *context = make_context(model, false);
  run(context, tokens, count, false);
  json_t *rows = json_array();
  int32_t width = llama_vocab_n_tokens(llama_model_get_vocab(model));
  for (int32_t i = 0; i < count; i++) json_array_append_new(rows, floats(llama_get_logits_ith(context, i), width));
  llama_free(context);
  return json_pack("{so}", "logits", rows);
}

static json_t *answer_embedding(struct llama_model *model, const json_t *request) {
  llama_token tokens[TOKENS_MAX];
  int32_t count = tokenize(model, request, tokens);
  struct llama_context *context = make_context(model, true);
  run(context, tokens, count, true);
  const float *vector = llama_get_embeddings_seq(context, 0);
  if (vector == NULL) fail("the file names no pooling");
  json_t *answer = json_pack("{so}", "embedding", floats(vector, llama_model_n_embd(model)));
  llama_free(context);
  return answer;
}

static json_t *answer_meta(const struct llama_model *model, const json_t *request) {
  char value[65536];
  const char *key = json_string_value(json_object_get(request, "key"));
  if (key == NULL) fail("no key");
  return llama_model_meta_val_str(model, key, value, sizeof value) < 0 ? json_pack("{sn}", "value")
                                                                       : json_pack("{ss}", "value", value);
}

static json_t *answer(struct llama_model *model, const json_t *request) {
  const char *op = json_string_value(json_object_get(request, "op"));
  if (op == NULL) fail("no op");
  if (strcmp(op, "tokenize") == 0) return answer_tokens(model, request);
  if (strcmp(op, "logits") == 0) return answer_logits(model, request);
  if (strcmp(op, "embed") == 0) return answer_embedding(model, request);
  if (strcmp(op, "meta") == 0) return answer_meta(model, request);
  fail("unknown op");
  return NULL;
}

// The processor's libraries lie beside libllama; where they are built in, there are none to load.
static void load_backends(void) {
  Dl_info where = {0};
  void *address = dlsym(RTLD_DEFAULT, "llama_backend_init");
  if (address != NULL && dladdr(address, &where) != 0 && where.dli_fname != NULL) {
    char *folder = strdup(where.dli_fname);
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
    if (slash != NULL) {
      *slash = '\0';
      ggml_backend_load_all_from_path(folder);
    }
    free(folder);
  }
  if (ggml_backend_reg_count() == 0) ggml_backend_load_all();
}

int main(int argc, char **argv) {
  if (argc != 2) fail("say which file");
  llama_log_set(log_errors, NULL);
  load_backends();
  llama_backend_init();
  struct llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  struct llama_model *model = llama_model_load_from_file(argv[1], params);
  if (model == NULL) fail("the file does not load");
  char *line = NULL;
  size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    json_error_t error;
    json_t *request = json_loads(line, 0, &error);
    if (request == NULL) fail(error.text);
    json_t *result = answer(model, request);
    json_dumpf(result, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(result);
    json_decref(request);
  }
  free(line);
  llama_model_free(model);
  llama_backend_free();
  return 0;
}
