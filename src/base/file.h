// SPDX-License-Identifier: Apache-2.0
//
// Files and folders: whole small files, atomic replacement, trees, digests. Blocking; any thread.
#ifndef RH_BASE_FILE_H
#define RH_BASE_FILE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/dynbuf.h"
#include "base/status.h"

#define RH_SHA256_HEX 65  // 64 digits and a NUL

// What the names of unfinished files of rh_file_write_atomic begin with: a crash may leave one, which may be deleted.
#define RH_FILE_TEMPORARY ".unfinished-"

// ENOSPC, EDQUOT and EFBIG: RH_NO_SPACE; ENOENT: RH_NOT_FOUND; ENOMEM: RH_NO_MEMORY; else RH_IO.
rh_status rh_file_status_from_errno(int number);
// That status with "cannot WHAT PATH: reason".
rh_status rh_file_fail(rh_error *error, int number, const char *what, const char *path);

// The whole file into `out` (which bounds it: RH_TOO_LARGE). RH_NOT_FOUND when there is none.
rh_status rh_file_read(const char *path, rh_dynbuf *out, rh_error *error) RH_MUST_CHECK;

// Replace `path` in one step: written beside it, flushed to disk, renamed. After a crash there is the old file or the
// new one, never half. RH_NO_SPACE when the disk is full.
rh_status rh_file_write_atomic(const char *path, const void *bytes, size_t length, mode_t mode,
                               rh_error *error) RH_MUST_CHECK;

rh_status rh_file_make_folders(const char *path, mode_t mode, rh_error *error) RH_MUST_CHECK;  // like mkdir -p
// A file or a whole tree; does not follow links. Fine when it is not there.
rh_status rh_file_remove_tree(const char *path, rh_error *error) RH_MUST_CHECK;
// Bytes on disk below `path`, each inode once.
int64_t rh_file_tree_bytes(const char *path);
// Bytes a user may still write on the file system of `path`; -1 when unknown.
int64_t rh_file_free_bytes(const char *path);
// Flush a file or folder to disk (fsync).
rh_status rh_file_sync(const char *path, rh_error *error) RH_MUST_CHECK;
// Hard link where both lie on one file system, else a copy (reflink where the file system can), not yet flushed.
// A link `from` is followed. RH_CONFLICT when `to` exists. What could not be written whole is removed.
rh_status rh_file_link_or_copy(const char *from, const char *to, rh_error *error) RH_MUST_CHECK;

// SHA-256 in pieces.
typedef struct rh_sha256 rh_sha256;
rh_sha256 *rh_sha256_new(void);  // NULL when memory is short
void rh_sha256_update(rh_sha256 *digest, const void *bytes, size_t length);
void rh_sha256_finish(rh_sha256 *digest, char out[RH_SHA256_HEX]);  // frees the digest
void rh_sha256_free(rh_sha256 *digest);                             // without finishing; NULL is fine
// Of a whole file. `progress` (may be NULL) gets the bytes done so far; false gives up with RH_CANCELLED.
rh_status rh_sha256_file(const char *path, char out[RH_SHA256_HEX], bool (*progress)(void *ctx, int64_t done),
                         void *ctx, rh_error *error) RH_MUST_CHECK;

#endif
