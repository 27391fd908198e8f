// SPDX-License-Identifier: Apache-2.0
//
// What this machine has. Probed, never assumed.
#ifndef RH_MODEL_HARDWARE_H
#define RH_MODEL_HARDWARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define RH_GPUS_MAX 16
// "+avx512_vnni,-avx512f": features that the probe shall see, or not see, whatever the processor has. It decides only what
// is chosen for a processor; which instructions are used is the libraries' own finding.
#define RH_CPU_FEATURES_VARIABLE "ROUNDHOUSE_CPU_FEATURES"

typedef struct rh_gpu {
  char name[96];              // "NVIDIA H100 80GB HBM3", "AMD GPU 0x744c (card1)"
  char vendor[16];            // "nvidia", "amd", "intel"
  int64_t memory_bytes;       // of its own; 0 when the driver does not say, or when it shares the machine's
  int64_t memory_free_bytes;  // now
} rh_gpu;

typedef struct rh_hardware {
  char cpu_name[128];
  char cpu_features[512];  // space-separated: "avx2 fma f16c avx512f ..."; those that inference cares about
  int32_t cores_physical;  // that this process may use (affinity and cgroup quota considered)
  int32_t cores_logical;
  int64_t memory_bytes;  // the smaller of the machine's and the cgroup's
  int64_t memory_free_bytes;
  char os[128];             // "Linux 6.1.0 x86_64, glibc 2.36"
  char gpus[512];           // one a line: "NVIDIA H100 (driver 550.54)"; empty when none was found
  char gpu_reason[256];     // when none: what was looked for
  rh_gpu gpu[RH_GPUS_MAX];  // the same cards, in the same order, with their memory
  size_t gpu_count;
} rh_hardware;

void rh_hardware_probe(rh_hardware *out);
// The same for the processor's name and features alone, which costs next to nothing.
void rh_hardware_probe_cpu(rh_hardware *out);
// Instructions that multiply and add 8-bit integers: int8 is then far faster than floating point.
bool rh_hardware_has_vnni(const rh_hardware *hardware);

#endif
