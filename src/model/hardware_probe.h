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
void rh_probe_gpus(const char *root, rh_hardware *out);
// Everything but the affinity, which is the caller's.
void rh_probe_machine(const char *root, const cpu_set_t *allowed, rh_hardware *out);

#endif
