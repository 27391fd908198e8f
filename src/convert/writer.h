// SPDX-License-Identifier: Apache-2.0
//
// A file that is there whole or not at all: written as PATH.part, flushed and renamed. A signal that ends the program
// removes the part.
#ifndef RH_CONVERT_WRITER_H
#define RH_CONVERT_WRITER_H

#include <stdint.h>

#include "base/status.h"

typedef struct rh_writer {
  int fd;
  char path[4096], part[4104];
  uint8_t *buffer;
  size_t buffered;
  int64_t written;
} rh_writer;

// `bytes`: how much will be written, for the check of free space (0 = unknown).
rh_status rh_writer_open(rh_writer *self, const char *path, int64_t bytes, rh_error *error) RH_MUST_CHECK;
rh_status rh_writer_put(rh_writer *self, const void *bytes, size_t length, rh_error *error) RH_MUST_CHECK;
rh_status rh_writer_pad(rh_writer *self, size_t alignment, rh_error *error) RH_MUST_CHECK;
// Flush, rename.
rh_status rh_writer_finish(rh_writer *self, rh_error *error) RH_MUST_CHECK;
void rh_writer_abandon(rh_writer *self);  // removes the part; fine after _finish, and when opening had failed

// For a file that somebody else writes: the part's name and its removal by signals, and its completion.
rh_status rh_writer_begin_foreign(rh_writer *self, const char *path, int64_t bytes, rh_error *error) RH_MUST_CHECK;
rh_status rh_writer_finish_foreign(rh_writer *self, rh_error *error) RH_MUST_CHECK;

#endif
