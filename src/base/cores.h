// SPDX-License-Identifier: Apache-2.0
//
// How many threads should compute: the physical cores this process may run on.
#ifndef RH_BASE_CORES_H
#define RH_BASE_CORES_H

#include <stdint.h>

// At least 1. Looks at the processors this process may use, their topology and the container's quota; any thread.
int64_t rh_cores_available(void);

#endif
