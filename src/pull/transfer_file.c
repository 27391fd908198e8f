// SPDX-License-Identifier: Apache-2.0
//
// One file of a transfer: taking up what an earlier pull left, remembering what is here, hashing it as it comes, and
// putting it in its place when it is proven. Owns the job's descriptors and digest; the pull's thread. Talks to no server.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "pull/transfer_private.h"

#define SAVE_GAP_NS (2 * RH_NS_PER_S)
#define SAVE_GAP_BYTES ((int64_t)64 * 1024 * 1024)
#define WRITEBACK_BYTES ((int64_t)4 * 1024 * 1024)
#define HASH_PIECE ((size_t)1024 * 1024)
#define HASH_TURN ((int64_t)16 * 1024 * 1024)
#define COPY_PIECE ((size_t)16 * 1024 * 1024)

rh_status rh_job_fail_write(rh_engine *engine, rh_job *job, int number) {
  if (number != ENOSPC && number != EDQUOT)
    return rh_engine_fail(engine, RH_IO, "cannot write %s: %s", job->part_path, strerror(number));
  char free_text[32], missing_text[32];
  int64_t free_bytes = rh_file_free_bytes(engine->folder);
  int64_t missing = rh_transfer_missing(&engine->pull->plan, engine->folder);
  rh_text_format_bytes(free_text, sizeof free_text, free_bytes > 0 ? (uint64_t)free_bytes : 0);
  rh_text_format_bytes(missing_text, sizeof missing_text, (uint64_t)missing);
  return rh_engine_fail(engine, RH_NO_SPACE,
                        "the disk of %s is full: %s are free, about %s were still to come. What has come is kept; free "
                        "some space (`roundhouse gc`) and pull again",
                        engine->folder, free_text, missing_text);
}

static char *join(const char *folder, const char *path, const char *suffix) {
  char *out = NULL;
  return asprintf(&out, "%s/%s%s", folder, path, suffix) < 0 ? NULL : out;
}

rh_status rh_job_prepare(rh_engine *engine, rh_job *job, size_t index) {
  job->file = &engine->pull->plan.files[index];
  job->report = &engine->reports[index];
  job->fd = job->local_fd = -1;
  job->state.total = -1;
  job->part_path = join(engine->folder, RH_PULL_WORK, "/");
  char *work = job->part_path;
  if (work != NULL) {
    job->part_path = join(work, job->file->path, ".part");
    job->state_path = join(work, job->file->path, ".state");
    free(work);
  }
  job->final_path = join(engine->folder, job->file->path, "");
  *job->report = (rh_pull_report_file){.file = job->file, .total = job->file->bytes, .told = -1};
  bool fine = job->part_path != NULL && job->state_path != NULL && job->final_path != NULL;
  return fine ? RH_OK : rh_engine_fail(engine, RH_NO_MEMORY, "no memory for a list of files");
}

void rh_job_release(rh_job *job) {
  if (job->fd >= 0) close(job->fd);
  if (job->local_fd >= 0) close(job->local_fd);
  rh_sha256_free(job->digest);
  rh_pull_state_release(&job->state);
  free(job->part_path);
  free(job->state_path);
  free(job->final_path);
  explicit_bzero(job->direct_url, sizeof job->direct_url);
  job->fd = job->local_fd = -1;
}

static rh_status make_parent(rh_engine *engine, const char *path) {
  char copy[PATH_MAX];
  if (!rh_text_copy(copy, sizeof copy, path)) return rh_engine_fail(engine, RH_TOO_LARGE, "a path is too long");
  char *slash = strrchr(copy, '/');
  assert(slash != NULL);
  *slash = '\0';
  rh_status status = rh_file_make_folders(copy, 0755, engine->error);
  if (status != RH_OK && engine->status == RH_OK) engine->status = status;
  return status;
}

static int64_t size_of(const char *path) {
  struct stat info;
  return lstat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}

// A validator of our own (a git digest, a local file's time) rather than a server's.
static bool is_own(const char *validator) { return strncmp(validator, "id:", 3) == 0; }

static void expect(rh_job *job, const char *validator) {
  (void)rh_text_copy(job->validator, sizeof job->validator, is_own(validator) ? "" : validator);
}

// Start over with an empty state of what is promised now.
static void fresh_state(rh_job *job) {
  rh_pull_state_release(&job->state);
  job->state.total = job->file->bytes;
  (void)rh_text_copy(job->state.sha256, sizeof job->state.sha256, job->file->sha256);
  (void)rh_text_copy(job->state.validator, sizeof job->state.validator, job->file->validator);
  expect(job, job->file->validator);
  job->report->total = job->state.total;
  job->report->completed = 0;
  job->saved_bytes = job->hinted_bytes = 0;
  job->hashed = 0;
  rh_sha256_free(job->digest);
  job->digest = NULL;
}

// What an earlier pull left, if it belongs to what is promised now. True: state.done is to be trusted.
static bool take_up(rh_job *job) {
  rh_pull_state old;
  const rh_pull_file *file = job->file;
  if (rh_pull_state_load(job->state_path, &old, NULL) != RH_OK) return false;
  bool fits = rh_pull_state_matches(&old, file->bytes, file->sha256, file->validator);
  // A crash between the last rename and its note: the file is whole, but not marked so. It is looked at again.
  if (fits && size_of(job->part_path) < 0 && size_of(job->final_path) == old.total && !old.complete)
    fits = rename(job->final_path, job->part_path) == 0;
  if (fits && !old.complete) {
    int64_t last = old.done.count == 0 ? 0 : old.done.items[old.done.count - 1].end;
    fits = size_of(job->part_path) >= last;
  }
  if (fits && old.complete) fits = size_of(job->final_path) == old.total;
  if (!fits) {
    rh_pull_state_release(&old);
    return false;
  }
  rh_pull_state_release(&job->state);
  job->state = old;
  if (job->state.validator[0] != '\0') expect(job, job->state.validator);
  return true;
}

static rh_status open_part(rh_engine *engine, rh_job *job, bool keep) {
  rh_status status = make_parent(engine, job->part_path);
  if (status != RH_OK) return status;
  // O_NOFOLLOW: nobody else should write here, but a link planted here must not lead us elsewhere.
  job->fd = open(job->part_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (keep ? 0 : O_TRUNC), 0644);
  if (job->fd < 0) return rh_job_fail_write(engine, job, errno);
  if (job->file->local == NULL) return RH_OK;
  job->local_fd = open(job->file->local, O_RDONLY | O_CLOEXEC);
  if (job->local_fd < 0)
    return rh_engine_fail(engine, errno == ENOENT ? RH_NOT_FOUND : RH_IO, "cannot read %s: %s", job->file->local,
                          strerror(errno));
  // A reflink costs neither time nor space; file systems that have none say so.
  if (rh_ranges_bytes(&job->state.done) == 0 && ioctl(job->fd, FICLONE, job->local_fd) == 0)
    status = rh_ranges_add(&job->state.done, 0, job->state.total);
  return status;
}

rh_status rh_job_open(rh_engine *engine, rh_job *job) {
  assert(job->step == RH_JOB_WAITING);
  fresh_state(job);
  bool kept = take_up(job);
  job->report->total = job->state.total;
  job->report->completed = rh_ranges_bytes(&job->state.done);
  if (kept && job->state.complete) {
    job->report->completed = job->state.total;
    job->file->bytes = job->state.total;
    (void)rh_text_copy(job->file->sha256, sizeof job->file->sha256, job->state.sha256);
    job->step = RH_JOB_DONE;
    return RH_OK;
  }
  if (!kept) (void)unlink(job->state_path);
  job->step = RH_JOB_FETCHING;
  job->saved_bytes = job->report->completed;
  job->saved_ns = rh_clock_now_ns();
  return open_part(engine, job, kept);
}

rh_status rh_job_restart(rh_engine *engine, rh_job *job) {
  assert(job->running == 0 && job->fd >= 0);
  fresh_state(job);
  job->validator[0] = '\0';  // the version that comes now
  if (!is_own(job->state.validator)) job->state.validator[0] = '\0';
  job->direct_url[0] = '\0';
  job->step = RH_JOB_FETCHING;
  if (ftruncate(job->fd, 0) != 0) return rh_job_fail_write(engine, job, errno);
  (void)unlink(job->state_path);
  return RH_OK;
}

rh_status rh_job_save(rh_engine *engine, rh_job *job, bool at_once) {
  if (job->fd < 0 || job->step == RH_JOB_DONE || job->step == RH_JOB_WAITING) return RH_OK;
  int64_t here = rh_ranges_bytes(&job->state.done);
  // Let the disk begin early, so that the flush before a note is short.
  if (here - job->hinted_bytes >= WRITEBACK_BYTES) {
    (void)sync_file_range(job->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    job->hinted_bytes = here;
  }
  uint64_t now = rh_clock_now_ns();
  bool due = here - job->saved_bytes >= SAVE_GAP_BYTES || now - job->saved_ns >= SAVE_GAP_NS;
  if (here == job->saved_bytes || (!due && !at_once)) return RH_OK;
  // The note may only speak of what is on the disk.
  if (fdatasync(job->fd) != 0) return rh_job_fail_write(engine, job, errno);
  if (job->state.validator[0] == '\0')
    (void)rh_text_copy(job->state.validator, sizeof job->state.validator, job->validator);
  rh_error problem = {0};
  rh_status status = rh_pull_state_save(job->state_path, &job->state, &problem);
  if (status == RH_NO_SPACE) return rh_job_fail_write(engine, job, ENOSPC);
  if (status != RH_OK) return rh_engine_fail(engine, status, "%s", problem.message);
  job->saved_bytes = here;
  job->saved_ns = now;
  return RH_OK;
}

rh_status rh_job_copy(rh_engine *engine, rh_job *job) {
  int64_t at = rh_ranges_prefix(&job->state.done);
  int64_t left = job->state.total - at;
  if (left <= 0) return RH_OK;
  loff_t from = at, to = at;
  size_t piece = left < (int64_t)COPY_PIECE ? (size_t)left : COPY_PIECE;
  ssize_t copied = copy_file_range(job->local_fd, &from, job->fd, &to, piece, 0);
  if (copied < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
    char buffer[65536];
    copied = pread(job->local_fd, buffer, piece < sizeof buffer ? piece : sizeof buffer, (off_t)at);
    if (copied > 0) copied = pwrite(job->fd, buffer, (size_t)copied, (off_t)at);
  }
  if (copied < 0) return errno == EINTR ? RH_OK : rh_job_fail_write(engine, job, errno);
  if (copied == 0) return rh_engine_fail(engine, RH_INVALID, "%s became shorter while it was copied", job->file->local);
  return rh_ranges_add(&job->state.done, at, at + copied);
}

rh_status rh_job_hash(rh_engine *engine, rh_job *job, bool *busy) {
  int64_t here = rh_ranges_prefix(&job->state.done);
  if (job->digest == NULL) job->digest = rh_sha256_new();
  char *buffer = malloc(HASH_PIECE);
  if (job->digest == NULL || buffer == NULL) {
    free(buffer);
    return rh_engine_fail(engine, RH_NO_MEMORY, "no memory to verify %s", job->file->path);
  }
  rh_status status = RH_OK;
  for (int64_t end = job->hashed + HASH_TURN; status == RH_OK && job->hashed < here && job->hashed < end;) {
    int64_t left = here - job->hashed;
    ssize_t got = pread(job->fd, buffer, left < (int64_t)HASH_PIECE ? (size_t)left : HASH_PIECE, (off_t)job->hashed);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      status = rh_engine_fail(engine, RH_IO, "cannot read %s back: %s", job->part_path,
                              got < 0 ? strerror(errno) : "it is shorter than what was written");
      break;
    }
    rh_sha256_update(job->digest, buffer, (size_t)got);
    job->hashed += got;
  }
  free(buffer);
  if (job->hashed < here) *busy = true;
  return status;
}

// Git names a file by SHA-1 over "blob SIZE\0" and the content.
static bool git_digest(int fd, int64_t size, char out[41]) {
  EVP_MD_CTX *sha1 = EVP_MD_CTX_new();
  char head[32], buffer[16384];
  int length = snprintf(head, sizeof head, "blob %" PRId64, size);
  bool fine = sha1 != NULL && EVP_DigestInit_ex(sha1, EVP_sha1(), NULL) == 1 &&
              EVP_DigestUpdate(sha1, head, (size_t)length + 1) == 1;
  for (int64_t at = 0; fine && at < size;) {
    ssize_t got = pread(fd, buffer, sizeof buffer, (off_t)at);
    fine = got > 0 && EVP_DigestUpdate(sha1, buffer, (size_t)got) == 1;
    if (fine) at += got;
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  fine = fine && EVP_DigestFinal_ex(sha1, digest, NULL) == 1;
  EVP_MD_CTX_free(sha1);
  for (int i = 0; fine && i < 20; i++) (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
  return fine;
}

// Wrong bytes: once they may be an accident on the way, twice they are not.
static rh_status reject(rh_engine *engine, rh_job *job, const char *kind, const char *promised, const char *found) {
  rh_status status = rh_job_restart(engine, job);
  if (status != RH_OK) return status;
  job->probed = job->single;
  char reason[300];
  (void)snprintf(reason, sizeof reason, "its %s is %s, %s was promised", kind, found, promised);
  if (job->refetches++ == 0) {
    status = rh_pull_report_retry(engine->pull, job->file->path, 1, 0, reason, engine->error);
    if (status != RH_OK && engine->status == RH_OK) engine->status = status;
    return status;
  }
  (void)unlink(job->part_path);
  return rh_engine_fail(engine, RH_INVALID,
                        "%s is not what was promised: %s (fetched twice). Nothing of it is kept; the source is "
                        "damaged, was changed, or somebody on the way changes it",
                        job->file->path, reason);
}

rh_status rh_job_finish(rh_engine *engine, rh_job *job) {
  assert(job->step == RH_JOB_HASHING && job->hashed == job->state.total && job->running == 0);
  if (job->digest == NULL && (job->digest = rh_sha256_new()) == NULL)
    return rh_engine_fail(engine, RH_NO_MEMORY, "no memory to verify %s", job->file->path);
  char found[RH_SHA256_HEX], blob[41] = "";
  rh_sha256_finish(job->digest, found);
  job->digest = NULL;
  const rh_pull_file *file = job->file;
  if (file->sha256[0] != '\0' && strcmp(file->sha256, found) != 0)
    return reject(engine, job, "SHA-256", file->sha256, found);
  if (file->sha256[0] == '\0' && file->git_sha1[0] != '\0' && git_digest(job->fd, job->state.total, blob) &&
      strcmp(file->git_sha1, blob) != 0)
    return reject(engine, job, "git digest", file->git_sha1, blob);
  // A longer file of an earlier version may have been here.
  if (ftruncate(job->fd, (off_t)job->state.total) != 0 || fsync(job->fd) != 0)
    return rh_job_fail_write(engine, job, errno);
  rh_status status = make_parent(engine, job->final_path);
  if (status != RH_OK) return status;
  if (rename(job->part_path, job->final_path) != 0) return rh_job_fail_write(engine, job, errno);
  close(job->fd);
  job->fd = -1;
  (void)rh_text_copy(job->file->sha256, sizeof job->file->sha256, found);
  (void)rh_text_copy(job->state.sha256, sizeof job->state.sha256, found);
  if (job->state.validator[0] == '\0')
    (void)rh_text_copy(job->state.validator, sizeof job->state.validator, job->validator);
  job->file->bytes = job->state.total;
  job->state.complete = true;
  job->report->completed = job->report->total = job->state.total;
  job->step = RH_JOB_DONE;
  rh_error problem = {0};
  status = rh_pull_state_save(job->state_path, &job->state, &problem);
  if (status == RH_NO_SPACE) return rh_job_fail_write(engine, job, ENOSPC);
  return status == RH_OK ? RH_OK : rh_engine_fail(engine, status, "%s", problem.message);
}
