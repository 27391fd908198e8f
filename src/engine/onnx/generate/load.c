// SPDX-License-Identifier: Apache-2.0
//
// Purpose: from a decoder's graph and its files to a generator, and back to nothing.
// Data owned: builds and frees engine->generator with all it holds.
// Threads: the engine thread.
// Not here: the session, which is there before and stays longer (engine/onnx/load.c).
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "engine/onnx/generate/generate.h"
#include "flow/decoder_sizes.h"

static rh_status out_of_range(const char *name, int64_t value, int64_t max, rh_error *error) {
  return rh_fail_param(error, RH_INVALID, name, "%s is %lld, but must be between 0 and %lld (0 = choose for me)", name,
                       (long long)value, (long long)max);
}

static int64_t token_bytes(const rh_gen_ports *ports) {
  int64_t bytes = 0;
  for (size_t i = 0; i < ports->kv_count; i++) bytes += ports->kv[i].heads * ports->kv[i].width;
  return bytes * (int64_t)rh_dtype_bytes(ports->kv_type);
}

static rh_status choose_sizes(rh_engine *engine, rh_error *error) {
  rh_generator *generator = engine->generator;
  const rh_load_options *options = &engine->options;
  int64_t trained = generator->files.context_trained;
  int64_t most = trained > 0 ? trained : RH_GEN_CONTEXT_MAX;
  int64_t usual = trained > 0 && trained < RH_DECODER_CONTEXT_DEFAULT ? trained : RH_DECODER_CONTEXT_DEFAULT;
  if (options->context < 0 || options->context > most) {
    return out_of_range("context", options->context, most, error);
  }
  if (options->slots > RH_GEN_SLOTS_MAX) return out_of_range("slots", options->slots, RH_GEN_SLOTS_MAX, error);
  generator->size.tokens = options->context > 0 ? options->context : usual;
  generator->size.trained = trained;
  int64_t slots =
      options->slots > 0 ? options->slots : rh_decoder_slots(token_bytes(&generator->ports), generator->size.tokens);
  generator->slot_count = (size_t)slots;
  return RH_OK;
}

// Known only after the trial, which tells the logits' width.
static void choose_chunks(rh_generator *generator, const rh_load_options *options) {
  int64_t chunk = options->batch > 0 ? options->batch : RH_DECODER_STEP_DEFAULT;
  int64_t beside = options->prefill_chunk > 0 ? options->prefill_chunk : RH_DECODER_STEP_DEFAULT;
  int64_t bytes = generator->logits_width * (int64_t)rh_dtype_bytes(generator->logits_type);
  int64_t fit = RH_DECODER_LOGITS_BYTES / bytes > 0 ? RH_DECODER_LOGITS_BYTES / bytes : 1;
  int64_t most = generator->ports.kept_logits ? chunk : fit;
  if (generator->whole_prompts) chunk = beside = most = generator->size.tokens;
  if (generator->ports.rows_max > fit) generator->ports.rows_max = fit;
  generator->chunk = chunk < most ? chunk : most;
  generator->chunk_beside = beside < generator->chunk ? beside : generator->chunk;
}

static void copy_token(const rh_tokenizer *tokenizer, int32_t id, char *out, size_t size) {
  size_t length = 0;
  const char *token = id >= 0 ? rh_tokenizer_token(tokenizer, id, &length) : NULL;
  if (token && length < size) memcpy(out, token, length);
}

// Some models' files name no other end than the text's; the usual marks of a turn's end then count as well.
static void guess_ends(rh_generator *generator) {
  static const char *const marks[] = {"<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>"};
  rh_gen_files *files = &generator->files;
  if (files->end_count > 0) return;
  int32_t eos = rh_tokenizer_facts_of(generator->tokenizer)->eos;
  if (eos >= 0) files->ends[files->end_count++] = eos;
  for (size_t i = 0; i < sizeof marks / sizeof marks[0] && files->end_count < RH_GEN_ENDS_MAX; i++) {
    int32_t id = rh_tokenizer_find(generator->tokenizer, marks[i], strlen(marks[i]));
    if (id >= 0 && id != eos && rh_tokenizer_is_special(generator->tokenizer, id)) {
      files->ends[files->end_count++] = id;
    }
  }
}

static rh_status read_texts(rh_engine *engine, rh_error *error) {
  rh_generator *generator = engine->generator;
  rh_error reason = {0};
  rh_status status = rh_tokenizer_open(engine->folder, &generator->tokenizer, error);
  if (status != RH_OK) return status;
  status = rh_encoding_new(&generator->encoding, error);
  if (status != RH_OK) return status;
  const rh_tokenizer_facts *facts = rh_tokenizer_facts_of(generator->tokenizer);
  copy_token(generator->tokenizer, facts->bos, generator->bos, sizeof generator->bos);
  copy_token(generator->tokenizer, facts->eos, generator->eos, sizeof generator->eos);
  copy_token(generator->tokenizer, facts->unk, generator->unk, sizeof generator->unk);
  copy_token(generator->tokenizer, facts->pad, generator->pad, sizeof generator->pad);
  guess_ends(generator);
  if (generator->files.end_count == 0) {
    return rh_fail(error, RH_UNSUPPORTED, "no file of the model says which token ends a text");
  }
  // Without a template the model completes texts, but holds no chats.
  status = rh_chat_template_open(engine->folder, &generator->chat_template, &reason);
  if (status == RH_NO_MEMORY) return rh_fail(error, status, "%s", reason.message);
  if (status != RH_OK && status != RH_NOT_FOUND) {
    (void)rh_text_copy(generator->template_reason, sizeof generator->template_reason, reason.message);
    RH_LOG(RH_LOG_WARN, "the chat template cannot be used", rh_log_str("model", engine->name),
           rh_log_str("reason", reason.message));
  }
  return RH_OK;
}

// Where keys and values stay between calls. Of other devices' memory nothing is known here: they are copied at each call.
static rh_status find_memory(rh_engine *engine, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  generator->on_cpu = strcmp(engine->device, "cpu") == 0;
  bool cuda = rh_text_starts_with(engine->device, "cuda") || rh_text_starts_with(engine->device, "tensorrt");
  generator->may_share = generator->on_cpu || cuda;
  OrtStatus *failed = api->CreateIoBinding(engine->session, &generator->binding);
  if (!failed && cuda) {
    failed = api->CreateMemoryInfo("Cuda", OrtDeviceAllocator, (int)engine->options.onnx.device_id, OrtMemTypeDefault,
                                   &generator->memory);
  }
  return failed ? rh_ort_fail(failed, RH_LOAD_FAILED, error, engine->name) : RH_OK;
}

// An end that the graph has no row for never comes.
static rh_status check_ends(rh_generator *generator, rh_error *error) {
  rh_gen_files *files = &generator->files;
  size_t kept = 0;
  for (size_t i = 0; i < files->end_count; i++) {
    if (files->ends[i] < generator->size.vocabulary) files->ends[kept++] = files->ends[i];
  }
  int32_t wrong = files->ends[0];
  files->end_count = kept;
  if (kept > 0) return RH_OK;
  return rh_fail(error, RH_UNSUPPORTED, "its files say that token %d ends a text, but there are only %d tokens", wrong,
                 generator->size.vocabulary);
}

static rh_status make_slots(rh_engine *engine, rh_error *error) {
  rh_generator *generator = engine->generator;
  generator->prefixes = calloc(generator->slot_count, sizeof *generator->prefixes);
  generator->places = calloc(generator->slot_count, sizeof *generator->places);
  bool made = generator->prefixes && generator->places;
  for (size_t i = 0; made && i < generator->slot_count; i++) {
    generator->prefixes[i].tokens = malloc((size_t)generator->size.tokens * sizeof(int32_t));
    made = generator->prefixes[i].tokens != NULL;
  }
  if (generator->logits_type != RH_DTYPE_F32) {
    generator->floats = malloc((size_t)generator->logits_width * sizeof(float));
    made = made && generator->floats;
  }
  return made ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for the slots of %s", engine->name);
}

static rh_status build(rh_engine *engine, rh_error *error) {
  rh_generator *generator = engine->generator;
  rh_status status = rh_gen_files_read(engine->folder, &generator->files, error);
  if (status == RH_OK) status = read_texts(engine, error);
  if (status == RH_OK) status = choose_sizes(engine, error);
  if (status == RH_OK) status = find_memory(engine, error);
  if (status == RH_OK) status = rh_gen_try(engine, error);
  if (status != RH_OK) return status;
  int64_t words = rh_tokenizer_size(generator->tokenizer);
  generator->size.vocabulary = (int32_t)(generator->logits_width < words ? generator->logits_width : words);
  choose_chunks(generator, &engine->options);
  status = check_ends(generator, error);
  if (status == RH_OK) status = make_slots(engine, error);
  if (status == RH_OK) status = generator->cache->make(engine, error);
  return status;
}

rh_status rh_gen_make(rh_engine *engine, rh_error *error) {
  rh_gen_ports ports;
  rh_error reason = {0};
  rh_status status = rh_gen_ports_find(engine, &ports, &reason);
  if (status == RH_OK) {
    rh_generator *generator = calloc(1, sizeof *generator);
    if (!generator) return rh_fail(error, RH_NO_MEMORY, "no memory to load %s", engine->name);
    generator->ports = ports;
    rh_list_init(&generator->running);
    engine->generator = generator;
    status = build(engine, &reason);
    if (status != RH_OK) rh_gen_free(engine);
  }
  if (status == RH_OK) {
    RH_LOG(RH_LOG_INFO, "a decoder is ready", rh_log_str("graph", engine->name),
           rh_log_str("cache", engine->generator->cache->name), rh_log_int("context", engine->generator->size.tokens),
           rh_log_int("ends", (int64_t)engine->generator->files.end_count));
    return RH_OK;
  }
  // Such a graph can still be run with tensors of the client's own.
  if (status == RH_UNSUPPORTED || status == RH_NOT_FOUND) {
    (void)rh_text_copy(engine->not_generator, sizeof engine->not_generator, reason.message);
    return RH_OK;
  }
  if (error) *error = reason;
  return status;
}

void rh_gen_free(rh_engine *engine) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  if (!generator) return;
  generator->leaving = true;
  rh_list_each(&generator->running, node) rh_gen_end(engine, rh_list_entry(node, rh_sequence, node));
  rh_pass_forget(engine);
  if (generator->binding) api->ReleaseIoBinding(generator->binding);
  if (generator->cache && generator->cache->free) generator->cache->free(engine);
  if (generator->memory) api->ReleaseMemoryInfo(generator->memory);
  for (size_t i = 0; generator->prefixes && i < generator->slot_count; i++) free(generator->prefixes[i].tokens);
  free(generator->prefixes);
  free(generator->places);
  free(generator->pass.tokens);
  free(generator->words);
  free(generator->floats);
  rh_encoding_free(generator->encoding);
  rh_tokenizer_close(generator->tokenizer);
  rh_template_free(generator->chat_template);
  free(generator);
  engine->generator = NULL;
}
