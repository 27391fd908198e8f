// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what a thread that takes part in an operation knows of the others.
// Threads: each has a team struct of its own; `work` is common memory.
#ifndef RH_KERNELS_TEAM_H
#define RH_KERNELS_TEAM_H

#include <stddef.h>
#include <stdint.h>

typedef struct rk_team {
  int index;  // this thread, from 0
  int count;
  uint8_t *work;  // of the size that the operation asked for, common to all
  size_t work_size;
  void (*barrier)(void *pool);  // returns when all threads have called it
  void *pool;
} rk_team;

static inline void rk_team_wait(const rk_team *team) {
  if (team->count > 1) team->barrier(team->pool);
}

#endif
