// SPDX-License-Identifier: Apache-2.0
//
// The parts of the hardware probe, each a function of a folder that stands for "/" so that tests can lay out a machine.
#ifndef RH_MODEL_HARDWARE_PROBE_H
#define RH_MODEL_HARDWARE_PROBE_H

#include <sched.h>
#include <stdint.h>

#include "base/dynbuf.h"
#include "model/hardware.h"

// A whole (small) file below `root`, without its last newline. RH_NOT_FOUND or RH_IO when it cannot be read.
rh_status rh_probe_read_file(const char *root, const char *path, char *out, size_t size) RH_MUST_CHECK;

// What the control groups of this process allow, the tightest of all levels; INT64_MAX where there is no limit.
typedef struct rh_cgroup_limits {
  int64_t memory_bytes;
  int64_t memory_free_bytes;  // of that limit
  double cpus;                // quota / period; 0 = no limit
} rh_cgroup_limits;

void rh_probe_cgroup(const char *root, rh_cgroup_limits *out);
void rh_probe_cpu(const char *root, rh_hardware *out);  // name and features
// Distinct cores among the processors of `allowed`; 0 when the machine does not say.
int32_t rh_probe_physical_cores(const char *root, const cpu_set_t *allowed);
// Cards from /proc and /sys, with AMD's memory. NVIDIA's kernel files say nothing of memory: rh_probe_nvml.
void rh_probe_gpus(const char *root, rh_hardware *out);

// The functions of NVIDIA's management library that are used. 0 is success.
typedef struct rh_nvml_memory {
  unsigned long long total_bytes, free_bytes, used_bytes;
} rh_nvml_memory;
typedef struct rh_nvml_calls {
  int (*init)(void);
  int (*shutdown)(void);
  int (*count)(unsigned *count);
  int (*device)(unsigned index, void **device);
  int (*name)(void *device, char *name, unsigned size);
  int (*memory)(void *device, rh_nvml_memory *memory);
} rh_nvml_calls;

// At most `max` GPUs into `out`; how many. 0 when there is no such library or it fails.
size_t rh_probe_nvml(rh_gpu *out, size_t max);
size_t rh_probe_nvml_with(const rh_nvml_calls *nvml, rh_gpu *out, size_t max);
// The memory of `found` into the NVIDIA cards of `out`, in order; cards that the kernel did not list are added.
void rh_probe_merge_nvidia(rh_hardware *out, const rh_gpu *found, size_t count);
// Everything but the affinity, which is the caller's.
void rh_probe_machine(const char *root, const cpu_set_t *allowed, rh_hardware *out);

#endif
