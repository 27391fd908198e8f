// SPDX-License-Identifier: Apache-2.0
//
// The fake engine: a deterministic stand-in for a model, steered by its path and by directives in the prompt
// (fake/script.h, fake/README.md), so that wire and fault tests need no model file. It can be slow, large, fail, crash
// and hang.
//
// Owns its slots and their sequences; engine thread only. It deliberately does not sleep in step(): with nothing due it
// says so, and the worker decides how to wait. It never reports cached tokens.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "engine/engine.h"
#include "engine/fake/script.h"

#define PREFILL_CHUNK_DEFAULT 512
#define ALT_NAME_MAX 8

struct rh_engine {
  rh_fake_model model;
  rh_sequence **slots;  // model.slots entries; NULL = free
  int64_t prefill_chunk;
  void *memory;          // model.memory_bytes, or NULL
  rh_fake_infer *infer;  // NULL for a model that generates
  rh_engine_counts counts;
  char alt_names[RH_TOP_LOGPROBS_MAX][ALT_NAME_MAX];
  rh_top_logprob alts[RH_TOP_LOGPROBS_MAX];
};

struct rh_sequence {
  rh_sequence_listener listener;
  rh_fake_script script;  // its `text` is not used after the start: the prompt is gone by then
  rh_fake_speech speech;
  size_t slot;
  int64_t index;  // the next token's number
  int64_t prompt_tokens;
  int64_t prompt_done;
  int32_t top_logprobs;  // -1 = none asked for
  uint64_t due_ns;
  bool paused;
};

// --- faults on demand ----------------------------------------------------------------------------------------------

void rh_fake_sleep_ms(int64_t ms) {
  struct timespec pause_time = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
  while (nanosleep(&pause_time, &pause_time) != 0 && errno == EINTR) {
  }
}

void rh_fake_hang(void) {
  for (;;) pause();
}

// True for the first one who asks. O_EXCL makes "does it exist?" and "create it" one question, so that it is exactly
// one of several workers.
static bool is_first(const char *file) {
  if (file[0] == '\0') return false;
  int fd = open(file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

void rh_fake_crash_unless_exists(const char *file) {
  if (is_first(file)) abort();
}

// --- load ----------------------------------------------------------------------------------------------------------

static rh_status fake_probe(rh_dynbuf *out) {
  return rh_dynbuf_append_text(out,
                               "{\"engine\":\"fake\",\"version\":\"1\",\"available\":true,\"reason\":\"\","
                               "\"devices\":[],\"acceleration\":\"none\"}");
}

static rh_status play_load(const rh_fake_model *model, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                           rh_error *error) {
  rh_fake_crash_unless_exists(model->load_crash_once);
  if (model->load_crash) abort();
  if (model->load_hang) rh_fake_hang();
  const int64_t step_ms = 5;
  for (int64_t done = 0; done < model->load_delay_ms; done += step_ms) {
    if (progress != NULL && !progress(progress_ctx, (double)done / (double)model->load_delay_ms)) {
      return rh_fail(error, RH_CANCELLED, "The load was given up.");
    }
    rh_fake_sleep_ms(model->load_delay_ms - done < step_ms ? model->load_delay_ms - done : step_ms);
  }
  if (model->load_fail || is_first(model->load_fail_once))
    return rh_fail(error, RH_LOAD_FAILED, "the fake engine was told to fail");
  return RH_OK;
}

static void name_alternatives(rh_engine *engine) {
  for (int i = 0; i < RH_TOP_LOGPROBS_MAX; i++) {
    int length = snprintf(engine->alt_names[i], ALT_NAME_MAX, "alt%d", i);
    engine->alts[i] = (rh_top_logprob){
        .token = i, .logprob = -1.0f - (float)i * 0.5f, .bytes = engine->alt_names[i], .length = (size_t)length};
  }
}

static rh_status fake_load(const rh_load *load, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                           rh_engine **out, rh_error *error) {
  rh_fake_model model;
  rh_status status = rh_fake_model_parse(load->path, &load->options, &model, error);
  void *memory = NULL;
  if (status == RH_OK) {
    status = rh_fake_memory_take((size_t)model.memory_bytes, progress, progress_ctx, &memory, error);
  }
  if (status == RH_OK) status = play_load(&model, progress, progress_ctx, error);
  if (status != RH_OK) {
    rh_fake_memory_give(memory, (size_t)model.memory_bytes);
    return status;
  }
  rh_engine *engine = calloc(1, sizeof *engine);
  rh_sequence **slots = calloc((size_t)model.slots, sizeof(rh_sequence *));
  if (engine == NULL || slots == NULL) {
    status =
        rh_fail(error, RH_NO_MEMORY, "There is no memory for the fake engine's %lld slots.", (long long)model.slots);
  }
  if (status == RH_OK) status = rh_fake_infer_new(&model, &engine->infer, error);
  if (status != RH_OK) {
    free(engine);
    free(slots);
    rh_fake_memory_give(memory, (size_t)model.memory_bytes);
    return status;
  }
  engine->model = model;
  engine->slots = slots;
  engine->memory = memory;
  engine->prefill_chunk = load->options.prefill_chunk > 0 ? load->options.prefill_chunk : PREFILL_CHUNK_DEFAULT;
  name_alternatives(engine);
  *out = engine;
  return RH_OK;
}

static void fake_describe(const rh_engine *engine, rh_model_info *info) {
  *info = (rh_model_info){
      .engine = "fake",
      .engine_version = "1",
      .description = "fake engine",
      .architecture = "fake",
      .quantization = "none",
      .device = "cpu",
      .acceleration = "none",
      .context = engine->model.context,
      .context_trained = engine->model.context,
      .slots = engine->model.slots,
      .vocabulary = engine->model.vocabulary,
      .bytes = engine->model.memory_bytes,
      .has_chat_template = engine->infer == NULL && engine->model.has_template,
      .dimensions = engine->model.task == RH_TASK_EMBED ? engine->model.dims : 0,
  };
  if (engine->infer != NULL) (void)rh_text_copy(info->task, sizeof info->task, rh_task_name(engine->model.task));
}

// --- start and stop ------------------------------------------------------------------------------------------------

static int64_t count_words(const char *text) {
  static const char blanks[] = " \t\r\n\v\f";
  int64_t words = 0;
  for (const char *at = text + strspn(text, blanks); *at != '\0'; at += strspn(at, blanks)) {
    words++;
    at += strcspn(at, blanks);
  }
  return words;
}

// Counts the prompt and finds the text that may hold directives (NULL for token prompts).
static rh_status read_prompt(const rh_engine *engine, const rh_prompt *prompt, int64_t *tokens,
                             const char **script_text, rh_error *error) {
  *tokens = 0;
  *script_text = NULL;
  switch (prompt->kind) {
    case RH_PROMPT_MESSAGES:
      if (!engine->model.has_template) {
        return rh_fail_param(error, RH_UNSUPPORTED, "messages",
                             "This model has no chat template; send a prompt instead of messages.");
      }
      for (size_t i = 0; i < prompt->count; i++) *tokens += count_words(prompt->messages[i].content);
      if (prompt->count > 0) *script_text = prompt->messages[prompt->count - 1].content;
      return RH_OK;
    case RH_PROMPT_TEXT:
      *tokens = count_words(prompt->text);
      *script_text = prompt->text;
      return RH_OK;
    case RH_PROMPT_TOKENS:
      *tokens = (int64_t)prompt->count;
      for (size_t i = 0; i < prompt->count; i++) {
        if (prompt->tokens[i] >= 0 && prompt->tokens[i] < engine->model.vocabulary) continue;
        return rh_fail_param(error, RH_INVALID, "prompt", "Token %d is not in this model's vocabulary of %lld.",
                             (int)prompt->tokens[i], (long long)engine->model.vocabulary);
      }
      return RH_OK;
  }
  return rh_fail(error, RH_INTERNAL, "The run has a prompt of an unknown kind.");
}

static rh_sequence *sequence_new(const rh_fake_script *script, const char *prefix) {
  rh_sequence *sequence = calloc(1, sizeof *sequence);
  if (sequence == NULL || !rh_fake_speech_open(&sequence->speech, script, prefix)) {
    free(sequence);
    return NULL;
  }
  sequence->script = *script;
  sequence->script.text = NULL;
  return sequence;
}

static void release(rh_engine *engine, rh_sequence *sequence) {
  assert(engine->slots[sequence->slot] == sequence);
  engine->slots[sequence->slot] = NULL;
  rh_fake_speech_close(&sequence->speech);
  free(sequence);
}

static rh_status fake_start(rh_engine *engine, const rh_run *run, const rh_sequence_listener *listener,
                            rh_sequence **out, int64_t *prompt_tokens, int64_t *cached_tokens, rh_error *error) {
  if (engine->infer != NULL) {
    return rh_fail(error, RH_UNSUPPORTED, "This model does not generate text; it is for the task \"%s\".",
                   rh_task_name(engine->model.task));
  }
  const char *script_text = NULL;
  rh_fake_script script;
  rh_status status = read_prompt(engine, &run->prompt, prompt_tokens, &script_text, error);
  if (status == RH_OK) status = rh_fake_script_parse(script_text, &engine->model.usual, &script, error);
  if (status != RH_OK) return status;
  if (run->prefix != NULL) *prompt_tokens += count_words(run->prefix);
  if (run->generate.ignore_eos) script.end = false;
  if (*prompt_tokens >= engine->model.context) {
    return rh_fail(error, RH_CONTEXT_OVERFLOW,
                   "The prompt has %lld tokens, but the model's context holds %lld, the answer included.",
                   (long long)*prompt_tokens, (long long)engine->model.context);
  }
  size_t slot = 0;
  while (slot < (size_t)engine->model.slots && engine->slots[slot] != NULL) slot++;
  if (slot == (size_t)engine->model.slots) return rh_fail(error, RH_AGAIN, "All slots are taken.");

  rh_sequence *sequence = sequence_new(&script, run->prefix);
  if (sequence == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for one more run.");
  sequence->listener = *listener;
  sequence->slot = slot;
  sequence->prompt_tokens = *prompt_tokens;
  sequence->top_logprobs = run->generate.top_logprobs;
  sequence->due_ns = rh_clock_now_ns() + (uint64_t)script.first_delay_ms * RH_NS_PER_MS;
  engine->slots[slot] = sequence;
  *cached_tokens = 0;
  *out = sequence;
  return RH_OK;
}

static void fake_stop(rh_engine *engine, rh_sequence *sequence) { release(engine, sequence); }

static void fake_pause(rh_engine *engine, rh_sequence *sequence, bool paused) {
  assert(engine->slots[sequence->slot] == sequence);
  (void)engine;
  sequence->paused = paused;
}

// --- step ----------------------------------------------------------------------------------------------------------

// Reads one chunk of the prompt when some is left. True when something was read.
static bool advance_prompt(rh_engine *engine, rh_sequence *sequence) {
  int64_t left = sequence->prompt_tokens - sequence->prompt_done;
  if (left == 0) return false;
  int64_t chunk = left < engine->prefill_chunk ? left : engine->prefill_chunk;
  sequence->prompt_done += chunk;
  engine->counts.prompt_tokens += (uint64_t)chunk;
  if (sequence->listener.prompt_progress != NULL) {
    sequence->listener.prompt_progress(sequence->listener.ctx, sequence->prompt_done, sequence->prompt_tokens);
  }
  return true;
}

static bool play_faults(rh_sequence *sequence) {
  const rh_fake_script *script = &sequence->script;
  if (sequence->index == 0) rh_fake_crash_unless_exists(script->crash_once);
  if (sequence->index == script->crash_at) abort();
  if (sequence->index == script->hang_at) rh_fake_hang();
  if (sequence->index != script->fail_at) return true;
  rh_error error;
  (void)rh_fail(&error, RH_INTERNAL, "the fake engine was told to fail");
  sequence->listener.failed(sequence->listener.ctx, &error);
  return false;
}

// One token. False when the sequence is over.
static bool produce(rh_engine *engine, rh_sequence *sequence) {
  if (!play_faults(sequence)) return false;
  rh_token token = {
      .id = (int32_t)(sequence->index & INT32_MAX), .bytes = "", .end = rh_fake_speech_over(&sequence->speech)};
  if (token.end) {
    (void)sequence->listener.token(sequence->listener.ctx, &token);
    return false;
  }
  if (sequence->prompt_tokens + sequence->index >= engine->model.context) {
    sequence->listener.context_full(sequence->listener.ctx);
    return false;
  }
  rh_fake_speech_next(&sequence->speech, &token.bytes, &token.length);
  if (sequence->top_logprobs >= 0) {
    double confidence = sequence->script.confidence;
    token.logprob = confidence > 0 ? (float)log(confidence) : -0.5f;
    token.top = engine->alts;
    token.top_count = (size_t)sequence->top_logprobs;
    if (token.top_count > RH_TOP_LOGPROBS_MAX) token.top_count = RH_TOP_LOGPROBS_MAX;
  }
  sequence->index++;
  engine->counts.generated_tokens++;
  return sequence->listener.token(sequence->listener.ctx, &token) == RH_NEXT_MORE;
}

static rh_status fake_step(rh_engine *engine, bool *worked, rh_error *error) {
  (void)error;
  *worked = false;
  uint64_t now = rh_clock_now_ns();
  for (size_t i = 0; i < (size_t)engine->model.slots; i++) {
    rh_sequence *sequence = engine->slots[i];
    if (sequence == NULL || sequence->paused) continue;
    if (advance_prompt(engine, sequence)) *worked = true;
    if (sequence->prompt_done < sequence->prompt_tokens) continue;
    // The end token is not worth a pause: it would only make every test one delay longer.
    if (now < sequence->due_ns && !rh_fake_speech_over(&sequence->speech)) continue;
    *worked = true;
    sequence->due_ns = now + (uint64_t)sequence->script.delay_ms * RH_NS_PER_MS;
    if (!produce(engine, sequence)) release(engine, sequence);
  }
  if (*worked) engine->counts.steps++;
  return RH_OK;
}

static void fake_counts(const rh_engine *engine, rh_engine_counts *counts) { *counts = engine->counts; }

static void fake_unload(rh_engine *engine) {
  for (size_t i = 0; i < (size_t)engine->model.slots; i++) {
    if (engine->slots[i] != NULL) release(engine, engine->slots[i]);
  }
  rh_fake_memory_give(engine->memory, (size_t)engine->model.memory_bytes);
  rh_fake_infer_free(engine->infer);
  free(engine->slots);
  free(engine);
}

rh_fake_infer *rh_fake_infer_of(const rh_engine *engine) { return engine->infer; }

static const rh_engine_infer_ops *fake_infer(const rh_engine *engine) {
  return rh_fake_infer_ops_for(engine->model.task);
}

extern const rh_engine_ops rh_engine_fake;

const rh_engine_ops rh_engine_fake = {
    .name = "fake",
    .version = "1",
    .probe = fake_probe,
    .load = fake_load,
    .describe = fake_describe,
    .start = fake_start,
    .stop = fake_stop,
    .pause = fake_pause,
    .step = fake_step,
    .infer = fake_infer,
    .counts = fake_counts,
    .unload = fake_unload,
};
