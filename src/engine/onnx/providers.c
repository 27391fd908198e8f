// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the execution providers of this machine: what the library offers, what can really be used, in which order.
// Data owned: one rh_ort_providers per process, made on first use.
// Threads: any; the first call does the work, others wait for it.
// Not here: choosing one for a graph; session.c goes down the list until one takes it.
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/text.h"
#include "engine/onnx/internal.h"

#define SUFFIX "ExecutionProvider"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static rh_ort_providers providers;

// The usual order. A wish is the index's; a generic name is what the call for providers without a call of their own takes.
static const struct {
  const char *word, *name, *generic;
  rh_device_wish wish;
} known[] = {
    {"tensorrt", "TensorrtExecutionProvider", NULL, RH_DEVICE_TENSORRT},
    {"cuda", "CUDAExecutionProvider", NULL, RH_DEVICE_CUDA},
    {"webgpu", "WebGpuExecutionProvider", "WebGPU", RH_DEVICE_WEBGPU},
    {"directml", "DmlExecutionProvider", "DML", RH_DEVICE_DIRECTML},
    {"cpu", "CPUExecutionProvider", NULL, RH_DEVICE_CPU},
};
#define KNOWN_COUNT (sizeof known / sizeof *known)
#define KNOWN_CPU (KNOWN_COUNT - 1)

static size_t find_known(const char *name) {
  size_t i = 0;
  while (i < KNOWN_COUNT && strcasecmp(known[i].name, name) != 0) i++;
  return i;
}

static rh_ort_provider *add(const char *name) {
  for (size_t i = 0; i < providers.count; i++) {
    if (strcasecmp(providers.items[i].name, name) == 0) return &providers.items[i];
  }
  if (providers.count == RH_ORT_PROVIDERS_MAX) return NULL;
  rh_ort_provider *provider = &providers.items[providers.count++];
  size_t index = find_known(name);
  (void)rh_text_copy(provider->name, sizeof provider->name, index < KNOWN_COUNT ? known[index].name : name);
  if (index < KNOWN_COUNT) {
    (void)rh_text_copy(provider->word, sizeof provider->word, known[index].word);
    return provider;
  }
  size_t length = strlen(name);
  if (rh_text_ends_with(name, SUFFIX)) length -= strlen(SUFFIX);
  for (size_t i = 0; i < length && i + 1 < sizeof provider->word; i++) {
    provider->word[i] = (char)tolower((unsigned char)name[i]);
  }
  return provider;
}

// --- plugins --------------------------------------------------------------------------------------------------------

// "NAME=PATH", or a path whose file name says it: "libonnxruntime_ggml.so" is "ggml". Many a plugin calls itself as it is
// registered.
static const char *split_plugin(char *text, char *name, size_t size) {
  static const char *const heads[] = {"lib", "onnxruntime_", "providers_", "ep_"};
  char *equals = strchr(text, '=');
  const char *slash = strrchr(text, '/');
  if (equals && (!slash || equals < slash)) {
    *equals = '\0';
    (void)rh_text_copy(name, size, text);
    return equals + 1;
  }
  const char *stem = slash ? slash + 1 : text;
  for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
    if (rh_text_starts_with(stem, heads[i])) stem += strlen(heads[i]);
  }
  (void)rh_text_copy(name, size, stem);
  name[strcspn(name, ".")] = '\0';
  return text;
}

static void register_one(const rh_ort_library *library, char *text) {
  char name[48], reason[256];
  const char *path = split_plugin(text, name, sizeof name);
  OrtStatus *status = library->plugins->RegisterExecutionProviderLibrary(library->env, name, path);
  if (!status) return;
  rh_ort_reason(status, reason, sizeof reason);
  RH_LOG(RH_LOG_WARN, "an execution provider's library cannot be used", rh_log_str("path", path),
         rh_log_str("reason", reason));
}

// ROUNDHOUSE_ORT_PLUGINS: libraries, separated by colons.
static void register_plugins(const rh_ort_library *library) {
  const char *paths = getenv("ROUNDHOUSE_ORT_PLUGINS");
  if (!paths || !paths[0]) return;
  if (!library->plugins) {
    RH_LOG(RH_LOG_WARN, "ROUNDHOUSE_ORT_PLUGINS needs ONNX Runtime 1.22 or newer",
           rh_log_str("version", library->version));
    return;
  }
  char path[RH_ORT_PATH_MAX];
  while (*paths) {
    size_t length = strcspn(paths, ":");
    if (length > 0 && length < sizeof path) {
      memcpy(path, paths, length);
      path[length] = '\0';
      register_one(library, path);
    }
    paths += length + (paths[length] == ':');
  }
}

static void note_plugins(const rh_ort_library *library) {
  const OrtEpDevice *const *devices = NULL;
  size_t count = 0;
  if (!library->plugins) return;
  OrtStatus *status = library->plugins->GetEpDevices(library->env, &devices, &count);
  if (status) library->api->ReleaseStatus(status);
  for (size_t i = 0; !status && i < count; i++) {
    const char *name = library->plugins->EpDevice_EpName(devices[i]);
    if (strcasecmp(name, known[KNOWN_CPU].name) == 0) continue;  // the library's own
    rh_ort_provider *provider = add(name);
    // Of several devices the first one; the others are the same kind of hardware.
    if (provider && !provider->device) provider->device = devices[i];
  }
}

// --- appending ------------------------------------------------------------------------------------------------------

typedef struct pairs {
  const char *keys[4], *values[4];
  char texts[4][32];
  size_t count;
} pairs;

static void put(pairs *to, const char *key, long long value) {
  (void)snprintf(to->texts[to->count], sizeof to->texts[0], "%lld", value);
  to->keys[to->count] = key;
  to->values[to->count] = to->texts[to->count];
  to->count++;
}

static OrtStatus *append_cuda(const OrtApi *api, OrtSessionOptions *to, const rh_onnx_options *options) {
  OrtCUDAProviderOptionsV2 *cuda = NULL;
  pairs set = {.count = 0};
  put(&set, "device_id", options->device_id);
  if (options->gpu_memory > 0) put(&set, "gpu_mem_limit", options->gpu_memory);
  set.keys[set.count] = "arena_extend_strategy";
  set.values[set.count++] = options->exact_growth ? "kSameAsRequested" : "kNextPowerOfTwo";
  OrtStatus *status = api->CreateCUDAProviderOptions(&cuda);
  if (!status) status = api->UpdateCUDAProviderOptions(cuda, set.keys, set.values, set.count);
  if (!status) status = api->SessionOptionsAppendExecutionProvider_CUDA_V2(to, cuda);
  if (cuda) api->ReleaseCUDAProviderOptions(cuda);
  return status;
}

static OrtStatus *append_tensorrt(const OrtApi *api, OrtSessionOptions *to, const rh_onnx_options *options) {
  OrtTensorRTProviderOptionsV2 *tensorrt = NULL;
  pairs set = {.count = 0};
  put(&set, "device_id", options->device_id);
  if (options->gpu_memory > 0) put(&set, "trt_max_workspace_size", options->gpu_memory);
  OrtStatus *status = api->CreateTensorRTProviderOptions(&tensorrt);
  if (!status) status = api->UpdateTensorRTProviderOptions(tensorrt, set.keys, set.values, set.count);
  if (!status) status = api->SessionOptionsAppendExecutionProvider_TensorRT_V2(to, tensorrt);
  // What TensorRT does not take, CUDA does.
  if (!status) status = append_cuda(api, to, options);
  if (tensorrt) api->ReleaseTensorRTProviderOptions(tensorrt);
  return status;
}

static OrtStatus *append(const rh_ort_library *library, OrtSessionOptions *to, const rh_ort_provider *provider,
                         const rh_onnx_options *options) {
  size_t index = find_known(provider->name);
  if (provider->device) {
    return library->plugins->SessionOptionsAppendExecutionProvider_V2(to, library->env, &provider->device, 1, NULL,
                                                                      NULL, 0);
  }
  if (index == KNOWN_CPU) return NULL;  // every session ends with it
  if (index < KNOWN_COUNT && known[index].wish == RH_DEVICE_CUDA) return append_cuda(library->api, to, options);
  if (index < KNOWN_COUNT && known[index].wish == RH_DEVICE_TENSORRT) return append_tensorrt(library->api, to, options);
  const char *generic = index < KNOWN_COUNT ? known[index].generic : provider->word;
  return library->api->SessionOptionsAppendExecutionProvider(to, generic, NULL, NULL, 0);
}

rh_status rh_ort_provider_append(const rh_ort_library *library, OrtSessionOptions *to, const rh_ort_provider *provider,
                                 const rh_onnx_options *options, rh_error *error) {
  OrtStatus *status = append(library, to, provider, options);
  return status ? rh_ort_fail(status, RH_HARDWARE, error, provider->word) : RH_OK;
}

// --- finding --------------------------------------------------------------------------------------------------------

static bool offered(const rh_ort_library *library, const char *name) {
  char **names = NULL;
  int count = 0;
  OrtStatus *status = library->api->GetAvailableProviders(&names, &count);
  if (status) {
    library->api->ReleaseStatus(status);
    return false;
  }
  bool found = false;
  for (int i = 0; i < count && !found; i++) found = strcasecmp(names[i], name) == 0;
  status = library->api->ReleaseAvailableProviders(names, count);
  if (status) library->api->ReleaseStatus(status);
  return found;
}

static void explain_missing(const rh_ort_library *library, rh_ort_provider *provider) {
  char folder[128];
  bool nvidia = strcmp(provider->word, "cuda") == 0 || strcmp(provider->word, "tensorrt") == 0;
  if (nvidia && rh_ort_library_find_gpu(folder, sizeof folder)) {
    (void)snprintf(provider->reason, sizeof provider->reason,
                   "this ONNX Runtime is built without it; set ROUNDHOUSE_ORT=%s, where one with CUDA lies", folder);
  } else if (strcmp(provider->word, "directml") == 0) {
    (void)snprintf(provider->reason, sizeof provider->reason, "it exists on Windows only");
  } else {
    (void)snprintf(provider->reason, sizeof provider->reason, "ONNX Runtime %s here is built without it",
                   library->version);
  }
}

// Many a library offers what its machine cannot do: only adding it to a session tells.
static void probe(const rh_ort_library *library, rh_ort_provider *provider) {
  if (!provider->device && !offered(library, provider->name)) {
    explain_missing(library, provider);
    return;
  }
  OrtSessionOptions *options = NULL;
  const rh_onnx_options none = {.device = RH_DEVICE_AUTO};
  OrtStatus *status = library->api->CreateSessionOptions(&options);
  if (!status) status = append(library, options, provider, &none);
  provider->usable = status == NULL;
  if (status) rh_ort_reason(status, provider->reason, sizeof provider->reason);
  if (options) library->api->ReleaseSessionOptions(options);
}

// Those that ROUNDHOUSE_PROVIDERS names come first, in its order. A provider may go by its word or by its whole name.
static void put_in_order(void) {
  const char *order = getenv("ROUNDHOUSE_PROVIDERS");
  size_t placed = 0;
  while (order && *order) {
    size_t length = strcspn(order, ", ");
    for (size_t i = placed; i < providers.count && length > 0; i++) {
      rh_ort_provider one = providers.items[i];
      bool word = strlen(one.word) == length && strncasecmp(order, one.word, length) == 0;
      bool name = strlen(one.name) == length && strncasecmp(order, one.name, length) == 0;
      if (!word && !name) continue;
      memmove(&providers.items[placed + 1], &providers.items[placed], (i - placed) * sizeof one);
      providers.items[placed++] = one;
      break;
    }
    order += length + (order[length] != '\0');
  }
}

static void find_everything(void) {
  const rh_ort_library *library = rh_ort_library_get();
  if (!library->api) return;
  for (size_t i = 0; i < KNOWN_CPU; i++) (void)add(known[i].name);
  register_plugins(library);
  note_plugins(library);
  (void)add(known[KNOWN_CPU].name);
  put_in_order();
  for (size_t i = 0; i < providers.count; i++) probe(library, &providers.items[i]);
}

const rh_ort_providers *rh_ort_providers_get(void) {
  (void)pthread_once(&once, find_everything);
  return &providers;
}

// --- wishes ---------------------------------------------------------------------------------------------------------

static const char *const wish_words[RH_DEVICE_COUNT] = {"auto", "cpu", "gpu", "cuda", "tensorrt", "webgpu", "directml"};

const char *rh_ort_wish_word(rh_device_wish wish) { return wish_words[wish]; }

// A plugin's provider is a GPU's when its device is one; of those built in, all but the processor's are.
static bool is_gpu(const rh_ort_provider *provider) {
  const rh_ort_plugin_api *plugins = rh_ort_library_get()->plugins;
  if (provider->device) return (int)plugins->HardwareDevice_Type(plugins->EpDevice_Device(provider->device)) == 1;
  return find_known(provider->name) < KNOWN_CPU;
}

bool rh_ort_provider_matches(const rh_ort_provider *provider, rh_device_wish wish) {
  if (wish == RH_DEVICE_AUTO) return true;
  if (wish == RH_DEVICE_GPU) return is_gpu(provider);
  return strcmp(provider->word, wish_words[wish]) == 0;
}

static rh_status read_gpu_memory(rh_onnx_options *onnx, rh_error *error) {
  const char *text = getenv("MAX_GPU_MEM_GB");
  if (onnx->gpu_memory > 0 || !text || !text[0]) return RH_OK;
  char *end = NULL;
  double gigabytes = strtod(text, &end);
  if (*end != '\0' || !(gigabytes > 0) || gigabytes > 1e6) {
    return rh_fail(error, RH_INVALID, "MAX_GPU_MEM_GB is \"%.32s\"; it must be a number of gigabytes, such as 8", text);
  }
  onnx->gpu_memory = (int64_t)(gigabytes * 1073741824.0);
  return RH_OK;
}

rh_status rh_ort_wish(const rh_load_options *options, rh_device_wish *out, rh_onnx_options *onnx, rh_error *error) {
  *onnx = options->onnx;
  *out = options->onnx.device > 0 && options->onnx.device < RH_DEVICE_COUNT ? (rh_device_wish)options->onnx.device
                                                                            : RH_DEVICE_AUTO;
  if (*out == RH_DEVICE_AUTO && options->gpu_layers == 0) *out = RH_DEVICE_CPU;
  const char *force = getenv("FORCE_DEVICE");
  if (force && force[0]) {
    size_t length = strcspn(force, ":");
    size_t wish = 0;
    while (wish < RH_DEVICE_COUNT &&
           (strlen(wish_words[wish]) != length || strncasecmp(force, wish_words[wish], length) != 0))
      wish++;
    if (wish == RH_DEVICE_COUNT) {
      return rh_fail(error, RH_INVALID,
                     "FORCE_DEVICE is \"%.32s\"; it can be auto, cpu, gpu, cuda, tensorrt, webgpu or directml, with a "
                     "number as in cuda:1",
                     force);
    }
    *out = (rh_device_wish)wish;
    if (force[length] == ':') onnx->device_id = strtol(force + length + 1, NULL, 10);
  }
  return read_gpu_memory(onnx, error);
}
