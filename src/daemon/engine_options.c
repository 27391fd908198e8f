// SPDX-License-Identifier: Apache-2.0
//
// What a provider of this machine's own models says of engines ("executionProviders", "threads", "graphOptimizationLevel", ...)
// becomes the options of its models. A model's own configuration wins; the daemon's settings for all models give way.
//
// Owns nothing. Pure; any thread that owns the spec it changes. Whether the machine can do what is said, the engine finds out.
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "daemon/settings_private.h"

#define PATH_BYTES 192
#define DEVICES_MAX 16

// Options that can be said, and the model's own setting that wins over each.
typedef enum option_row {
  ROW_THREADS,
  ROW_GPU_LAYERS,
  ROW_DEVICE,
  ROW_DEVICE_ID,
  ROW_GPU_MEMORY,
  ROW_GROWTH,
  ROW_OPTIMIZATION,
  ROW_PARALLEL,
  ROW_INTER_THREADS,
  ROW_ARENA,
  ROW_PATTERN,
  ROW_COUNT
} option_row;

#define PLACE(member) offsetof(rh_load_options, member), sizeof(((rh_load_options *)NULL)->member)

static const struct {
  const char *own;
  size_t offset, size;
} rows[ROW_COUNT] = {
    [ROW_THREADS] = {"threads", PLACE(threads)},
    [ROW_GPU_LAYERS] = {"gpu_layers", PLACE(gpu_layers)},
    [ROW_DEVICE] = {"onnx_device", PLACE(onnx.device)},
    [ROW_DEVICE_ID] = {"onnx_device_id", PLACE(onnx.device_id)},
    [ROW_GPU_MEMORY] = {"onnx_gpu_memory", PLACE(onnx.gpu_memory)},
    [ROW_GROWTH] = {"onnx_gpu_growth", PLACE(onnx.exact_growth)},
    [ROW_OPTIMIZATION] = {"onnx_optimization", PLACE(onnx.optimization)},
    [ROW_PARALLEL] = {"onnx_execution", PLACE(onnx.parallel)},
    [ROW_INTER_THREADS] = {"onnx_inter_threads", PLACE(onnx.inter_threads)},
    [ROW_ARENA] = {"onnx_arena", PLACE(onnx.no_arena)},
    [ROW_PATTERN] = {"onnx_memory_pattern", PLACE(onnx.no_memory_pattern)},
};

typedef struct said {
  rh_load_options options;
  bool has[ROW_COUNT];
} said;

typedef struct reader {
  said *out;
  const char *path;  // of the value at hand
  rh_error *error;
} reader;

static rh_status wrong(const reader *read, const json_t *value, const char *wanted) {
  const char *text = json_string_value(value);
  return rh_fail_param(read->error, RH_INVALID, read->path, "\"%s\" must be %s, not %s%.40s%s", read->path, wanted,
                       text != NULL ? "\"" : "", text != NULL ? text : rh_json_type_name(value),
                       text != NULL ? "\"" : "");
}

static rh_status take_count(const reader *read, const json_t *value, int64_t max, option_row row, int64_t *out) {
  char wanted[64];
  snprintf(wanted, sizeof wanted, "a whole number from 0 to %lld", (long long)max);
  json_int_t number = json_integer_value(value);
  if (!json_is_integer(value) || number < 0 || number > max) return wrong(read, value, wanted);
  *out = number;
  read->out->has[row] = true;
  return RH_OK;
}

// --- where it computes ---------------------------------------------------------------------------------------------

// The usual names of ONNX Runtime's execution providers. RH_DEVICE_COUNT: one that no engine of ours has, which is passed over.
static const struct {
  const char *name;
  rh_device_wish device;
} devices[] = {
    {"cpu", RH_DEVICE_CPU},           {"wasm", RH_DEVICE_CPU},          {"gpu", RH_DEVICE_GPU},
    {"cuda", RH_DEVICE_CUDA},         {"tensorrt", RH_DEVICE_TENSORRT}, {"webgpu", RH_DEVICE_WEBGPU},
    {"directml", RH_DEVICE_DIRECTML}, {"dml", RH_DEVICE_DIRECTML},      {"auto", RH_DEVICE_AUTO},
    {"coreml", RH_DEVICE_COUNT},      {"rocm", RH_DEVICE_COUNT},        {"migraphx", RH_DEVICE_COUNT},
    {"openvino", RH_DEVICE_COUNT},    {"qnn", RH_DEVICE_COUNT},         {"xnnpack", RH_DEVICE_COUNT},
    {"dnnl", RH_DEVICE_COUNT},        {"nnapi", RH_DEVICE_COUNT},       {"webnn", RH_DEVICE_COUNT},
    {"webgl", RH_DEVICE_COUNT},
};
#define DEVICES (sizeof devices / sizeof devices[0])

// "cuda", "CUDAExecutionProvider", {"name": "cuda"}.
static rh_status read_device(const reader *read, const json_t *value, rh_device_wish *out) {
  const char *names[DEVICES];
  const char *word =
      json_is_object(value) ? json_string_value(json_object_get(value, "name")) : json_string_value(value);
  if (word == NULL) return wrong(read, value, "a list of names such as \"cuda\" and \"cpu\"");
  static const char ending[] = "ExecutionProvider";
  size_t length = strlen(word);
  if (length > sizeof ending && strcmp(word + length + 1 - sizeof ending, ending) == 0) length -= sizeof ending - 1;
  for (size_t i = 0; i < DEVICES; i++) {
    names[i] = devices[i].name;
    if (strlen(names[i]) != length || strncasecmp(word, names[i], length) != 0) continue;
    *out = devices[i].device;
    return RH_OK;
  }
  const char *near = rh_text_nearest(word, names, DEVICES);
  return rh_fail_param(read->error, RH_INVALID, read->path,
                       "\"%s\" names \"%.40s\", which is no execution provider%s%s%s", read->path, word,
                       near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
}

// A list with the processor at its end may fall back to it, which is what "auto" does; one without must not. What stands behind
// the processor is never reached.
static rh_status take_devices(const reader *read, const json_t *value) {
  rh_device_wish found = RH_DEVICE_COUNT;
  bool several = false, cpu = false;
  if (!json_is_array(value) || json_array_size(value) == 0 || json_array_size(value) > DEVICES_MAX) {
    return wrong(read, value, "a list of names such as [\"cuda\", \"cpu\"]");
  }
  for (size_t i = 0; i < json_array_size(value); i++) {
    rh_device_wish device = RH_DEVICE_COUNT;
    rh_status status = read_device(read, json_array_get(value, i), &device);
    if (status != RH_OK) return status;
    if (device == RH_DEVICE_COUNT || cpu) continue;
    cpu = device == RH_DEVICE_CPU;
    if (cpu) continue;
    several = several || (found != RH_DEVICE_COUNT && found != device);
    found = device;
  }
  if (found == RH_DEVICE_COUNT && !cpu) return RH_OK;  // nothing that we know how to do
  rh_device_wish wish = several ? RH_DEVICE_GPU : found;
  if (cpu) wish = found == RH_DEVICE_COUNT ? RH_DEVICE_CPU : RH_DEVICE_AUTO;
  read->out->options.onnx.device = (int)wish;
  read->out->has[ROW_DEVICE] = true;
  read->out->options.gpu_layers = wish == RH_DEVICE_CPU ? 0 : -1;
  read->out->has[ROW_GPU_LAYERS] = wish == RH_DEVICE_CPU;
  return RH_OK;
}

// --- the other options ---------------------------------------------------------------------------------------------

static rh_status take_threads(const reader *read, const json_t *value) {
  return take_count(read, value, 1024, ROW_THREADS, &read->out->options.threads);
}

static rh_status take_inter_threads(const reader *read, const json_t *value) {
  return take_count(read, value, 1024, ROW_INTER_THREADS, &read->out->options.onnx.inter_threads);
}

static rh_status take_optimization(const reader *read, const json_t *value) {
  static const struct {
    const char *word;
    rh_onnx_optimization level;
  } words[] = {
      {"all", RH_ONNX_OPTIMIZE_ALL},     {"layout", RH_ONNX_OPTIMIZE_ALL},    {"extended", RH_ONNX_OPTIMIZE_EXTENDED},
      {"basic", RH_ONNX_OPTIMIZE_BASIC}, {"disabled", RH_ONNX_OPTIMIZE_NONE}, {"none", RH_ONNX_OPTIMIZE_NONE},
  };
  const char *word = json_string_value(value);
  for (size_t i = 0; word != NULL && i < sizeof words / sizeof words[0]; i++) {
    if (strcmp(word, words[i].word) != 0) continue;
    read->out->options.onnx.optimization = (int)words[i].level;
    read->out->has[ROW_OPTIMIZATION] = true;
    return RH_OK;
  }
  return wrong(read, value, "\"all\", \"extended\", \"basic\" or \"disabled\"");
}

static rh_status take_execution(const reader *read, const json_t *value) {
  const char *word = json_string_value(value);
  bool parallel = word != NULL && strcmp(word, "parallel") == 0;
  if (!parallel && (word == NULL || strcmp(word, "sequential") != 0)) {
    return wrong(read, value, "\"sequential\" or \"parallel\"");
  }
  read->out->options.onnx.parallel = parallel;
  read->out->has[ROW_PARALLEL] = true;
  return RH_OK;
}

static rh_status take_arena(const reader *read, const json_t *value) {
  if (!json_is_boolean(value)) return wrong(read, value, "true or false");
  read->out->options.onnx.no_arena = json_is_false(value);
  read->out->has[ROW_ARENA] = true;
  return RH_OK;
}

static rh_status take_pattern(const reader *read, const json_t *value) {
  if (!json_is_boolean(value)) return wrong(read, value, "true or false");
  read->out->options.onnx.no_memory_pattern = json_is_false(value);
  read->out->has[ROW_PATTERN] = true;
  return RH_OK;
}

// Both of ONNX Runtime's means against allocating anew in each run.
static rh_status take_memory(const reader *read, const json_t *value) {
  rh_status status = take_arena(read, value);
  return status == RH_OK ? take_pattern(read, value) : status;
}

static rh_status take_device_id(const reader *read, const json_t *value) {
  return take_count(read, value, 255, ROW_DEVICE_ID, &read->out->options.onnx.device_id);
}

static rh_status take_gpu_memory(const reader *read, const json_t *value) {
  return take_count(read, value, INT64_MAX, ROW_GPU_MEMORY, &read->out->options.onnx.gpu_memory);
}

static rh_status take_growth(const reader *read, const json_t *value) {
  const char *word = json_string_value(value);
  bool exact = word != NULL && strcmp(word, "kSameAsRequested") == 0;
  if (!exact && (word == NULL || strcmp(word, "kNextPowerOfTwo") != 0)) {
    return wrong(read, value, "\"kSameAsRequested\" or \"kNextPowerOfTwo\"");
  }
  read->out->options.onnx.exact_growth = exact;
  read->out->has[ROW_GROWTH] = true;
  return RH_OK;
}

static rh_status take_cuda(const reader *read, const json_t *value);

typedef struct option {
  const char *camel, *snake;
  rh_status (*take)(const reader *read, const json_t *value);
} option;

static const option options[] = {
    {"executionProviders", "execution_providers", take_devices},
    {"threads", "threads", take_threads},
    {"intraOpNumThreads", "intra_op_num_threads", take_threads},
    {"interOpNumThreads", "inter_op_num_threads", take_inter_threads},
    {"graphOptimizationLevel", "graph_optimization_level", take_optimization},
    {"executionMode", "execution_mode", take_execution},
    {"enableMemoryOptimization", "enable_memory_optimization", take_memory},
    {"enableCpuMemArena", "enable_cpu_mem_arena", take_arena},
    {"enableMemPattern", "enable_mem_pattern", take_pattern},
    {"cudaOptions", "cuda_options", take_cuda},
};

// "arenExtendStrategy" is a spelling that is around.
static const option cuda_options[] = {
    {"deviceId", "device_id", take_device_id},
    {"gpuMemLimit", "gpu_mem_limit", take_gpu_memory},
    {"arenaExtendStrategy", "arena_extend_strategy", take_growth},
    {"arenExtendStrategy", "aren_extend_strategy", take_growth},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static rh_status read_members(said *out, const char *path, const json_t *object, const option *table, size_t count,
                              rh_error *error) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    const char *names[COUNT(options)];
    char own[PATH_BYTES];
    size_t row = 0;
    rh_json_join_path(own, sizeof own, path, key);
    while (row < count && strcmp(key, table[row].camel) != 0 && strcmp(key, table[row].snake) != 0) row++;
    if (row == count) {
      for (size_t i = 0; i < count; i++) names[i] = table[i].camel;
      const char *near = rh_text_nearest(key, names, count);
      return rh_fail_param(error, RH_INVALID, own, "\"%s\" is no option of an engine%s%s%s", own,
                           near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                           near != NULL ? "\"?" : "");
    }
    const reader read = {.out = out, .path = own, .error = error};
    rh_status status = json_is_null(value) ? RH_OK : table[row].take(&read, value);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static rh_status take_cuda(const reader *read, const json_t *value) {
  if (!json_is_object(value)) return wrong(read, value, "an object");
  return read_members(read->out, read->path, value, cuda_options, COUNT(cuda_options), read->error);
}

static rh_status read_said(const rh_provider_spec *provider, said *out, rh_error *error) {
  char path[PATH_BYTES];
  *out = (said){.options = {.gpu_layers = -1}};
  if (provider->engine_options == NULL) return RH_OK;
  rh_json_join_path(path, sizeof path, "providers", provider->name);
  return read_members(out, path, provider->engine_options, options, COUNT(options), error);
}

// --- to the models -------------------------------------------------------------------------------------------------

rh_status rh_engine_options_check(const rh_configuration *conf, rh_error *error) {
  said ignored;
  for (size_t i = 0; i < conf->gateway->provider_count; i++) {
    rh_status status = read_said(&conf->gateway->providers[i], &ignored, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

void rh_engine_options_apply(const rh_configuration *conf, rh_model_spec *spec) {
  said found;
  const rh_provider_spec *provider = rh_gateway_config_home(conf->gateway, conf->aliases, spec->name, spec->engine);
  // The options were checked when the configuration was read.
  if (provider == NULL || read_said(provider, &found, NULL) != RH_OK) return;
  const json_t *own = json_object_get(conf->models, spec->name);
  for (size_t row = 0; row < ROW_COUNT; row++) {
    if (!found.has[row] || json_object_get(own, rows[row].own) != NULL) continue;
    memcpy((char *)&spec->options + rows[row].offset, (const char *)&found.options + rows[row].offset, rows[row].size);
  }
}
