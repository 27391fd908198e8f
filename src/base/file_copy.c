// SPDX-License-Identifier: Apache-2.0
//
// A second name for a file, or a copy where that cannot be: hard link, reflink (FICLONE), copy in the kernel, and last
// read and write. Owns nothing between calls; blocking; any thread. It deliberately does not flush copies to disk: who
// needs them to outlive a crash flushes once for many.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define PIECE_BYTES ((size_t)64 * 1024 * 1024)
#define BUFFER_BYTES ((size_t)256 * 1024)

static bool is_not_possible_here(int number) {
  return number == EXDEV || number == EINVAL || number == ENOSYS || number == EOPNOTSUPP || number == EPERM ||
         number == EBADF || number == ETXTBSY || number == EOVERFLOW;
}

// Each way below copies what is left and returns 0 at the end of the file, or the errno that stopped it. Both file
// offsets say how far it came, so that the next way goes on from there.
static int copy_range(int from, int to) {
  for (;;) {
    ssize_t n = copy_file_range(from, NULL, to, NULL, PIECE_BYTES, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    // Some file systems (procfs, FUSE of old kernels) answer 0 though there is more; only reading can tell.
    if (n == 0) return EINVAL;
  }
}

static int copy_sendfile(int from, int to) {
  for (;;) {
    ssize_t n = sendfile(to, from, NULL, PIECE_BYTES);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EINVAL;
  }
}

static int copy_by_hand(int from, int to) {
  char *buffer = malloc(BUFFER_BYTES);
  if (buffer == NULL) return ENOMEM;
  int number = 0;
  for (;;) {
    ssize_t got = read(from, buffer, BUFFER_BYTES);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) number = errno;
    if (got <= 0) break;
    for (ssize_t done = 0; done < got && number == 0;) {
      ssize_t n = write(to, buffer + done, (size_t)(got - done));
      if (n >= 0) {
        done += n;
      } else if (errno != EINTR) {
        number = errno;
      }
    }
    if (number != 0) break;
  }
  free(buffer);
  return number;
}

static int copy_content(int from, int to) {
  if (ioctl(to, FICLONE, from) == 0) return 0;
  int number = copy_range(from, to);
  if (is_not_possible_here(number)) number = copy_sendfile(from, to);
  if (is_not_possible_here(number)) number = copy_by_hand(from, to);
  return number;
}

static rh_status copy_opened(int source, const char *from, const char *to, rh_error *error) {
  struct stat info;
  if (fstat(source, &info) != 0 || !S_ISREG(info.st_mode)) {
    return rh_fail(error, RH_INVALID, "%s is not a regular file and cannot be copied", from);
  }
  mode_t mode = (info.st_mode & 0777) | S_IWUSR;
  int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (target < 0) {
    if (errno == EEXIST) return rh_fail(error, RH_CONFLICT, "%s exists already", to);
    return rh_file_fail(error, errno, "create", to);
  }
  int number = copy_content(source, target);
  if (close(target) != 0 && number == 0) number = errno;
  if (number == 0) return RH_OK;
  (void)unlink(to);  // never half a file under a name that somebody may trust
  return rh_file_fail(error, number, "write", to);
}

rh_status rh_file_link_or_copy(const char *from, const char *to, rh_error *error) {
  assert(from != NULL && to != NULL);
  // What a link points to is meant, not the link: a Hugging Face cache is made of links.
  if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0) return RH_OK;
  if (errno == EEXIST) return rh_fail(error, RH_CONFLICT, "%s exists already", to);
  if (errno == ENOSPC || errno == EDQUOT) return rh_file_fail(error, errno, "write", to);
  int source = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (source < 0) return rh_file_fail(error, errno, "open", from);
  rh_status status = copy_opened(source, from, to, error);
  close(source);
  return status;
}
