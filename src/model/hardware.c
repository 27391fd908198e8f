// SPDX-License-Identifier: Apache-2.0
//
// What this machine has: processor, cores, memory, system. Reads /proc and /sys, and control groups through cgroup.c.
// Owns nothing. Any thread. It deliberately runs no programs and asks no driver but for the memory of NVIDIA's cards
// (gpu_nvml.c): what an engine can use of the hardware is the engine's answer (`roundhouse-worker --probe`), not ours.
#include "model/hardware.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/text.h"
#include "model/hardware_probe.h"

// Instruction sets that decide how fast a matrix product is, named as the kernel names them: x86 and Arm.
static const char *const features_of_interest[] = {
    "sse4_2",      "avx",         "avx2",     "fma",      "f16c",     "bmi2",        "avx_vnni",   "avx_vnni_int8",
    "avx512f",     "avx512bw",    "avx512dq", "avx512vl", "avx512cd", "avx512_vnni", "avx512vbmi", "avx512_vbmi2",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",    "asimd",      "asimdhp",
    "asimddp",     "fphp",        "i8mm",     "bf16",     "sve",      "sve2",        "sme",
};

rh_status rh_probe_read_file(const char *root, const char *path, char *out, size_t size) {
  char full[512];
  out[0] = '\0';
  int length = snprintf(full, sizeof full, "%s%s", root, path);
  if (length < 0 || (size_t)length >= sizeof full) return RH_TOO_LARGE;
  int fd = open(full, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? RH_NOT_FOUND : RH_IO;
  size_t got = 0;
  while (got < size - 1) {
    ssize_t n = read(fd, out + got, size - 1 - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    got += (size_t)n;
  }
  close(fd);
  while (got > 0 && isspace((unsigned char)out[got - 1])) got--;
  out[got] = '\0';
  return RH_OK;
}

// The value after "key : " of the first line that begins with `key`.
static bool find_line(const char *text, const char *key, char *out, size_t size) {
  size_t key_length = strlen(key);
  for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (strncmp(line, key, key_length) != 0) continue;
    const char *value = line + key_length;
    while (*value == ' ' || *value == '\t') value++;
    if (*value != ':') continue;
    value++;
    while (*value == ' ' || *value == '\t') value++;
    size_t length = strcspn(value, "\n");
    if (length >= size) length = size - 1;
    memcpy(out, value, length);
    out[length] = '\0';
    return true;
  }
  return false;
}

static bool has_word(const char *words, const char *word) {
  size_t length = strlen(word);
  for (const char *at = strstr(words, word); at != NULL; at = strstr(at + 1, word)) {
    bool begins = at == words || at[-1] == ' ';
    bool ends = at[length] == '\0' || at[length] == ' ';
    if (begins && ends) return true;
  }
  return false;
}

// What RH_CPU_FEATURES_VARIABLE says of a feature: 1 = it is there, -1 = it is not, 0 = nothing.
static int pretended(const char *wishes, const char *feature) {
  size_t length = strlen(feature);
  for (const char *at = wishes; at != NULL && *at != '\0'; at += strspn(at, ", ")) {
    size_t size = strcspn(at, ", ");
    if (size == length + 1 && strncmp(at + 1, feature, length) == 0 && (*at == '+' || *at == '-'))
      return *at == '+' ? 1 : -1;
    at += size;
  }
  return 0;
}

bool rh_hardware_has_vnni(const rh_hardware *hardware) {
  return has_word(hardware->cpu_features, "avx512_vnni") || has_word(hardware->cpu_features, "avx_vnni");
}

void rh_probe_cpu(const char *root, rh_hardware *out) {
  // Only the first processor's block is looked at; it is below this size on every machine seen.
  char text[16384], words[4096];
  out->cpu_name[0] = out->cpu_features[0] = '\0';
  if (rh_probe_read_file(root, "/proc/cpuinfo", text, sizeof text) != RH_OK) text[0] = '\0';
  bool named = find_line(text, "model name", out->cpu_name, sizeof out->cpu_name) && out->cpu_name[0] != '\0';
  if (!named) (void)rh_text_copy(out->cpu_name, sizeof out->cpu_name, "unknown");
  // x86 says "flags", Arm says "Features".
  if (!find_line(text, "flags", words, sizeof words) && !find_line(text, "Features", words, sizeof words)) return;
  const char *wishes = getenv(RH_CPU_FEATURES_VARIABLE);
  size_t used = 0;
  for (size_t i = 0; i < sizeof features_of_interest / sizeof *features_of_interest; i++) {
    const char *feature = features_of_interest[i];
    size_t room = sizeof out->cpu_features - used;
    int wish = pretended(wishes, feature);
    if (wish < 0 || (wish == 0 && !has_word(words, feature)) || strlen(feature) + 2 > room) continue;
    used += (size_t)snprintf(out->cpu_features + used, room, "%s%s", used > 0 ? " " : "", feature);
  }
}

static long topology_number(const char *root, int cpu, const char *name) {
  char path[128], text[32];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/%s", cpu, name);
  if (rh_probe_read_file(root, path, text, sizeof text) != RH_OK || text[0] == '\0') return -1;
  return strtol(text, NULL, 10);
}

int32_t rh_probe_physical_cores(const char *root, const cpu_set_t *allowed) {
  static const size_t cores_max = CPU_SETSIZE;
  long(*seen)[2] = calloc(cores_max, sizeof *seen);
  if (seen == NULL) return 0;
  size_t count = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET((size_t)cpu, allowed)) continue;
    long package = topology_number(root, cpu, "physical_package_id");
    long core = topology_number(root, cpu, "core_id");
    if (core < 0) continue;
    size_t i = 0;
    while (i < count && (seen[i][0] != package || seen[i][1] != core)) i++;
    if (i < count) continue;
    seen[count][0] = package;
    seen[count][1] = core;
    count++;
  }
  free(seen);
  return (int32_t)count;
}

static int64_t meminfo_bytes(const char *text, const char *key) {
  char value[64];
  if (!find_line(text, key, value, sizeof value)) return 0;
  long long kib = strtoll(value, NULL, 10);
  return kib < 0 || kib > INT64_MAX / 1024 ? 0 : (int64_t)kib * 1024;
}

static void probe_memory(const char *root, const rh_cgroup_limits *limits, rh_hardware *out) {
  char text[8192];
  if (rh_probe_read_file(root, "/proc/meminfo", text, sizeof text) != RH_OK) text[0] = '\0';
  int64_t total = meminfo_bytes(text, "MemTotal");
  int64_t available = meminfo_bytes(text, "MemAvailable");
  out->memory_bytes = total > 0 && total < limits->memory_bytes ? total : limits->memory_bytes;
  if (out->memory_bytes == INT64_MAX) out->memory_bytes = 0;  // neither knows
  out->memory_free_bytes = available < limits->memory_free_bytes ? available : limits->memory_free_bytes;
}

static void probe_cores(const char *root, const cpu_set_t *allowed, const rh_cgroup_limits *limits, rh_hardware *out) {
  int32_t logical = CPU_COUNT(allowed) > 0 ? CPU_COUNT(allowed) : 1;
  int32_t physical = rh_probe_physical_cores(root, allowed);
  if (physical == 0 || physical > logical) physical = logical;
  if (limits->cpus > 0) {
    // A quota of 1.5 processors keeps two threads busy most of the time, and one thread never uses it up.
    double rounded = ceil(limits->cpus);
    if (rounded < logical) logical = (int32_t)rounded;
    if (rounded < physical) physical = (int32_t)rounded;
  }
  out->cores_logical = logical;
  out->cores_physical = physical;
}

static void probe_system(rh_hardware *out) {
  struct utsname name;
  if (uname(&name) != 0) memset(&name, 0, sizeof name);
  snprintf(out->os, sizeof out->os, "%.24s %.56s %.16s, glibc %.16s", name.sysname, name.release, name.machine,
           gnu_get_libc_version());
}

void rh_probe_machine(const char *root, const cpu_set_t *allowed, rh_hardware *out) {
  memset(out, 0, sizeof *out);
  rh_cgroup_limits limits;
  rh_probe_cgroup(root, &limits);
  rh_probe_cpu(root, out);
  probe_cores(root, allowed, &limits, out);
  probe_memory(root, &limits, out);
  probe_system(out);
  rh_probe_gpus(root, out);
}

void rh_hardware_probe_cpu(rh_hardware *out) {
  memset(out, 0, sizeof *out);
  rh_probe_cpu("", out);
}

void rh_hardware_probe(rh_hardware *out) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    // More processors than a cpu_set_t holds: count those that are online instead.
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    for (long i = 0; i < online && i < CPU_SETSIZE; i++) CPU_SET((size_t)i, &allowed);
  }
  rh_probe_machine("", &allowed, out);
  // Only where the driver is loaded: opening NVIDIA's library costs a few milliseconds and some memory.
  rh_gpu found[RH_GPUS_MAX];
  struct stat driver;
  if (stat("/proc/driver/nvidia", &driver) != 0 && stat("/dev/nvidiactl", &driver) != 0) return;
  rh_probe_merge_nvidia(out, found, rh_probe_nvml(found, RH_GPUS_MAX));
}
