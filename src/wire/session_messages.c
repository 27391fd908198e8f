// SPDX-License-Identifier: Apache-2.0
//
// The messages about the worker itself: HELLO, LOAD, LOAD_PROGRESS, LOADED, STATS and PONG, CREDIT.
#include <stddef.h>

#include "wire/internal.h"

rh_status rh_hello_write(rh_dynbuf *out, const rh_hello *hello) {
  return rh_frame_encode_object(out, RH_FRAME_HELLO, 0,
                                json_pack("{s:I,s:s,s:s,s:I}", "version", (json_int_t)hello->version, "name",
                                          hello->name, "engines", hello->engines, "pid", (json_int_t)hello->pid));
}

rh_status rh_hello_read(const rh_frame *frame, rh_hello *hello, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "HELLO", &root, &reader, error);
  if (status != RH_OK) return status;
  *hello = (rh_hello){0};
  int64_t version = rh_frame_reader_int(&reader, "version", -1);
  if (version < 0 || version > UINT32_MAX) rh_frame_reader_fail(&reader, "HELLO without a version");
  hello->version = (uint32_t)version;
  hello->pid = rh_frame_reader_int(&reader, "pid", 0);
  const char *name = rh_frame_reader_string(&reader, "name");
  const char *engines = rh_frame_reader_string(&reader, "engines");
  rh_text_copy(hello->name, sizeof hello->name, name != NULL ? name : "");
  rh_text_copy(hello->engines, sizeof hello->engines, engines != NULL ? engines : "");
  json_decref(root);
  return reader.status;
}

// The options of a load as a table, so that writing and reading cannot drift apart.
typedef struct rh_option_row {
  const char *key;
  size_t offset;
} rh_option_row;

static const rh_option_row load_options[] = {
    {"context", offsetof(rh_load_options, context)},
    {"slots", offsetof(rh_load_options, slots)},
    {"threads", offsetof(rh_load_options, threads)},
    {"batch", offsetof(rh_load_options, batch)},
    {"prefill_chunk", offsetof(rh_load_options, prefill_chunk)},
    {"gpu_layers", offsetof(rh_load_options, gpu_layers)},
};
#define LOAD_OPTION_COUNT (sizeof load_options / sizeof load_options[0])

// What one engine alone knows, as members of an object of its name; those that are 0 are left out.
#define ONNX_ROW(field) \
  { #field, offsetof(rh_onnx_options, field) }
static const rh_option_row onnx_words[] = {
    // of type int
    ONNX_ROW(device),
    ONNX_ROW(optimization),
    ONNX_ROW(parallel),
    ONNX_ROW(no_arena),
    ONNX_ROW(no_memory_pattern),
    ONNX_ROW(keep_optimized),
    ONNX_ROW(exact_growth),
    ONNX_ROW(int8),
};
static const rh_option_row onnx_numbers[] = {
    // of type int64_t
    ONNX_ROW(inter_threads),
    ONNX_ROW(device_id),
    ONNX_ROW(gpu_memory),
};
#define ONNX_WORD_COUNT (sizeof onnx_words / sizeof onnx_words[0])
#define ONNX_NUMBER_COUNT (sizeof onnx_numbers / sizeof onnx_numbers[0])

static json_t *onnx_object(const rh_onnx_options *options) {
  json_t *object = json_object();
  for (size_t i = 0; i < ONNX_WORD_COUNT; i++) {
    const int *field = (const int *)(const void *)((const char *)options + onnx_words[i].offset);
    if (*field != 0) json_object_set_new(object, onnx_words[i].key, json_integer(*field));
  }
  for (size_t i = 0; i < ONNX_NUMBER_COUNT; i++) {
    const int64_t *field = (const int64_t *)(const void *)((const char *)options + onnx_numbers[i].offset);
    if (*field != 0) json_object_set_new(object, onnx_numbers[i].key, json_integer(*field));
  }
  if (options->int8_cosine > 0) json_object_set_new(object, "int8_cosine", json_real(options->int8_cosine));
  return object;
}

static void read_onnx(rh_reader *reader, rh_onnx_options *options) {
  rh_reader inner = *reader;
  inner.object = json_object_get(reader->object, "onnx");
  if (inner.object == NULL) return;
  if (!json_is_object(inner.object)) rh_frame_reader_fail(&inner, "LOAD has onnx options that are no object");
  for (size_t i = 0; i < ONNX_WORD_COUNT; i++) {
    int64_t value = rh_frame_reader_int(&inner, onnx_words[i].key, 0);
    if (value < 0 || value > INT32_MAX) rh_frame_reader_fail(&inner, "LOAD has an onnx option that is out of bounds");
    *(int *)(void *)((char *)options + onnx_words[i].offset) = (int)value;
  }
  for (size_t i = 0; i < ONNX_NUMBER_COUNT; i++) {
    *(int64_t *)(void *)((char *)options + onnx_numbers[i].offset) =
        rh_frame_reader_int(&inner, onnx_numbers[i].key, 0);
  }
  options->int8_cosine = rh_frame_reader_number(&inner, "int8_cosine", 0);
  if (options->device >= RH_DEVICE_COUNT || options->optimization >= RH_ONNX_OPTIMIZE_COUNT ||
      options->int8 >= RH_ONNX_INT8_COUNT) {
    rh_frame_reader_fail(&inner, "LOAD names a device, an optimization or a use of int8 that is not known");
  }
  reader->status = inner.status;
}

// What was found in the files; texts, those that are NULL absent.
static const rh_option_row load_findings[] = {
    {"quantization", offsetof(rh_load, quantization)},
    {"variant", offsetof(rh_load, variant)},
    {"variant_quantization", offsetof(rh_load, variant_quantization)},
};
#define LOAD_FINDING_COUNT (sizeof load_findings / sizeof load_findings[0])

rh_status rh_load_write(rh_dynbuf *out, const rh_load *load) {
  json_t *object = json_pack("{s:s,s:s,s:b,s:i}", "engine", load->engine, "path", load->path, "mlock",
                             (int)load->options.mlock, "share", (int)load->share);
  for (size_t i = 0; object != NULL && i < LOAD_OPTION_COUNT; i++) {
    const int64_t *field = (const int64_t *)(const void *)((const char *)&load->options + load_options[i].offset);
    json_object_set_new(object, load_options[i].key, json_integer(*field));
  }
  for (size_t i = 0; object != NULL && i < LOAD_FINDING_COUNT; i++) {
    const char *text = *(const char *const *)(const void *)((const char *)load + load_findings[i].offset);
    if (text != NULL) json_object_set_new(object, load_findings[i].key, json_string(text));
  }
  json_t *onnx = onnx_object(&load->options.onnx);
  if (object != NULL && json_object_size(onnx) > 0) json_object_set(object, "onnx", onnx);
  json_decref(onnx);
  return rh_frame_encode_object(out, RH_FRAME_LOAD, 0, object);
}

rh_status rh_load_read(const rh_frame *frame, rh_arena *arena, rh_load *load, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "LOAD", &root, &reader, error);
  if (status != RH_OK) return status;
  *load = (rh_load){0};
  load->engine = rh_arena_strdup(arena, rh_frame_reader_string(&reader, "engine"));
  load->path = rh_arena_strdup(arena, rh_frame_reader_string(&reader, "path"));
  if (load->engine == NULL || load->path == NULL) rh_frame_reader_fail(&reader, "LOAD needs an engine and a path");
  for (size_t i = 0; i < LOAD_OPTION_COUNT; i++) {
    int64_t *field = (int64_t *)(void *)((char *)&load->options + load_options[i].offset);
    *field = rh_frame_reader_int(&reader, load_options[i].key, 0);
  }
  for (size_t i = 0; i < LOAD_FINDING_COUNT; i++) {
    const char *text = rh_frame_reader_string(&reader, load_findings[i].key);
    *(const char **)(void *)((char *)load + load_findings[i].offset) =
        text != NULL ? rh_arena_strdup(arena, text) : NULL;
  }
  load->options.mlock = rh_frame_reader_bool(&reader, "mlock", false);
  if (reader.status == RH_OK) read_onnx(&reader, &load->options.onnx);
  int64_t share = rh_frame_reader_int(&reader, "share", 0);
  load->share = share < 0 || share > RH_SHARE_MAX ? 0 : (int32_t)share;
  json_decref(root);
  return reader.status;
}

rh_status rh_load_progress_write(rh_dynbuf *out, double fraction) {
  return rh_frame_encode_object(out, RH_FRAME_LOAD_PROGRESS, 0, json_pack("{s:f}", "fraction", fraction));
}

rh_status rh_load_progress_read(const rh_frame *frame, double *fraction, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "LOAD_PROGRESS", &root, &reader, error);
  if (status != RH_OK) return status;
  double value = rh_frame_reader_number(&reader, "fraction", 0);
  *fraction = value < 0 ? 0 : value > 1 ? 1 : value;
  json_decref(root);
  return reader.status;
}

static const rh_option_row info_integers[] = {
    {"context", offsetof(rh_model_info, context)},       {"context_trained", offsetof(rh_model_info, context_trained)},
    {"slots", offsetof(rh_model_info, slots)},           {"vocabulary", offsetof(rh_model_info, vocabulary)},
    {"parameters", offsetof(rh_model_info, parameters)}, {"bytes", offsetof(rh_model_info, bytes)},
    {"vram_bytes", offsetof(rh_model_info, vram_bytes)}, {"dimensions", offsetof(rh_model_info, dimensions)},
};

typedef struct rh_text_row {
  const char *key;
  size_t offset;
  size_t size;
} rh_text_row;

#define TEXT_ROW(field) \
  { #field, offsetof(rh_model_info, field), sizeof(((rh_model_info *)0)->field) }
static const rh_text_row info_texts[] = {
    TEXT_ROW(engine), TEXT_ROW(engine_version), TEXT_ROW(description), TEXT_ROW(architecture), TEXT_ROW(quantization),
    TEXT_ROW(device), TEXT_ROW(acceleration),   TEXT_ROW(task),        TEXT_ROW(fallback),
};

rh_status rh_loaded_write(rh_dynbuf *out, const rh_model_info *info) {
  json_t *object = json_pack("{s:b,s:f}", "has_chat_template", (int)info->has_chat_template, "load_ms", info->load_ms);
  for (size_t i = 0; object != NULL && i < sizeof info_texts / sizeof info_texts[0]; i++) {
    json_object_set_new(object, info_texts[i].key, json_string((const char *)info + info_texts[i].offset));
  }
  for (size_t i = 0; object != NULL && i < sizeof info_integers / sizeof info_integers[0]; i++) {
    const int64_t *field = (const int64_t *)(const void *)((const char *)info + info_integers[i].offset);
    json_object_set_new(object, info_integers[i].key, json_integer(*field));
  }
  return rh_frame_encode_object(out, RH_FRAME_LOADED, 0, object);
}

rh_status rh_loaded_read(const rh_frame *frame, rh_model_info *info, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "LOADED", &root, &reader, error);
  if (status != RH_OK) return status;
  *info = (rh_model_info){0};
  for (size_t i = 0; i < sizeof info_texts / sizeof info_texts[0]; i++) {
    const char *text = rh_frame_reader_string(&reader, info_texts[i].key);
    rh_text_copy((char *)info + info_texts[i].offset, info_texts[i].size, text != NULL ? text : "");
  }
  for (size_t i = 0; i < sizeof info_integers / sizeof info_integers[0]; i++) {
    int64_t *field = (int64_t *)(void *)((char *)info + info_integers[i].offset);
    *field = rh_frame_reader_int(&reader, info_integers[i].key, 0);
  }
  info->has_chat_template = rh_frame_reader_bool(&reader, "has_chat_template", false);
  info->load_ms = rh_frame_reader_number(&reader, "load_ms", 0);
  if (info->vram_bytes < 0) info->vram_bytes = 0;
  if (info->dimensions < 0) info->dimensions = 0;
  if (reader.status == RH_OK && (info->slots < 1 || info->slots > 4096)) {
    rh_frame_reader_fail(&reader, "LOADED must state 1 to 4096 slots");
  }
  json_decref(root);
  return reader.status;
}

rh_status rh_credit_write(rh_dynbuf *out, uint32_t stream, uint32_t credit) {
  return rh_frame_encode_object(out, RH_FRAME_CREDIT, stream, json_pack("{s:I}", "credit", (json_int_t)credit));
}

rh_status rh_credit_read(const rh_frame *frame, uint32_t *credit, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "CREDIT", &root, &reader, error);
  if (status != RH_OK) return status;
  int64_t value = rh_frame_reader_int(&reader, "credit", -1);
  if (value < 0 || value > 1000000) rh_frame_reader_fail(&reader, "credit must be 0 to 1000000");
  *credit = (uint32_t)value;
  json_decref(root);
  return reader.status;
}

rh_status rh_share_write(rh_dynbuf *out, int32_t threads) {
  return rh_frame_encode_object(out, RH_FRAME_SHARE, 0, json_pack("{s:I}", "threads", (json_int_t)threads));
}

rh_status rh_share_read(const rh_frame *frame, int32_t *threads, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "SHARE", &root, &reader, error);
  if (status != RH_OK) return status;
  int64_t value = rh_frame_reader_int(&reader, "threads", -1);
  if (value < 0 || value > RH_SHARE_MAX) rh_frame_reader_fail(&reader, "SHARE must state 0 to 65536 threads");
  *threads = (int32_t)value;
  json_decref(root);
  return reader.status;
}

rh_status rh_stats_write(rh_dynbuf *out, rh_frame_type type, const rh_worker_stats *stats) {
  json_t *object =
      json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f}", "rss_bytes", (json_int_t)stats->rss_bytes,
                "vram_bytes", (json_int_t)stats->vram_bytes, "active_runs", (json_int_t)stats->active_runs,
                "waiting_runs", (json_int_t)stats->waiting_runs, "paused_runs", (json_int_t)stats->paused_runs, "steps",
                (json_int_t)stats->steps, "prompt_tokens", (json_int_t)stats->prompt_tokens, "cached_tokens",
                (json_int_t)stats->cached_tokens, "generated_tokens", (json_int_t)stats->generated_tokens,
                "cancelled_runs", (json_int_t)stats->cancelled_runs, "step_age_ms", stats->step_age_ms);
  return rh_frame_encode_object(out, type, 0, object);
}

static uint64_t not_negative(int64_t value) { return value < 0 ? 0 : (uint64_t)value; }

rh_status rh_stats_read(const rh_frame *frame, rh_worker_stats *stats, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "STATS", &root, &reader, error);
  if (status != RH_OK) return status;
  stats->rss_bytes = rh_frame_reader_int(&reader, "rss_bytes", 0);
  stats->vram_bytes = rh_frame_reader_int(&reader, "vram_bytes", 0);
  if (stats->vram_bytes < 0) stats->vram_bytes = 0;
  stats->active_runs = rh_frame_reader_int(&reader, "active_runs", 0);
  stats->waiting_runs = rh_frame_reader_int(&reader, "waiting_runs", 0);
  stats->paused_runs = rh_frame_reader_int(&reader, "paused_runs", 0);
  stats->steps = not_negative(rh_frame_reader_int(&reader, "steps", 0));
  stats->prompt_tokens = not_negative(rh_frame_reader_int(&reader, "prompt_tokens", 0));
  stats->cached_tokens = not_negative(rh_frame_reader_int(&reader, "cached_tokens", 0));
  stats->generated_tokens = not_negative(rh_frame_reader_int(&reader, "generated_tokens", 0));
  stats->cancelled_runs = not_negative(rh_frame_reader_int(&reader, "cancelled_runs", 0));
  stats->step_age_ms = rh_frame_reader_number(&reader, "step_age_ms", 0);
  json_decref(root);
  return reader.status;
}
