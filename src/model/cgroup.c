// SPDX-License-Identifier: Apache-2.0
//
// The limits that control groups (version 1 and 2) put on this process.
// Owns nothing. Any thread. A limit may stand at any level above the process, so every level is read. It deliberately
// looks only where the kernel's documentation puts the trees (/sys/fs/cgroup), not into mount tables.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "model/hardware_probe.h"

// Version 1 writes "no limit" as a page-aligned number near the largest; nothing real is that big.
#define NO_LIMIT_FROM (INT64_C(1) << 60)

static bool read_number(const char *root, const char *folder, const char *name, int64_t *out) {
  char path[512], text[64], *end;
  snprintf(path, sizeof path, "%.400s/%s", folder, name);
  if (rh_probe_read_file(root, path, text, sizeof text) != RH_OK) return false;
  long long value = strtoll(text, &end, 10);
  if (end == text) return false;  // "max"
  *out = value;
  return true;
}

static void note_memory(const char *root, const char *folder, const char *limit_name, const char *usage_name,
                        rh_cgroup_limits *out) {
  int64_t limit, used = 0;
  if (!read_number(root, folder, limit_name, &limit) || limit <= 0 || limit >= NO_LIMIT_FROM) return;
  (void)read_number(root, folder, usage_name, &used);
  int64_t left = used > limit ? 0 : limit - used;
  if (limit < out->memory_bytes) out->memory_bytes = limit;
  if (left < out->memory_free_bytes) out->memory_free_bytes = left;
}

static void note_quota(double quota, double period, rh_cgroup_limits *out) {
  if (quota <= 0 || period <= 0) return;
  double cpus = quota / period;
  if (out->cpus <= 0 || cpus < out->cpus) out->cpus = cpus;
}

static void note_v2(const char *root, const char *folder, rh_cgroup_limits *out) {
  note_memory(root, folder, "memory.max", "memory.current", out);
  char path[512], text[64], *end;
  snprintf(path, sizeof path, "%.400s/cpu.max", folder);
  if (rh_probe_read_file(root, path, text, sizeof text) != RH_OK) return;
  double quota = strtod(text, &end);
  if (end != text) note_quota(quota, strtod(end, NULL), out);  // otherwise "max"
}

static void note_v1_memory(const char *root, const char *folder, rh_cgroup_limits *out) {
  note_memory(root, folder, "memory.limit_in_bytes", "memory.usage_in_bytes", out);
}

static void note_v1_cpu(const char *root, const char *folder, rh_cgroup_limits *out) {
  int64_t quota, period;
  if (!read_number(root, folder, "cpu.cfs_quota_us", &quota)) return;
  if (!read_number(root, folder, "cpu.cfs_period_us", &period)) return;
  note_quota((double)quota, (double)period, out);
}

// Every level from the process's own group up to the root of the tree. Inside a container the group's path may not
// exist below the mount; the root then stands for the container's own group.
static void each_level(const char *root, const char *mount, const char *group, rh_cgroup_limits *out,
                       void (*note)(const char *root, const char *folder, rh_cgroup_limits *out)) {
  char folder[400];
  size_t mount_length = strlen(mount);
  int length = snprintf(folder, sizeof folder, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group);
  if (length < 0 || (size_t)length >= sizeof folder) folder[mount_length] = '\0';
  for (;;) {
    note(root, folder, out);
    char *slash = strrchr(folder, '/');
    if (slash == NULL || (size_t)(slash - folder) < mount_length) return;
    *slash = '\0';
  }
}

static bool lists(const char *controllers, size_t length, const char *name) {
  size_t name_length = strlen(name);
  for (size_t at = 0; at < length;) {
    size_t end = at;
    while (end < length && controllers[end] != ',') end++;
    if (end - at == name_length && memcmp(controllers + at, name, name_length) == 0) return true;
    at = end + 1;
  }
  return false;
}

// One line of /proc/self/cgroup: "id:controllers:path".
static void note_line(const char *root, const char *line, rh_cgroup_limits *out) {
  const char *controllers = strchr(line, ':');
  const char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
  if (group == NULL) return;
  controllers++;
  size_t length = (size_t)(group - controllers);
  group++;
  if (length == 0) {
    each_level(root, "/sys/fs/cgroup", group, out, note_v2);
    each_level(root, "/sys/fs/cgroup/unified", group, out, note_v2);
    return;
  }
  if (lists(controllers, length, "memory")) each_level(root, "/sys/fs/cgroup/memory", group, out, note_v1_memory);
  if (lists(controllers, length, "cpu")) {
    each_level(root, "/sys/fs/cgroup/cpu", group, out, note_v1_cpu);
    each_level(root, "/sys/fs/cgroup/cpu,cpuacct", group, out, note_v1_cpu);
  }
}

void rh_probe_cgroup(const char *root, rh_cgroup_limits *out) {
  *out = (rh_cgroup_limits){.memory_bytes = INT64_MAX, .memory_free_bytes = INT64_MAX};
  char text[8192];
  if (rh_probe_read_file(root, "/proc/self/cgroup", text, sizeof text) != RH_OK) return;
  char *rest = text;
  for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) note_line(root, line, out);
}
