// SPDX-License-Identifier: Apache-2.0
//
// The ledger's own thread: it sleeps until something waits, lets a flush interval pass, and writes it in one go; then questions,
// then old rows. Owns the writer and the decision log. It deliberately keeps what it could not write: records stay in the ring
// until their transaction is committed, and a full ring is the producer's to count.
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ledger/ledger_private.h"

#define RETRY_NS RH_NS_PER_S  // between two tries to write to a disk that is full
#define RETAIN_NS (3600 * RH_NS_PER_S)
#define DAY_MS INT64_C(86400000)
#define END_NS (5 * RH_NS_PER_S)  // for the last writes

static size_t waiting(const rh_ledger *ledger) {
  rh_ledger *shared = (rh_ledger *)(uintptr_t)ledger;
  return (size_t)(atomic_load(&shared->head) - atomic_load(&shared->tail));
}

static void tell_failure(rh_ledger *ledger, const rh_error *error) {
  (void)atomic_fetch_add(&ledger->failures, 1);
  if (ledger->failing) return;
  ledger->failing = true;
  RH_LOG(RH_LOG_ERROR, "usage cannot be written; it is kept in memory and tried again",
         rh_log_str("reason", error->message), rh_log_int("waiting", (int64_t)waiting(ledger)));
}

static void tell_recovery(rh_ledger *ledger) {
  if (!ledger->failing) return;
  ledger->failing = false;
  RH_LOG(RH_LOG_INFO, "usage is written again", rh_log_int("lost", (int64_t)atomic_load(&ledger->dropped)));
}

// What is there now. What comes meanwhile waits for its own batch or interval: at a high rate there is always a little more, and
// a transaction of a few rows costs as many pages as one of a hundred.
static bool write_records(rh_ledger *ledger) {
  for (size_t left = waiting(ledger); left > 0;) {
    unsigned long long tail = atomic_load(&ledger->tail);
    size_t count = left < RH_LEDGER_BATCH_MAX ? left : RH_LEDGER_BATCH_MAX;
    rh_error error = {0};
    rh_status status = rh_ledger_writer_records(ledger->writer, ledger, tail, count, &error);
    if (status != RH_OK) {
      tell_failure(ledger, &error);
      return false;
    }
    atomic_store_explicit(&ledger->tail, tail + count, memory_order_release);
    (void)atomic_fetch_add(&ledger->written, count);
    left -= count;
    tell_recovery(ledger);
  }
  return true;
}

static uint64_t count_lines(const char *lines, size_t length) {
  uint64_t count = 0;
  for (size_t i = 0; i < length; i++) count += lines[i] == '\n';
  return count;
}

static void write_lines(rh_ledger *ledger) {
  if (ledger->decision_log == NULL) return;
  (void)pthread_mutex_lock(&ledger->lock);
  rh_dynbuf full = ledger->lines;
  ledger->lines = ledger->lines_out;
  ledger->lines_out = full;
  (void)pthread_mutex_unlock(&ledger->lock);
  rh_dynbuf *lines = &ledger->lines_out;
  if (lines->length == 0) return;
  uint64_t lost = 0, total = count_lines(rh_dynbuf_data(lines), lines->length);
  rh_error error = {0};
  rh_status status = rh_decision_log_write(ledger->decision_log, rh_dynbuf_data(lines), lines->length, &lost, &error);
  rh_dynbuf_clear(lines);
  (void)atomic_fetch_add(&ledger->decisions, total - lost);
  (void)atomic_fetch_add(&ledger->decisions_dropped, lost);
  if (status != RH_OK && !ledger->log_failing) {
    RH_LOG(RH_LOG_WARN, "the decision log cannot be written; its lines are lost until it can",
           rh_log_str("reason", error.message));
  } else if (status == RH_OK && ledger->log_failing) {
    RH_LOG(RH_LOG_INFO, "the decision log is written again", rh_log_str("path", ledger->decision_path));
  }
  ledger->log_failing = status != RH_OK;
}

static bool lines_wait(rh_ledger *ledger) {
  (void)pthread_mutex_lock(&ledger->lock);
  bool wait = ledger->lines.length > 0;
  (void)pthread_mutex_unlock(&ledger->lock);
  return wait;
}

static void flush(rh_ledger *ledger) {
  bool written = write_records(ledger);
  write_lines(ledger);
  uint64_t now = rh_clock_now_ns();
  ledger->flush_due_ns = written ? UINT64_MAX : now + RETRY_NS;
  // What came while we wrote is due an interval from now.
  if (written && (waiting(ledger) > 0 || lines_wait(ledger))) ledger->flush_due_ns = now + ledger->options.flush_ns;
}

void rh_ledger_flush_if_due(rh_ledger *ledger) {
  uint64_t now = rh_clock_now_ns();
  if (ledger->flush_due_ns == UINT64_MAX) {
    if (waiting(ledger) == 0) return;
    ledger->flush_due_ns = now + ledger->options.flush_ns;
  }
  bool full = waiting(ledger) >= RH_LEDGER_BATCH || waiting(ledger) >= ledger->options.ring_max / 2;
  if (now >= ledger->flush_due_ns || (full && !ledger->failing)) flush(ledger);
}

static rh_ledger_question *next_question(rh_ledger *ledger) {
  (void)pthread_mutex_lock(&ledger->lock);
  rh_list_node *node = rh_list_first(&ledger->asked);
  if (node != NULL) rh_list_remove(&ledger->asked, node);
  (void)pthread_mutex_unlock(&ledger->lock);
  return node == NULL ? NULL : rh_list_entry(node, rh_ledger_question, node);
}

static void answer_questions(rh_ledger *ledger) {
  while (!atomic_load(&ledger->stop)) {
    rh_ledger_question *question = next_question(ledger);
    if (question == NULL) return;
    flush(ledger);  // the answer includes what waits
    rh_ledger_answer(ledger, question);
    (void)pthread_mutex_lock(&ledger->lock);
    rh_list_push_back(&ledger->answered, &question->node);
    (void)pthread_mutex_unlock(&ledger->lock);
    uint64_t one = 1;
    if (write(ledger->answer_fd, &one, sizeof one) < 0) assert(errno == EAGAIN);
  }
}

static void retain(rh_ledger *ledger) {
  uint64_t now = rh_clock_now_ns();
  if (ledger->options.keep_ns == 0 || now < ledger->retain_due_ns) return;
  // Whole days only, so that a day is never half in one table and half in the other.
  int64_t before_ms = rh_ledger_wall_ms() - (int64_t)(ledger->options.keep_ns / RH_NS_PER_MS);
  before_ms -= before_ms % DAY_MS;
  bool more = false;
  rh_error error = {0};
  if (before_ms > 0 && rh_ledger_retain(rh_ledger_writer_database(ledger->writer), before_ms, &more, &error) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "old usage cannot be summed up; it is tried again", rh_log_str("reason", error.message));
    ledger->retain_due_ns = now + 60 * RH_NS_PER_S;
    return;
  }
  ledger->retain_due_ns = more ? now : now + RETAIN_NS;
}

static int poll_timeout_ms(const rh_ledger *ledger, bool idle) {
  uint64_t due = ledger->flush_due_ns;
  if (ledger->options.keep_ns != 0 && ledger->retain_due_ns < due) due = ledger->retain_due_ns;
  if (due == UINT64_MAX) return idle ? -1 : 0;
  uint64_t now = rh_clock_now_ns();
  return due <= now ? 0 : (int)((due - now) / RH_NS_PER_MS) + 1;
}

// Until something waits, its time has come, or somebody asks.
static void rest(rh_ledger *ledger) {
  atomic_store(&ledger->asleep, ledger->flush_due_ns == UINT64_MAX);
  bool nothing = waiting(ledger) == 0 && !lines_wait(ledger);
  if (ledger->flush_due_ns == UINT64_MAX && !nothing) {
    atomic_store(&ledger->asleep, false);
    ledger->flush_due_ns = rh_clock_now_ns() + ledger->options.flush_ns;
  }
  struct pollfd item = {.fd = ledger->wake_fd, .events = POLLIN};
  if (poll(&item, 1, poll_timeout_ms(ledger, nothing)) > 0) {
    uint64_t count;
    if (read(ledger->wake_fd, &count, sizeof count) < 0) assert(errno == EAGAIN || errno == EINTR);
  }
  atomic_store(&ledger->asleep, false);
}

static void finish(rh_ledger *ledger) {
  uint64_t give_up = rh_clock_now_ns() + END_NS;
  flush(ledger);
  while (waiting(ledger) > 0 && rh_clock_now_ns() < give_up) {
    // Another process holds the database, or the disk is full.
    (void)poll(NULL, 0, 100);
    flush(ledger);
  }
}

void *rh_ledger_thread(void *ctx) {
  rh_ledger *ledger = ctx;
  while (!atomic_load(&ledger->stop)) {
    rest(ledger);
    rh_ledger_flush_if_due(ledger);
    answer_questions(ledger);
    retain(ledger);
  }
  finish(ledger);
  return NULL;
}
