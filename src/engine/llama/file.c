// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a first look at a model file, so that a wrong path, a web page saved as a model, or half a download gets a
// message a person can act on instead of an assertion deep inside llama.
// Data owned: none. Threads: any.
// Not here: judging tensors and metadata. llama does that; a file that fools it costs the worker, nothing else.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/llama/internal.h"

// The fixed head of a GGUF file: magic, version, number of tensors, number of metadata entries.
#define HEAD_BYTES 24
// Counts past these are nonsense: the largest published models have some ten thousand tensors.
#define TENSORS_MAX (UINT64_C(1) << 20)
#define ENTRIES_MAX (UINT64_C(1) << 20)
// The least a file can spend on one tensor's description or on one metadata entry.
#define ITEM_BYTES_MIN 16

static uint64_t little_endian(const unsigned char *bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = count; i > 0; i--) value = value << 8 | bytes[i - 1];
  return value;
}

static rh_status check_head(const char *path, const unsigned char *head, uint64_t size, rh_error *error) {
  if (memcmp(head, "GGUF", 4) != 0) {
    return rh_fail(error, RH_LOAD_FAILED,
                   "%s is no GGUF model: its first four bytes are %02x %02x %02x %02x, not \"GGUF\"", path, head[0],
                   head[1], head[2], head[3]);
  }
  uint64_t version = little_endian(head + 4, 4);
  if (version < 2 || version > 3) {
    return rh_fail(error, RH_LOAD_FAILED, "%s is a GGUF file of version %llu%s; this build reads versions 2 and 3",
                   path, (unsigned long long)version, (version & 0xffff) == 0 ? " (a big-endian file?)" : "");
  }
  uint64_t tensors = little_endian(head + 8, 8);
  uint64_t entries = little_endian(head + 16, 8);
  if (tensors > TENSORS_MAX || entries > ENTRIES_MAX || (tensors + entries) * ITEM_BYTES_MIN > size) {
    return rh_fail(error, RH_LOAD_FAILED,
                   "%s is damaged: it claims %llu tensors and %llu metadata entries in %llu bytes", path,
                   (unsigned long long)tensors, (unsigned long long)entries, (unsigned long long)size);
  }
  if (tensors == 0) {
    return rh_fail(error, RH_LOAD_FAILED, "%s holds no tensors (a vocabulary file?); it cannot generate text", path);
  }
  return RH_OK;
}

rh_status rh_llama_file_check(const char *path, rh_error *error) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return rh_fail(error, RH_LOAD_FAILED, "cannot open the model file %s: %s", path, strerror(errno));
  struct stat facts;
  unsigned char head[HEAD_BYTES];
  rh_status status = RH_OK;
  if (fstat(fd, &facts) != 0) {
    status = rh_fail(error, RH_LOAD_FAILED, "cannot read the model file %s: %s", path, strerror(errno));
  } else if (!S_ISREG(facts.st_mode)) {
    status = rh_fail(error, RH_LOAD_FAILED, "%s is %s, not a model file", path,
                     S_ISDIR(facts.st_mode) ? "a folder" : "a device, pipe or socket");
  } else if (facts.st_size < HEAD_BYTES || pread(fd, head, sizeof head, 0) != HEAD_BYTES) {
    status = rh_fail(error, RH_LOAD_FAILED, "%s has only %lld bytes; that is no GGUF model (an interrupted download?)",
                     path, (long long)facts.st_size);
  } else {
    status = check_head(path, head, (uint64_t)facts.st_size, error);
  }
  close(fd);
  return status;
}
