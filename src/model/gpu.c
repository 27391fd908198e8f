// SPDX-License-Identifier: Apache-2.0
//
// Which graphics processors the kernel knows: NVIDIA's driver lists its own, the others appear as DRM cards.
// AMD's driver also shows their memory here; NVIDIA's is asked in gpu_nvml.c. Owns nothing. Any thread. It deliberately
// does not load CUDA or Vulkan: whether an engine can use a card is the worker's answer.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "model/hardware_probe.h"

// The new card, or NULL when there are more than RH_GPUS_MAX.
static rh_gpu *add_gpu(rh_hardware *out, const char *vendor, const char *name, const char *line) {
  size_t used = strlen(out->gpus);
  size_t room = sizeof out->gpus - used;
  // A machine with more cards than fit shows the first ones.
  if (strlen(line) + 2 <= room) snprintf(out->gpus + used, room, "%s%s", used > 0 ? "\n" : "", line);
  if (out->gpu_count == RH_GPUS_MAX) return NULL;
  rh_gpu *gpu = &out->gpu[out->gpu_count++];
  *gpu = (rh_gpu){0};
  (void)rh_text_copy(gpu->vendor, sizeof gpu->vendor, vendor);
  (void)rh_text_copy(gpu->name, sizeof gpu->name, name);
  return gpu;
}

static bool value_of(const char *text, const char *key, char *out, size_t size) {
  const char *at = strstr(text, key);
  if (at == NULL) return false;
  at += strlen(key);
  while (*at == ' ' || *at == '\t') at++;
  size_t length = strcspn(at, "\n");
  if (length >= size) length = size - 1;
  memcpy(out, at, length);
  out[length] = '\0';
  return length > 0;
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ...": the first word made of digits and dots.
static void driver_version(const char *root, char *out, size_t size) {
  char text[1024];
  (void)rh_text_copy(out, size, "version unknown");
  if (rh_probe_read_file(root, "/proc/driver/nvidia/version", text, sizeof text) != RH_OK) return;
  char *rest = text;
  for (char *word = strsep(&rest, " \t\n"); word != NULL; word = strsep(&rest, " \t\n")) {
    if (strchr(word, '.') != NULL && strspn(word, "0123456789.") == strlen(word)) {
      (void)rh_text_copy(out, size, word);
      return;
    }
  }
}

static bool is_card(const char *name) {
  return strncmp(name, "card", 4) == 0 && name[4] != '\0' && strspn(name + 4, "0123456789") == strlen(name + 4);
}

// Calls `fn` for each entry of a folder, in the order of their names; false when there is no such folder.
static bool each_entry(const char *root, const char *folder, rh_hardware *out,
                       void (*fn)(const char *root, const char *path, const char *name, rh_hardware *out)) {
  char path[512];
  snprintf(path, sizeof path, "%.300s%s", root, folder);
  struct dirent **entries = NULL;
  int count = scandir(path, &entries, NULL, alphasort);
  if (count < 0) return false;
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%.200s", folder, entries[i]->d_name);
    if (entries[i]->d_name[0] != '.') fn(root, path, entries[i]->d_name, out);
    free(entries[i]);
  }
  free(entries);
  return true;
}

static void note_nvidia(const char *root, const char *path, const char *name, rh_hardware *out) {
  (void)name;
  char file[560], text[1024], model[128], version[32], line[256];
  snprintf(file, sizeof file, "%s/information", path);
  if (rh_probe_read_file(root, file, text, sizeof text) != RH_OK) return;
  if (!value_of(text, "Model:", model, sizeof model)) (void)rh_text_copy(model, sizeof model, "NVIDIA GPU");
  driver_version(root, version, sizeof version);
  snprintf(line, sizeof line, "%s (driver %s)", model, version);
  (void)add_gpu(out, "nvidia", model, line);
}

static int64_t read_bytes(const char *root, const char *path, const char *name) {
  char file[560], text[32];
  snprintf(file, sizeof file, "%s/device/%s", path, name);
  if (rh_probe_read_file(root, file, text, sizeof text) != RH_OK) return 0;
  char *end = NULL;
  long long value = strtoll(text, &end, 10);
  return end == text || *end != '\0' || value < 0 ? 0 : (int64_t)value;
}

// The amdgpu driver's files (kernel documentation, "GPU memory usage information").
static void read_amd_memory(const char *root, const char *path, rh_gpu *gpu) {
  int64_t total = read_bytes(root, path, "mem_info_vram_total");
  int64_t used = read_bytes(root, path, "mem_info_vram_used");
  gpu->memory_bytes = total;
  gpu->memory_free_bytes = used < total ? total - used : 0;
}

static void note_card(const char *root, const char *path, const char *name, rh_hardware *out) {
  char file[560], vendor[32], device[32], line[128];
  if (!is_card(name)) return;
  snprintf(file, sizeof file, "%s/device/vendor", path);
  if (rh_probe_read_file(root, file, vendor, sizeof vendor) != RH_OK) return;
  snprintf(file, sizeof file, "%s/device/device", path);
  if (rh_probe_read_file(root, file, device, sizeof device) != RH_OK) device[0] = '\0';
  // PCI vendor numbers. Other vendors' cards are display adapters of servers and virtual machines.
  const char *maker = strcmp(vendor, "0x1002") == 0   ? "AMD"
                      : strcmp(vendor, "0x8086") == 0 ? "Intel"
                      : strcmp(vendor, "0x10de") == 0 ? "NVIDIA"
                                                      : NULL;
  if (maker == NULL) return;
  // NVIDIA's own driver has named its cards already.
  if (strcmp(maker, "NVIDIA") == 0 && strstr(out->gpus, "NVIDIA") != NULL) return;
  snprintf(line, sizeof line, "%s GPU %s (%s)", maker, device, name);
  const char *word = strcmp(maker, "AMD") == 0 ? "amd" : strcmp(maker, "Intel") == 0 ? "intel" : "nvidia";
  rh_gpu *gpu = add_gpu(out, word, line, line);
  if (gpu != NULL && strcmp(word, "amd") == 0) read_amd_memory(root, path, gpu);
}

void rh_probe_merge_nvidia(rh_hardware *out, const rh_gpu *found, size_t count) {
  size_t at = 0;
  for (size_t i = 0; i < count; i++) {
    while (at < out->gpu_count && strcmp(out->gpu[at].vendor, "nvidia") != 0) at++;
    rh_gpu *gpu = at < out->gpu_count ? &out->gpu[at] : add_gpu(out, "nvidia", found[i].name, found[i].name);
    if (gpu == NULL) return;
    gpu->memory_bytes = found[i].memory_bytes;
    gpu->memory_free_bytes = found[i].memory_free_bytes;
    at = (size_t)(gpu - out->gpu) + 1;
  }
  if (out->gpu_count > 0) out->gpu_reason[0] = '\0';
}

void rh_probe_gpus(const char *root, rh_hardware *out) {
  out->gpus[0] = out->gpu_reason[0] = '\0';
  out->gpu_count = 0;
  bool driver = each_entry(root, "/proc/driver/nvidia/gpus", out, note_nvidia);
  bool cards = each_entry(root, "/sys/class/drm", out, note_card);
  if (out->gpus[0] != '\0') return;
  snprintf(
      out->gpu_reason, sizeof out->gpu_reason, "%s (/proc/driver/nvidia/gpus), and %s (/sys/class/drm)",
      driver ? "NVIDIA's driver is loaded but lists no GPU" : "NVIDIA's driver is not loaded",
      cards ? "no card of AMD, Intel or NVIDIA is among the graphics cards" : "the kernel shows no graphics cards");
}
