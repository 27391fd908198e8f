// SPDX-License-Identifier: Apache-2.0
//
// How much memory NVIDIA's GPUs have and how much of it is free, from NVIDIA's management library (NVML), which comes
// with the driver. The library is opened for one probe and closed again; nothing is kept. Any thread.
// It deliberately does not use CUDA: a CUDA context would cost memory on every GPU, and the daemon computes nothing.
//
// Names and layouts: NVML API Reference, "Device Queries" and nvmlMemory_t.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "model/hardware_probe.h"

#define NVML_SUCCESS 0

// ISO C has no cast from void * to a function; POSIX promises that the bytes are the same.
static bool find(void *library, const char *name, void *function, size_t size) {
  void *address = dlsym(library, name);
  if (address != NULL) memcpy(function, &address, size);
  return address != NULL;
}

static void fill_gpu(const rh_nvml_calls *nvml, void *device, rh_gpu *out) {
  rh_nvml_memory memory = {0};
  *out = (rh_gpu){.vendor = "nvidia"};
  if (nvml->name(device, out->name, sizeof out->name) != NVML_SUCCESS || out->name[0] == '\0') {
    (void)rh_text_copy(out->name, sizeof out->name, "NVIDIA GPU");
  }
  out->name[sizeof out->name - 1] = '\0';
  if (nvml->memory(device, &memory) != NVML_SUCCESS) return;
  if (memory.total_bytes > INT64_MAX || memory.free_bytes > memory.total_bytes) return;
  out->memory_bytes = (int64_t)memory.total_bytes;
  out->memory_free_bytes = (int64_t)memory.free_bytes;
}

size_t rh_probe_nvml_with(const rh_nvml_calls *nvml, rh_gpu *out, size_t max) {
  unsigned count = 0;
  size_t used = 0;
  if (nvml->init() != NVML_SUCCESS) return 0;
  if (nvml->count(&count) != NVML_SUCCESS) count = 0;
  for (unsigned i = 0; i < count && used < max; i++) {
    void *device = NULL;
    // A GPU that this process may not use (a container sees some of the machine's) is left out.
    if (nvml->device(i, &device) == NVML_SUCCESS) fill_gpu(nvml, device, &out[used++]);
  }
  (void)nvml->shutdown();
  return used;
}

size_t rh_probe_nvml(rh_gpu *out, size_t max) {
  void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return 0;
  rh_nvml_calls nvml;
  bool found = find(library, "nvmlInit_v2", &nvml.init, sizeof nvml.init) &&
               find(library, "nvmlShutdown", &nvml.shutdown, sizeof nvml.shutdown) &&
               find(library, "nvmlDeviceGetCount_v2", &nvml.count, sizeof nvml.count) &&
               find(library, "nvmlDeviceGetHandleByIndex_v2", &nvml.device, sizeof nvml.device) &&
               find(library, "nvmlDeviceGetName", &nvml.name, sizeof nvml.name) &&
               find(library, "nvmlDeviceGetMemoryInfo", &nvml.memory, sizeof nvml.memory);
  size_t count = found ? rh_probe_nvml_with(&nvml, out, max) : 0;
  dlclose(library);
  return count;
}
