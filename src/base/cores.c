// SPDX-License-Identifier: Apache-2.0
//
// Purpose: how many threads should compute: the physical cores this process may run on.
// Data owned: none. Threads: any.
// Not here: pinning. Two hardware threads of one core share its vector units, and an engine's inner loops keep those busy,
// so a second thread per core only adds waiting at barriers.
#include "base/cores.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define CPUS_MAX CPU_SETSIZE

static bool read_number(int cpu, const char *file, long *out) {
  char path[128];
  (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/%s", cpu, file);
  FILE *stream = fopen(path, "re");
  if (!stream) return false;
  bool ok = fscanf(stream, "%ld", out) == 1;
  fclose(stream);
  return ok;
}

// A container may be given less time than it has processors; threads beyond that share only make each other wait.
static int64_t quota_cores(int64_t cores) {
  FILE *stream = fopen("/sys/fs/cgroup/cpu.max", "re");
  if (!stream) return cores;
  long quota = 0;
  long period = 0;
  bool limited = fscanf(stream, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0;
  fclose(stream);
  if (!limited) return cores;
  int64_t share = (quota + period - 1) / period;
  return share < cores ? share : cores;
}

int64_t rh_cores_available(void) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? online : 1;
  }
  static const long unknown = -1;
  long packages[CPUS_MAX];
  long cores[CPUS_MAX];
  int64_t count = 0;
  for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
    if (!CPU_ISSET((size_t)cpu, &allowed)) continue;
    long package = unknown;
    long core = unknown;
    // Without topology each processor counts as a core of its own.
    if (!read_number(cpu, "physical_package_id", &package) || !read_number(cpu, "core_id", &core)) {
      package = unknown;
      core = cpu;
    }
    bool seen = false;
    for (int64_t i = 0; i < count && !seen; i++) seen = packages[i] == package && cores[i] == core;
    if (seen) continue;
    packages[count] = package;
    cores[count] = core;
    count++;
  }
  count = quota_cores(count);
  return count > 0 ? count : 1;
}
