// SPDX-License-Identifier: Apache-2.0
//
// What this machine has. Probed, never assumed.
#ifndef RH_MODEL_HARDWARE_H
#define RH_MODEL_HARDWARE_H

#include <stdint.h>

#include "base/status.h"

typedef struct rh_hardware {
  char cpu_name[128];
  char cpu_features[512];  // space-separated: "avx2 fma f16c avx512f ..."; those that inference cares about
  int32_t cores_physical;  // that this process may use (affinity and cgroup quota considered)
  int32_t cores_logical;
  int64_t memory_bytes;  // the smaller of the machine's and the cgroup's
  int64_t memory_free_bytes;
  char os[128];          // "Linux 6.1.0 x86_64, glibc 2.36"
  char gpus[512];        // one a line: "NVIDIA H100 (driver 550.54)"; empty when none was found
  char gpu_reason[256];  // when none: what was looked for
} rh_hardware;

void rh_hardware_probe(rh_hardware *out);

#endif
