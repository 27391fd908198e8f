// SPDX-License-Identifier: Apache-2.0
//
// Purpose: see buffer.h.
// Data owned: `chosen`, the set that all buffers pack for; `from_mapping`.
#include "kernels/buffer.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/panel.h"

#define ALIGNMENT 64
#define PAGE ((size_t)4096)
// So much of a weight in the file is packed before its pages are given back: the most that exists twice.
#define PIECE ((size_t)8 << 20)

static const rk_set *chosen;
static bool from_mapping;

void rk_buffer_mapped(bool mapped) { from_mapping = mapped; }

static const char *get_name(ggml_backend_buffer_type_t type) {
  (void)type;
  return "ROUNDHOUSE";
}

static size_t get_alignment(ggml_backend_buffer_type_t type) {
  (void)type;
  return ALIGNMENT;
}

static size_t get_alloc_size(ggml_backend_buffer_type_t type, const struct ggml_tensor *tensor) {
  (void)type;
  const rk_format *format = rk_format_find(chosen, (int)tensor->type);
  GGML_ASSERT(format);
  return rk_matrix_bytes(format, tensor->ne[1], tensor->ne[0]) * (size_t)(tensor->ne[2] * tensor->ne[3]);
}

static void free_buffer(ggml_backend_buffer_t buffer) {
  if (munmap(buffer->context, buffer->size) != 0) perror("cannot give back the memory of packed weights");
}

static void *get_base(ggml_backend_buffer_t buffer) { return buffer->context; }

static enum ggml_status init_tensor(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor) {
  (void)buffer;
  tensor->extra = (void *)(uintptr_t)rk_format_find(chosen, (int)tensor->type);
  return tensor->extra ? GGML_STATUS_SUCCESS : GGML_STATUS_FAILED;
}

// Gives back the pages that lie wholly in what was read: the file can be read again, so nothing is lost.
static void release(const uint8_t *begin, const uint8_t *end) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t first = ((uintptr_t)begin + page - 1) / page * page;
  uintptr_t last = (uintptr_t)end / page * page;
  if (last > first) (void)madvise((void *)first, last - first, MADV_DONTNEED);
}

static void set_tensor(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor, const void *data, size_t offset,
                       size_t size) {
  (void)buffer;
  GGML_ASSERT(offset == 0 && size == ggml_nbytes(tensor));
  const rk_stored stored = {.format = tensor->extra,
                            .rows = tensor->ne[1],
                            .columns = tensor->ne[0],
                            .matrices = tensor->ne[2] * tensor->ne[3],
                            .data = data};
  int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
  int64_t panels = rk_stored_panels(&stored);
  int64_t at_once = 1 + (int64_t)((double)panels * (double)PIECE / (double)size);
  for (int64_t first = 0; first < panels; first += at_once) {
    int64_t count = first + at_once < panels ? at_once : panels - first;
    rk_pack(&stored, first, count, tensor->data, cores);
    if (!from_mapping) continue;
    release(stored.data + rk_stored_at(&stored, first), stored.data + rk_stored_at(&stored, first + count));
  }
}

static void clear(ggml_backend_buffer_t buffer, uint8_t value) {
  // New pages are zero, and a packed weight has no other value that it could be cleared to.
  (void)buffer;
  (void)value;
}

static ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
  size_t whole = (size + PAGE - 1) / PAGE * PAGE;
  void *pages = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return NULL;
  // No huge pages are asked for: they read no faster here, and a load took twice as long (docs/kernels.md).
  struct ggml_backend_buffer_i functions = {
      .free_buffer = free_buffer,
      .get_base = get_base,
      .init_tensor = init_tensor,
      .set_tensor = set_tensor,
      .clear = clear,
  };
  return ggml_backend_buffer_init(type, functions, pages, whole);
}

struct ggml_backend_buffer_type_i rk_buffer_type(const rk_set *set) {
  chosen = set;
  return (struct ggml_backend_buffer_type_i){
      .get_name = get_name,
      .alloc_buffer = alloc_buffer,
      .get_alignment = get_alignment,
      .get_alloc_size = get_alloc_size,
  };
}
