// SPDX-License-Identifier: Apache-2.0
//
// Purpose: from a file and options to an engine that can serve, and back to nothing.
// Data owned: builds and frees rh_engine with all it holds.
// Threads: the engine thread. Loading blocks; progress comes from the same thread.
// Not here: fitting a model into too little memory. A load that does not fit fails with llama's own words.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/llama/internal.h"

// llama pads each sequence's share of the cache to this many cells (n_ctx_seq in llama's context).
#define CELL_STEP 256

typedef struct load_progress {
  bool (*report)(void *ctx, double fraction);
  void *ctx;
  bool cancelled;
} load_progress;

static bool on_progress(float fraction, void *ctx) {
  load_progress *progress = ctx;
  if (progress->report && !progress->report(progress->ctx, (double)fraction)) progress->cancelled = true;
  return !progress->cancelled;
}

static rh_status fail_load(rh_error *error, const char *path, const char *what) {
  char reason[512];
  rh_llama_log_reason(reason, sizeof reason, "llama.cpp gave no reason");
  return rh_fail(error, RH_LOAD_FAILED, "%s %s: %s", what, path, reason);
}

static rh_status check_options(const rh_load_options *options, rh_error *error) {
  const struct {
    const char *name;
    int64_t value;
    int64_t max;
  } rows[] = {
      {"context", options->context, INT64_C(1) << 24},
      {"slots", options->slots, (int64_t)llama_max_parallel_sequences()},
      {"threads", options->threads, GGML_MAX_N_THREADS},
      {"batch", options->batch, INT64_C(1) << 16},
      {"prefill_chunk", options->prefill_chunk, INT64_C(1) << 16},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (rows[i].value >= 0 && rows[i].value <= rows[i].max) continue;
    return rh_fail_param(error, RH_INVALID, rows[i].name,
                         "%s is %lld, but must be between 0 and %lld (0 = choose for me)", rows[i].name,
                         (long long)rows[i].value, (long long)rows[i].max);
  }
  return RH_OK;
}

static rh_status load_model(rh_engine *engine, const rh_load *load, load_progress *progress, rh_error *error) {
  struct llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = load->options.gpu_layers < 0 ? -1 : (int32_t)load->options.gpu_layers;
  // Said and not left to llama.cpp, as the kernels give pages of a mapping back.
  if (!engine->on_gpu) params.load_mode = LLAMA_LOAD_MODE_MMAP;
  if (load->options.mlock) params.load_mode = LLAMA_LOAD_MODE_MMAP_MLOCK;
  params.progress_callback = on_progress;
  params.progress_callback_user_data = progress;
  rh_llama_kernels_mapped(params.load_mode == LLAMA_LOAD_MODE_MMAP || params.load_mode == LLAMA_LOAD_MODE_MMAP_MLOCK);
  engine->model = llama_model_load_from_file(load->path, params);
  if (progress->cancelled) return rh_fail(error, RH_CANCELLED, "loading %s was given up", load->path);
  if (!engine->model) return fail_load(error, load->path, "cannot load the model");
  return RH_OK;
}

// Only what this engine can serve: a decoder with a vocabulary, or a model that makes one vector of a text.
static rh_status check_model(rh_engine *engine, rh_error *error) {
  const struct llama_model *model = engine->model;
  engine->vocab = llama_model_get_vocab(model);
  engine->embeds = rh_llama_embed_detect(engine);
  bool generates = llama_model_has_decoder(model) && !llama_model_has_encoder(model);
  if ((!engine->embeds && !generates) || llama_model_is_diffusion(model)) {
    return rh_fail(
        error, RH_UNSUPPORTED,
        "%s is an encoder-decoder or diffusion model; this engine serves models that generate text from left "
        "to right, and models that make embeddings",
        engine->name);
  }
  if (llama_vocab_type(engine->vocab) == LLAMA_VOCAB_TYPE_NONE || llama_vocab_n_tokens(engine->vocab) <= 0) {
    return rh_fail(error, RH_UNSUPPORTED, "%s has no vocabulary and so cannot read text", engine->name);
  }
  engine->vocabulary = llama_vocab_n_tokens(engine->vocab);
  engine->chat_template = llama_model_chat_template(model, NULL);
  if (generates) rh_llama_template_open(engine);
  engine->context_trained = llama_model_n_ctx_train(model);
  engine->sliding_window = llama_model_n_swa(model);
  return RH_OK;
}

static void choose_sizes(rh_engine *engine, const rh_load_options *options) {
  int64_t trained = engine->context_trained > 0 ? engine->context_trained : RH_LLAMA_CONTEXT_DEFAULT;
  engine->context_size = options->context;
  if (engine->context_size == 0) {
    engine->context_size = trained < RH_LLAMA_CONTEXT_DEFAULT ? trained : RH_LLAMA_CONTEXT_DEFAULT;
  }
  engine->slot_count = options->slots > 0 ? (size_t)options->slots : RH_LLAMA_SLOTS_DEFAULT;
  engine->batch_size = options->batch > 0 ? options->batch : RH_LLAMA_BATCH_DEFAULT;
  // Every decoding sequence must find room for its token in one batch.
  if (engine->batch_size < (int64_t)engine->slot_count) engine->batch_size = (int64_t)engine->slot_count;
  engine->prefill_chunk = options->prefill_chunk > 0 ? options->prefill_chunk : RH_LLAMA_CHUNK_DEFAULT;
}

static void set_threads(const rh_engine *engine, const rh_load *load, struct llama_context_params *params) {
  params->n_threads = load->share > 0 && load->share < engine->threads ? load->share : engine->threads;
  params->n_threads_batch = params->n_threads;
}

static rh_status make_embedding_context(rh_engine *engine, const rh_load *load, rh_error *error) {
  struct llama_context_params params = rh_llama_embed_params(engine, &load->options);
  set_threads(engine, load, &params);
  engine->context = llama_init_from_model(engine->model, params);
  if (!engine->context) return fail_load(error, load->path, "cannot make a context for");
  engine->memory = llama_get_memory(engine->context);
  return RH_OK;
}

static rh_status make_context(rh_engine *engine, const rh_load *load, rh_error *error) {
  int64_t cells = (engine->context_size + CELL_STEP - 1) / CELL_STEP * CELL_STEP * (int64_t)engine->slot_count;
  if (cells > INT32_MAX) {
    return rh_fail_param(error, RH_INVALID, "context",
                         "a context of %lld tokens for each of %zu slots is more than "
                         "llama.cpp can address",
                         (long long)engine->context_size, engine->slot_count);
  }
  struct llama_context_params params = llama_context_default_params();
  params.n_ctx = (uint32_t)cells;
  params.n_seq_max = (uint32_t)engine->slot_count;
  params.n_batch = (uint32_t)engine->batch_size;
  params.n_ubatch = RH_LLAMA_UBATCH;
  // At most one position of each sequence needs logits; without this llama reserves room for a whole batch of them.
  params.n_outputs_max = (uint32_t)engine->slot_count;
  params.n_outputs_max_per_seq = 1;
  set_threads(engine, load, &params);
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
  // Each slot has a stream of its own, so that one long conversation does not make the others' attention longer.
  params.kv_unified = false;
  // A window-sized cache for models with sliding-window attention; slots.c knows that old positions may be gone.
  params.swa_full = false;
  params.no_perf = true;
  engine->context = llama_init_from_model(engine->model, params);
  if (!engine->context) return fail_load(error, load->path, "cannot make a context for");
  engine->memory = llama_get_memory(engine->context);
  if (!engine->memory) {
    return rh_fail(error, RH_UNSUPPORTED, "%s keeps no context and names no pooling: it neither generates nor embeds",
                   engine->name);
  }
  assert((int64_t)llama_n_ctx_seq(engine->context) >= engine->context_size);
  if ((int64_t)llama_n_batch(engine->context) < engine->batch_size) {
    engine->batch_size = (int64_t)llama_n_batch(engine->context);
  }
  return RH_OK;
}

// Threads that live as long as the model. Without a pool llama makes and joins threads for every graph.
static void attach_pool(rh_engine *engine) {
  if (!engine->library->threadpool_new) return;
  struct ggml_threadpool_params params = ggml_threadpool_params_default(engine->threads);
  engine->pool = engine->library->threadpool_new(&params);
  if (!engine->pool) {
    RH_LOG(RH_LOG_WARN, "no thread pool; threads are made for each step", rh_log_int("threads", engine->threads));
    return;
  }
  llama_attach_threadpool(engine->context, engine->pool, engine->pool);
}

static rh_status make_slots(rh_engine *engine, rh_error *error) {
  engine->slots = calloc(engine->slot_count, sizeof *engine->slots);
  engine->batch = llama_batch_init((int32_t)engine->batch_size, 0, 1);
  bool ok = engine->slots && engine->batch.token;
  for (size_t i = 0; ok && i < engine->slot_count; i++) {
    engine->slots[i].tokens = malloc((size_t)engine->context_size * sizeof(llama_token));
    ok = engine->slots[i].tokens != NULL;
  }
  if (!ok || rh_llama_vocabulary_scan(engine) != RH_OK) {
    return rh_fail(error, RH_NO_MEMORY, "not enough memory for the slots of %s", engine->name);
  }
  return RH_OK;
}

// One token through the whole model: the weights are paged in and the graphs' memory is in place before the first
// request pays for it, and a model that cannot compute fails here, where the reason belongs.
static rh_status warm_up(rh_engine *engine, const rh_load *load, rh_error *error) {
  llama_token token = llama_vocab_bos(engine->vocab);
  if (token < 0) token = 0;
  int32_t result = llama_decode(engine->context, llama_batch_get_one(&token, 1));
  llama_synchronize(engine->context);
  llama_memory_clear(engine->memory, false);
  if (result != 0) return fail_load(error, load->path, "a first decode failed for");
  return RH_OK;
}

// Others may load or leave at the same time, so this is a measurement with an error, and never below nothing. The
// driver's own context is not in it: asking for the free memory has made it before.
static void measure_vram(rh_engine *engine, int64_t free_before) {
  int64_t free_after = engine->on_gpu ? rh_llama_library_gpu_free_bytes() : 0;
  engine->vram_bytes = engine->on_gpu && free_before > free_after ? free_before - free_after : 0;
}

static rh_status build(rh_engine *engine, const rh_load *load, load_progress *progress, rh_error *error) {
  int64_t wanted = load->options.threads > 0 ? load->options.threads : rh_cores_available();
  engine->threads = (int32_t)(wanted < GGML_MAX_N_THREADS ? wanted : GGML_MAX_N_THREADS);
  int64_t vram_free = engine->on_gpu ? rh_llama_library_gpu_free_bytes() : 0;
  rh_llama_log_forget();
  rh_status status = load_model(engine, load, progress, error);
  if (status == RH_OK) status = check_model(engine, error);
  if (status != RH_OK) return status;
  if (engine->embeds) {
    status = make_embedding_context(engine, load, error);
  } else {
    choose_sizes(engine, &load->options);
    status = make_context(engine, load, error);
  }
  if (status != RH_OK) return status;
  attach_pool(engine);
  status = engine->embeds ? rh_llama_embed_prepare(engine, error) : make_slots(engine, error);
  if (status == RH_OK) status = engine->embeds ? rh_llama_embed_warm_up(engine, error) : warm_up(engine, load, error);
  if (status == RH_OK) measure_vram(engine, vram_free);
  return status;
}

rh_status rh_llama_load(const rh_load *load, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                        rh_engine **out, rh_error *error) {
  assert(load && load->path && out);
  *out = NULL;
  uint64_t begin = rh_clock_now_ns();
  rh_status status = check_options(&load->options, error);
  if (status == RH_OK) status = rh_llama_file_check(load->path, error);
  if (status != RH_OK) return status;
  const rh_llama_library *library = rh_llama_library_get();
  if (!library->has_cpu) {
    return rh_fail(error, RH_LOAD_FAILED,
                   "llama.cpp found no CPU backend in %s; set ROUNDHOUSE_LLAMA_DIR to the folder of libggml-cpu*.so",
                   library->folder);
  }
  rh_engine *engine = calloc(1, sizeof *engine);
  if (!engine) return rh_fail(error, RH_NO_MEMORY, "not enough memory to load %s", load->path);
  engine->library = library;
  rh_list_init(&engine->running);
  const char *slash = strrchr(load->path, '/');
  (void)rh_text_copy(engine->name, sizeof engine->name, slash ? slash + 1 : load->path);
  engine->on_gpu = load->options.gpu_layers != 0 && llama_supports_gpu_offload();
  load_progress report = {.report = progress, .ctx = progress_ctx};
  status = build(engine, load, &report, error);
  if (status != RH_OK) {
    rh_llama_unload(engine);
    return status;
  }
  rh_llama_log_forget();  // what is logged from here on belongs to a step
  engine->load_ms = rh_ns_to_ms(rh_clock_now_ns() - begin);
  *out = engine;
  return RH_OK;
}

void rh_llama_unload(rh_engine *engine) {
  if (!engine) return;
  rh_list_each(&engine->running, node) rh_llama_sequence_free(engine, rh_list_entry(node, rh_sequence, node));
  if (engine->context) llama_free(engine->context);
  // After the context: it still points at the pool.
  if (engine->pool) engine->library->threadpool_free(engine->pool);
  if (engine->model) llama_model_free(engine->model);
  if (engine->batch.token) llama_batch_free(engine->batch);
  for (size_t i = 0; engine->slots && i < engine->slot_count; i++) free(engine->slots[i].tokens);
  free(engine->slots);
  rh_template_free(engine->template);
  free(engine->end_tokens);
  free(engine->pieces);
  free(engine->config);
  free(engine->text_tokens);
  free(engine);
}
