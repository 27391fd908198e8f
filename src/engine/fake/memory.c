// SPDX-License-Identifier: Apache-2.0
//
// Memory that really is taken: so that tests see a worker of a known size in the system's own numbers, and see it go.
//
// Pages are asked of the kernel directly and each is made present: memory that nobody touched is in nobody's resident
// set, and what an allocator gets back it may keep. Engine thread only. It holds nothing else.
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/fake/script.h"

#define CHUNK_BYTES ((size_t)16 << 20)

// From kernel 5.14 on a system call does it; before, one write a page.
static void make_present(char *at, size_t length) {
#ifdef MADV_POPULATE_WRITE
  if (madvise(at, length, MADV_POPULATE_WRITE) == 0) return;
#endif
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (size_t i = 0; i < length; i += page) ((volatile char *)at)[i] = 1;
}

rh_status rh_fake_memory_take(size_t bytes, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                              void **out, rh_error *error) {
  *out = NULL;
  if (bytes == 0) return RH_OK;
  char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return rh_fail(error, RH_NO_MEMORY, "The fake engine cannot have %zu bytes: %s.", bytes, strerror(errno));
  }
  for (size_t done = 0; done < bytes;) {
    if (progress != NULL && !progress(progress_ctx, (double)done / (double)bytes)) {
      rh_fake_memory_give(memory, bytes);
      return rh_fail(error, RH_CANCELLED, "The load was given up.");
    }
    size_t part = bytes - done < CHUNK_BYTES ? bytes - done : CHUNK_BYTES;
    make_present(memory + done, part);
    done += part;
  }
  *out = memory;
  return RH_OK;
}

void rh_fake_memory_give(void *memory, size_t bytes) {
  if (memory != NULL) (void)munmap(memory, bytes);
}
