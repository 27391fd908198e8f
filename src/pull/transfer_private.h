// SPDX-License-Identifier: Apache-2.0
//
// Private to transfer*.c: the engine, its jobs (one a file) and its slots (one a connection).
//
//   transfer.c        the loop: which slot works on what, when, and what follows from its end
//   transfer_slot.c   one connection: start, check the answer, write the body
//   transfer_file.c   one file: resume, remember, hash, verify, put in place
//
// Bytes go to folder/.pull/PATH.part, the note of what is there to folder/.pull/PATH.state; a verified file is renamed to
// folder/PATH.
#ifndef RH_PULL_TRANSFER_PRIVATE_H
#define RH_PULL_TRANSFER_PRIVATE_H

#include "pull/fetch.h"
#include "pull/report.h"
#include "pull/state.h"
#include "pull/transfer.h"

#define RH_TRANSFER_FILES_MAX 16
#define RH_TRANSFER_RANGES_MAX 16
#define RH_TRANSFER_SLOTS_MAX 64
#define RH_SEGMENT_MIN ((int64_t)8 * 1024 * 1024)
#define RH_SEGMENT_MAX ((int64_t)64 * 1024 * 1024)
#define RH_PROGRESS_WORTH ((int64_t)64 * 1024)  // so many bytes make a failure forgotten
#define RH_RESTARTS_MAX 3                       // of one file: it changed, or the server knows no ranges after all

// Where a job is. Only transfer_file.c moves it, but for FETCHING -> HASHING (transfer.c, when all bytes are here).
typedef enum rh_job_step {
  RH_JOB_WAITING,   // not begun: no descriptor is open
  RH_JOB_FETCHING,  // bytes are missing; slots may work on it
  RH_JOB_HASHING,   // all bytes are here, not all are hashed
  RH_JOB_DONE,      // verified and in its place
} rh_job_step;

typedef struct rh_job {
  rh_pull_file *file;
  rh_pull_report_file *report;
  rh_job_step step;
  rh_pull_state state;  // state.total is -1 until known
  char *part_path, *state_path, *final_path;
  int fd;        // of the partial file; -1 = not open
  int local_fd;  // of the file it is copied from; -1 = none
  bool single;   // the server knows no ranges: one connection, from the start each time
  bool probed;   // an answer has been seen: more connections may come
  rh_sha256 *digest;
  int64_t hashed;
  char direct_url[RH_PULL_URL_MAX];  // where redirects led to: saves the way there for the next range. Holds secrets
  char validator[160];               // what must stay the same between ranges when no digest is promised
  int restarts, mismatches, refetches;
  int running;  // slots at work on it
  uint64_t saved_ns;
  int64_t saved_bytes, hinted_bytes;
} rh_job;

// What came of a connection.
typedef enum rh_verdict {
  RH_VERDICT_NONE,      // so far nothing is wrong
  RH_VERDICT_RETRY,     // may pass
  RH_VERDICT_RESTART,   // these are not the bytes of the version we have: begin the file again
  RH_VERDICT_SINGLE,    // the server ignores ranges: begin again with one connection
  RH_VERDICT_MISMATCH,  // another length than promised
  RH_VERDICT_FATAL,     // engine->status and error say why
} rh_verdict;

struct rh_engine;

typedef struct rh_slot {
  struct rh_engine *engine;
  rh_fetch fetch;
  rh_job *job;  // NULL = idle
  bool running;
  bool checked;    // the answer's head was looked at
  bool direct;     // asked the place a redirect led to
  rh_range range;  // what was asked for
  int64_t at;      // where the next byte goes
  int64_t came;    // bytes since the last failure
  int failures;    // in a row
  uint64_t not_before_ns, last_byte_ns;
  rh_verdict verdict;
  char reason[300];
} rh_slot;

typedef struct rh_engine {
  rh_pulling *pull;
  const char *folder;
  CURLM *multi;
  rh_job *jobs;
  rh_pull_report_file *reports;
  size_t count;
  rh_slot slots[RH_TRANSFER_SLOTS_MAX];
  size_t slot_count;
  int files_at_once, ranges_at_once;
  uint64_t hold_until_ns;  // the server asked us to wait
  uint64_t verifying_ns;   // when the last "verifying" was told
  char *ballast_path;      // room for the states on a disk that ran full
  rh_pull_report report;
  rh_status status;  // the first failure that ends it
  rh_error *error;
} rh_engine;

// End the whole transfer with the first failure; later ones are ignored.
rh_status rh_engine_fail(rh_engine *engine, rh_status status, const char *format, ...) RH_PRINTF(3, 4);

// --- transfer_slot.c ---
rh_status rh_slot_start(rh_slot *slot, rh_job *job, rh_range range);
void rh_slot_stop(rh_slot *slot);  // its connection is dropped; nothing else happens
// Its handle has ended with `code`: fills verdict and reason.
void rh_slot_judge(rh_slot *slot, CURLcode code);

// --- transfer_file.c ---
rh_status rh_job_prepare(rh_engine *engine, rh_job *job, size_t index);
void rh_job_release(rh_job *job);
rh_status rh_job_open(rh_engine *engine, rh_job *job);     // WAITING -> FETCHING, HASHING or DONE
rh_status rh_job_restart(rh_engine *engine, rh_job *job);  // nothing of it is here any more
rh_status rh_job_save(rh_engine *engine, rh_job *job, bool at_once);
rh_status rh_job_hash(rh_engine *engine, rh_job *job, bool *busy);        // a piece of what is here
rh_status rh_job_copy(rh_engine *engine, rh_job *job);                    // a piece of a local file
rh_status rh_job_finish(rh_engine *engine, rh_job *job);                  // HASHING -> DONE, or FETCHING again
rh_status rh_job_fail_write(rh_engine *engine, rh_job *job, int number);  // what errno `number` means

#endif
