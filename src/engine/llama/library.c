// SPDX-License-Identifier: Apache-2.0
//
// Purpose: find llama's backends (the CPU variants, CUDA, Vulkan, ...) and say what was found.
// Data owned: one rh_llama_library per process, made on first use and never freed, as the backends cannot be unloaded.
// Threads: any; the first call does the work, others wait for it.
// Not here: models. Nothing in this file opens one.
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/llama/internal.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static rh_llama_library library;

static const struct {
  const char *word;  // as in "libggml-cuda.so"
  const char *name;
} gpu_backends[] = {{"cuda", "CUDA"}, {"hip", "ROCm"}, {"vulkan", "Vulkan"}, {"sycl", "SYCL"}};
#define GPU_BACKEND_COUNT (sizeof gpu_backends / sizeof gpu_backends[0])

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

// The folder libllama itself was loaded from: its backends lie beside it, wherever it was installed.
static void find_folder(char *out, size_t size) {
  const char *wish = getenv("ROUNDHOUSE_LLAMA_DIR");
  if (wish && wish[0]) {
    (void)rh_text_copy(out, size, wish);
    return;
  }
  (void)rh_text_copy(out, size, ".");
  Dl_info where;
  // dlsym, not &llama_backend_init: in an executable that address may be the executable's own jump table.
  void *address = dlsym(RTLD_DEFAULT, "llama_backend_init");
  if (!address || dladdr(address, &where) == 0 || !where.dli_fname) return;
  const char *slash = strrchr(where.dli_fname, '/');
  size_t length = slash ? (size_t)(slash - where.dli_fname) : 0;
  if (length == 0 || length >= size) return;
  memcpy(out, where.dli_fname, length);
  out[length] = '\0';
}

// ISO C has no cast from void * to a function; POSIX promises that the bytes are the same.
static void *proc_address(ggml_backend_reg_t reg, const char *name, void *function, size_t size) {
  void *address = ggml_backend_reg_get_proc_address(reg, name);
  if (address) memcpy(function, &address, size);
  return address;
}

// "libggml-cpu-icelake.so (SSE3 AVX2 FMA AVX512)": which of the CPU libraries was chosen, and what it makes use of.
static void describe_cpu(ggml_backend_reg_t reg, void *any_function) {
  Dl_info where;
  const char *file = any_function && dladdr(any_function, &where) != 0 ? base_name(where.dli_fname) : "built in";
  ggml_backend_get_features_t get_features = NULL;
  (void)proc_address(reg, "ggml_backend_get_features", &get_features, sizeof get_features);
  size_t size = sizeof library.acceleration;
  // Of the kernels only the name; why it is these stands in `kernels`.
  int used = snprintf(library.acceleration, size, "kernels %.*s, %s", (int)strcspn(library.kernels, " "),
                      library.kernels, file);
  const struct ggml_backend_feature *feature = get_features ? get_features(reg) : NULL;
  bool first = true;
  for (; feature && feature->name && used > 0; feature++) {
    if (!feature->value || strcmp(feature->value, "1") != 0) continue;
    size_t room = size - (size_t)used;
    // A name that does not fit is left out whole; 2 bytes are kept for the bracket.
    if (strlen(feature->name) + 4 > room) continue;
    used += snprintf(library.acceleration + used, room, "%s%s", first ? " (" : " ", feature->name);
    first = false;
  }
  if (!first) (void)snprintf(library.acceleration + used, size - (size_t)used, ")");
}

static void find_everything(void) {
  rh_llama_log_install();
  llama_backend_init();
  find_folder(library.folder, sizeof library.folder);
  ggml_backend_load_all_from_path(library.folder);
  // A distribution's build knows its own folder for backends.
  if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) ggml_backend_load_all();
  ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (!cpu) return;
  library.has_cpu = true;
  ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(cpu);
  void *address = proc_address(reg, "ggml_threadpool_new", &library.threadpool_new, sizeof library.threadpool_new);
  if (!proc_address(reg, "ggml_threadpool_free", &library.threadpool_free, sizeof library.threadpool_free)) {
    library.threadpool_new = NULL;
  }
  rh_llama_kernels_install(address, library.folder, library.kernels, sizeof library.kernels);
  describe_cpu(reg, address);
}

const rh_llama_library *rh_llama_library_get(void) {
  (void)pthread_once(&once, find_everything);
  return &library;
}

static bool is_gpu(ggml_backend_dev_t device) {
  enum ggml_backend_dev_type type = ggml_backend_dev_type(device);
  return type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU;
}

// ggml's "CUDA0" as "cuda:0".
static void device_name(char *out, size_t size, const char *name) {
  size_t used = 0;
  bool in_number = false;
  for (; *name && used + 2 < size; name++) {
    bool digit = isdigit((unsigned char)*name) != 0;
    if (digit && !in_number && used > 0) out[used++] = ':';
    in_number = digit;
    out[used++] = (char)tolower((unsigned char)*name);
  }
  out[used] = '\0';
}

void rh_llama_library_device_names(char *out, size_t size, bool on_gpu) {
  size_t used = 0;
  out[0] = '\0';
  for (size_t i = 0; on_gpu && i < ggml_backend_dev_count() && used < size; i++) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    if (!is_gpu(device)) continue;
    char name[32];
    device_name(name, sizeof name, ggml_backend_dev_name(device));
    int wrote = snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "", name);
    if (wrote > 0) used += (size_t)wrote;
  }
  if (used == 0) (void)snprintf(out, size, "cpu");
}

int64_t rh_llama_library_gpu_free_bytes(void) {
  int64_t sum = 0;
  for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    size_t memory_free = 0;
    size_t memory_total = 0;
    // An integrated GPU's memory is the machine's, which the resident set shows already.
    if (ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_GPU) continue;
    ggml_backend_dev_memory(device, &memory_free, &memory_total);
    sum += (int64_t)memory_free;
  }
  return sum;
}

static const char *type_word(ggml_backend_dev_t device) {
  switch (ggml_backend_dev_type(device)) {
    case GGML_BACKEND_DEVICE_TYPE_CPU: return "cpu";
    case GGML_BACKEND_DEVICE_TYPE_GPU: return "gpu";
    case GGML_BACKEND_DEVICE_TYPE_IGPU: return "integrated_gpu";
    case GGML_BACKEND_DEVICE_TYPE_ACCEL: return "accelerator";
    default: return "other";
  }
}

// Is there a file "libggml-WORD*" in the backends' folder?
static bool has_library(const char *word) {
  char prefix[64];
  (void)snprintf(prefix, sizeof prefix, "libggml-%s", word);
  DIR *folder = opendir(library.folder);
  if (!folder) return false;
  bool found = false;
  for (struct dirent *entry = readdir(folder); entry && !found; entry = readdir(folder)) {
    found = rh_text_starts_with(entry->d_name, prefix);
  }
  closedir(folder);
  return found;
}

// Why there is no GPU, one clause per kind; empty when there is one.
static void gpu_reason(char *out, size_t size) {
  out[0] = '\0';
  for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
    if (is_gpu(ggml_backend_dev_get(i))) return;
  }
  size_t used = 0;
  for (size_t i = 0; i < GPU_BACKEND_COUNT && used < size; i++) {
    int wrote;
    if (has_library(gpu_backends[i].word)) {
      wrote = snprintf(out + used, size - used, "%sthe %s backend library found no device it can use",
                       used > 0 ? "; " : "", gpu_backends[i].name);
    } else {
      wrote = snprintf(out + used, size - used, "%sno %s backend library in %s", used > 0 ? "; " : "",
                       gpu_backends[i].name, base_name(library.folder));
    }
    if (wrote > 0) used += (size_t)wrote;
  }
}

static void append_string(rh_dynbuf *out, const char *key, const char *value) {
  (void)rh_dynbuf_printf(out, "\"%s\":", key);
  if (value) {
    (void)rh_json_append_string(out, value, strlen(value));
  } else {
    (void)rh_dynbuf_append_text(out, "null");
  }
}

static void append_device(rh_dynbuf *out, ggml_backend_dev_t device) {
  char name[32];
  size_t memory_free = 0;
  size_t memory_total = 0;
  device_name(name, sizeof name, ggml_backend_dev_name(device));
  ggml_backend_dev_memory(device, &memory_free, &memory_total);
  (void)rh_dynbuf_append_char(out, '{');
  append_string(out, "name", name);
  (void)rh_dynbuf_append_char(out, ',');
  append_string(out, "description", ggml_backend_dev_description(device));
  (void)rh_dynbuf_append_char(out, ',');
  append_string(out, "type", type_word(device));
  (void)rh_dynbuf_printf(out, ",\"memory_bytes\":%zu,\"memory_free_bytes\":%zu}", memory_total, memory_free);
}

rh_status rh_llama_library_probe(rh_dynbuf *out) {
  const rh_llama_library *found = rh_llama_library_get();
  char reason[sizeof library.folder + 512];
  if (found->has_cpu) {
    gpu_reason(reason, sizeof reason);
  } else {
    (void)snprintf(reason, sizeof reason, "no CPU backend library in %s", base_name(found->folder));
  }
  (void)rh_dynbuf_append_char(out, '{');
  append_string(out, "engine", "llama");
  (void)rh_dynbuf_append_char(out, ',');
  append_string(out, "version", llama_version());
  (void)rh_dynbuf_printf(out, ",\"available\":%s,", found->has_cpu ? "true" : "false");
  append_string(out, "reason", reason[0] ? reason : NULL);
  (void)rh_dynbuf_append_text(out, ",\"devices\":[");
  for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
    if (i > 0) (void)rh_dynbuf_append_char(out, ',');
    append_device(out, ggml_backend_dev_get(i));
  }
  (void)rh_dynbuf_append_text(out, "],");
  append_string(out, "acceleration", found->acceleration);
  (void)rh_dynbuf_append_char(out, ',');
  append_string(out, "kernels", found->kernels);
  (void)rh_dynbuf_append_char(out, '}');
  // The appends before leave their failure in `failed`, so one look at the end is enough.
  return out->failed ? RH_TOO_LARGE : RH_OK;
}
