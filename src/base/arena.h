// SPDX-License-Identifier: Apache-2.0
//
// A bump allocator with a maximum: everything one request needs is taken from one arena and freed at once.
// One owner thread. Memory is zeroed and aligned for any type. Poisoned under AddressSanitizer until handed out.
#ifndef RH_BASE_ARENA_H
#define RH_BASE_ARENA_H

#include <stddef.h>

#include "base/status.h"

typedef struct rh_arena rh_arena;

// NULL when memory is short. `bytes_max` bounds the sum of all allocations.
rh_arena *rh_arena_new(size_t bytes_max);
void rh_arena_free(rh_arena *arena);  // NULL is allowed
// Forget all allocations but keep the first block: for scratch space that is used again and again.
void rh_arena_reset(rh_arena *arena);

// NULL when the maximum would be passed or memory is short. Lives as long as the arena.
void *rh_arena_alloc(rh_arena *arena, size_t bytes);
void *rh_arena_alloc_array(rh_arena *arena, size_t count, size_t bytes_each);  // overflow-checked
char *rh_arena_strdup(rh_arena *arena, const char *text);                      // NULL in, NULL out
char *rh_arena_strndup(rh_arena *arena, const char *text, size_t length);      // adds the final NUL
char *rh_arena_printf(rh_arena *arena, const char *format, ...) RH_PRINTF(2, 3);

size_t rh_arena_bytes(const rh_arena *arena);

#endif
