// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 in pieces and of whole files, through libcrypto. A digest belongs to one thread at a time. A library that
// cannot hash stops the process: a wrong digest would let a wrong file pass, or damage a right one's name.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define BUFFER_BYTES ((size_t)1024 * 1024)
#define DIGEST_BYTES 32

struct rh_sha256 {
  EVP_MD_CTX *context;
};

static void must(int result) {
  if (result == 1) return;
  (void)fputs("roundhouse: SHA-256 failed\n", stderr);
  abort();
}

rh_sha256 *rh_sha256_new(void) {
  rh_sha256 *digest = calloc(1, sizeof *digest);
  if (digest == NULL) return NULL;
  digest->context = EVP_MD_CTX_new();
  if (digest->context == NULL || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1) {
    rh_sha256_free(digest);
    return NULL;
  }
  return digest;
}

void rh_sha256_free(rh_sha256 *digest) {
  if (digest == NULL) return;
  EVP_MD_CTX_free(digest->context);
  free(digest);
}

void rh_sha256_update(rh_sha256 *digest, const void *bytes, size_t length) {
  assert(digest != NULL && (bytes != NULL || length == 0));
  if (length > 0) must(EVP_DigestUpdate(digest->context, bytes, length));
}

void rh_sha256_finish(rh_sha256 *digest, char out[RH_SHA256_HEX]) {
  static const char hex_digits[] = "0123456789abcdef";
  assert(digest != NULL && out != NULL);
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  must(EVP_DigestFinal_ex(digest->context, bytes, &length));
  assert(length == DIGEST_BYTES);
  for (size_t i = 0; i < DIGEST_BYTES; i++) {
    out[2 * i] = hex_digits[bytes[i] >> 4];
    out[2 * i + 1] = hex_digits[bytes[i] & 15];
  }
  out[RH_SHA256_HEX - 1] = '\0';
  rh_sha256_free(digest);
}

static rh_status hash_opened(int fd, const char *path, rh_sha256 *digest, char *buffer,
                             bool (*progress)(void *ctx, int64_t done), void *ctx, rh_error *error) {
  int64_t done = 0;
  for (;;) {
    ssize_t got = read(fd, buffer, BUFFER_BYTES);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return rh_file_fail(error, errno, "read", path);
    if (got == 0) return RH_OK;
    rh_sha256_update(digest, buffer, (size_t)got);
    done += got;
    if (progress != NULL && !progress(ctx, done)) {
      return rh_fail(error, RH_CANCELLED, "checking %s was given up", path);
    }
  }
}

rh_status rh_sha256_file(const char *path, char out[RH_SHA256_HEX], bool (*progress)(void *ctx, int64_t done),
                         void *ctx, rh_error *error) {
  assert(path != NULL && out != NULL);
  out[0] = '\0';
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return rh_file_fail(error, errno, "open", path);
  rh_sha256 *digest = rh_sha256_new();
  char *buffer = malloc(BUFFER_BYTES);
  rh_status status;
  struct stat info;
  if (digest == NULL || buffer == NULL) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory to check %s", path);
  } else if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = rh_fail(error, RH_INVALID, "%s is not a regular file", path);
  } else {
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    status = hash_opened(fd, path, digest, buffer, progress, ctx, error);
  }
  if (status == RH_OK) {
    rh_sha256_finish(digest, out);
  } else {
    rh_sha256_free(digest);
  }
  free(buffer);
  close(fd);
  return status;
}
