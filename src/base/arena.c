// SPDX-License-Identifier: Apache-2.0
//
// The bump allocator. It owns a chain of blocks; one owner thread. There is no way to give one allocation back: an
// arena that would need that is the wrong tool. Text is packed without alignment, everything else is aligned for any
// type.
#include "base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#define POISON(at, size) __asan_poison_memory_region((at), (size))
#define UNPOISON(at, size) __asan_unpoison_memory_region((at), (size))
#else
#define POISON(at, size) ((void)(at), (void)(size))
#define UNPOISON(at, size) ((void)(at), (void)(size))
#endif

#define BLOCK_FIRST ((size_t)4096)
#define BLOCK_LARGEST ((size_t)64 * 1024)

typedef struct block {
  struct block *next;
  size_t used;
  size_t size;
  alignas(max_align_t) char bytes[];
} block;

struct rh_arena {
  block *first;       // the one small allocations come from; full ones and large ones hang behind it
  size_t block_size;  // of the next block
  size_t bytes;       // handed out, with padding
  size_t bytes_max;
};

rh_arena *rh_arena_new(size_t bytes_max) {
  rh_arena *arena = calloc(1, sizeof *arena);
  if (arena == NULL) return NULL;
  arena->bytes_max = bytes_max;
  arena->block_size = BLOCK_FIRST;
  return arena;
}

void rh_arena_free(rh_arena *arena) {
  if (arena == NULL) return;
  for (block *at = arena->first, *next; at != NULL; at = next) {
    next = at->next;
    UNPOISON(at->bytes, at->size);
    free(at);
  }
  free(arena);
}

void rh_arena_reset(rh_arena *arena) {
  block *kept = arena->first;
  if (kept == NULL) return;
  for (block *at = kept->next, *next; at != NULL; at = next) {
    next = at->next;
    UNPOISON(at->bytes, at->size);
    free(at);
  }
  kept->next = NULL;
  arena->bytes = 0;
  if (kept->size > BLOCK_LARGEST) {  // made for one large allocation: not worth keeping
    UNPOISON(kept->bytes, kept->size);
    free(kept);
    arena->first = NULL;
    return;
  }
  UNPOISON(kept->bytes, kept->used);
  memset(kept->bytes, 0, kept->used);  // allocations are promised to be zeroed
  POISON(kept->bytes, kept->size);
  kept->used = 0;
}

static block *block_new(size_t size) {
  block *made = calloc(1, sizeof *made + size);
  if (made == NULL) return NULL;
  made->size = size;
  POISON(made->bytes, size);
  return made;
}

static void *take(rh_arena *arena, block *from, size_t padding, size_t bytes) {
  char *out = from->bytes + from->used + padding;
  from->used += padding + bytes;
  arena->bytes += padding + bytes;
  UNPOISON(out, bytes);
  return out;
}

static void *alloc_aligned(rh_arena *arena, size_t bytes, size_t alignment) {
  if (bytes == 0) bytes = 1;  // distinct addresses, and zero-sized requests count against the maximum
  if (bytes > arena->bytes_max - arena->bytes) return NULL;
  block *from = arena->first;
  if (from != NULL) {
    size_t padding = (alignment - from->used % alignment) % alignment;
    size_t room = from->size - from->used;
    if (padding <= room && bytes <= room - padding) {
      if (padding + bytes > arena->bytes_max - arena->bytes) return NULL;
      return take(arena, from, padding, bytes);
    }
  }
  if (bytes > arena->block_size / 4) {
    // A block of its own, hung behind the first so that the room left in that one stays in use.
    if (bytes > SIZE_MAX - sizeof(block)) return NULL;
    block *own = block_new(bytes);
    if (own == NULL) return NULL;
    own->next = from == NULL ? NULL : from->next;
    if (from == NULL)
      arena->first = own;
    else
      from->next = own;
    return take(arena, own, 0, bytes);
  }
  block *fresh = block_new(arena->block_size);
  if (fresh == NULL) return NULL;
  fresh->next = from;
  arena->first = fresh;
  if (arena->block_size < BLOCK_LARGEST) arena->block_size *= 2;
  return take(arena, fresh, 0, bytes);
}

void *rh_arena_alloc(rh_arena *arena, size_t bytes) { return alloc_aligned(arena, bytes, alignof(max_align_t)); }

void *rh_arena_alloc_array(rh_arena *arena, size_t count, size_t bytes_each) {
  if (bytes_each != 0 && count > SIZE_MAX / bytes_each) return NULL;
  return rh_arena_alloc(arena, count * bytes_each);
}

char *rh_arena_strndup(rh_arena *arena, const char *text, size_t length) {
  if (text == NULL || length == SIZE_MAX) return NULL;
  char *copy = alloc_aligned(arena, length + 1, 1);
  if (copy != NULL) memcpy(copy, text, length);  // the final NUL is there: memory is zeroed
  return copy;
}

char *rh_arena_strdup(rh_arena *arena, const char *text) {
  return text == NULL ? NULL : rh_arena_strndup(arena, text, strlen(text));
}

char *rh_arena_printf(rh_arena *arena, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  if (length < 0) return NULL;
  char *text = alloc_aligned(arena, (size_t)length + 1, 1);
  if (text == NULL) return NULL;
  va_start(arguments, format);
  (void)vsnprintf(text, (size_t)length + 1, format, arguments);
  va_end(arguments);
  return text;
}

size_t rh_arena_bytes(const rh_arena *arena) { return arena->bytes; }
