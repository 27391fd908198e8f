// SPDX-License-Identifier: Apache-2.0
//
// The ledger's side towards the event loop: taking records, lines and questions, giving answers. Owns the ring, the waiting
// lines and the questions. The loop's thread; thread.c is the other end. It deliberately never touches the disk after
// rh_ledger_new, and never waits for the other thread but in rh_ledger_free.
//
// The ring has one producer and one consumer, so two counters suffice. The consumer sleeps without a time limit when the ring is
// empty; the producer wakes it with the first record, so that an eventfd is written at most once a flush interval.
#include "ledger/ledger.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "ledger/ledger_private.h"

#define RING_MIN 16
#define RING_MAX ((size_t)1 << 20)
#define CHUNK_BYTES (RH_LEDGER_CHUNK * sizeof(rh_ledger_record))
#define CHUNKS_KEPT 2  // of an empty ring; there are places for two at least
#define END_MAX_S 10   // for the last writes: a stuck disk must not keep the daemon alive
#define TELL_NS (60 * RH_NS_PER_S)

int64_t rh_ledger_wall_ms(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void rh_ledger_wake(rh_ledger *ledger) {
  uint64_t one = 1;
  // The counter can only be full when a wake-up is pending already.
  if (write(ledger->wake_fd, &one, sizeof one) < 0) assert(errno == EAGAIN);
}

static void question_free(rh_ledger_question *question) {
  free((char *)(uintptr_t)question->usage.key);
  free((char *)(uintptr_t)question->usage.provider);
  free((char *)(uintptr_t)question->usage.model);
  free(question->comment);
  json_decref(question->answer);
  free(question);
}

static void deliver(rh_ledger *ledger) {
  for (;;) {
    (void)pthread_mutex_lock(&ledger->lock);
    rh_list_node *node = rh_list_first(&ledger->answered);
    if (node != NULL) rh_list_remove(&ledger->answered, node);
    (void)pthread_mutex_unlock(&ledger->lock);
    if (node == NULL) return;
    rh_ledger_question *question = rh_list_entry(node, rh_ledger_question, node);
    if (question->done != NULL) {
      question->done(question->ctx, question->status, question->answer, &question->error);
    }
    question_free(question);
  }
}

static void on_answers(void *ctx, uint32_t epoll_events) {
  (void)epoll_events;
  rh_ledger *ledger = ctx;
  uint64_t count;
  if (read(ledger->answer_fd, &count, sizeof count) < 0) return;
  deliver(ledger);
}

// Not malloc, which may keep what is freed: a chunk goes back to the system.
static rh_ledger_record *new_chunk(void) {
  void *memory = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static void free_chunk(rh_ledger_record *chunk) {
  if (chunk != NULL) (void)munmap(chunk, CHUNK_BYTES);
}

static void release(rh_ledger *ledger) {
  rh_ledger_writer_free(ledger->writer);
  rh_decision_log_free(ledger->decision_log);
  rh_dynbuf_free(&ledger->lines);
  rh_dynbuf_free(&ledger->lines_out);
  if (ledger->wake_fd >= 0) close(ledger->wake_fd);
  if (ledger->answer_fd >= 0) close(ledger->answer_fd);
  (void)pthread_mutex_destroy(&ledger->lock);
  for (size_t i = 0; ledger->chunks != NULL && i < ledger->chunk_count; i++) free_chunk(ledger->chunks[i]);
  free(ledger->chunks);
  free(ledger->folder);
  free(ledger->decision_path);
  free(ledger);
}

static rh_ledger *allocate(const rh_ledger_options *options) {
  rh_ledger *ledger = calloc(1, sizeof *ledger);
  if (ledger == NULL) return NULL;
  ledger->options = *options;
  size_t ring_max = options->ring_max;
  ledger->options.ring_max = ring_max < RING_MIN ? RING_MIN : ring_max > RING_MAX ? RING_MAX : ring_max;
  if (options->flush_ns > RH_LEDGER_FLUSH_MAX_NS) ledger->options.flush_ns = RH_LEDGER_FLUSH_MAX_NS;
  (void)pthread_mutex_init(&ledger->lock, NULL);
  rh_list_init(&ledger->asked);
  rh_list_init(&ledger->answered);
  rh_dynbuf_init(&ledger->lines, RH_LEDGER_DECISION_WAIT_MAX);
  rh_dynbuf_init(&ledger->lines_out, RH_LEDGER_DECISION_WAIT_MAX);
  ledger->flush_due_ns = UINT64_MAX;
  ledger->folder = strdup(options->folder);
  bool logs = options->decision_log != NULL && options->decision_log[0] != '\0';
  if (logs) ledger->decision_path = strdup(options->decision_log);
  ledger->options.folder = ledger->folder;
  ledger->options.decision_log = ledger->decision_path;
  ledger->chunk_count = ledger->options.ring_max / RH_LEDGER_CHUNK + 2;  // the first and the last may be used in part
  ledger->chunks = calloc(ledger->chunk_count, sizeof *ledger->chunks);
  if (logs && ledger->decision_path != NULL) {
    ledger->decision_log = rh_decision_log_new(ledger->decision_path, options->decision_bytes, options->decision_files);
  }
  ledger->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ledger->answer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (ledger->folder == NULL || ledger->chunks == NULL || (logs && ledger->decision_log == NULL) ||
      ledger->wake_fd < 0 || ledger->answer_fd < 0) {
    release(ledger);
    return NULL;
  }
  return ledger;
}

static void try_decision_log(rh_ledger *ledger) {
  rh_error problem = {0};
  if (ledger->decision_log == NULL || rh_decision_log_try(ledger->decision_log, &problem) == RH_OK) return;
  ledger->log_failing = true;
  RH_LOG(RH_LOG_WARN, "the decision log cannot be written; its lines are lost until it can",
         rh_log_str("reason", problem.message));
}

rh_status rh_ledger_new(rh_loop *loop, const rh_ledger_options *options, rh_ledger **out, rh_error *error) {
  assert(loop != NULL && options != NULL && options->folder != NULL && out != NULL);
  rh_ledger *ledger = allocate(options);
  if (ledger == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory or file descriptors for the ledger");
  ledger->loop = loop;
  rh_status status = rh_ledger_writer_new(options->folder, &ledger->writer, error);
  if (status != RH_OK) {
    release(ledger);
    return status;
  }
  try_decision_log(ledger);
  ledger->watch = (rh_watch){.fd = ledger->answer_fd, .fn = on_answers, .ctx = ledger};
  status = rh_loop_watch(loop, &ledger->watch, EPOLLIN);
  if (status == RH_OK && pthread_create(&ledger->thread, NULL, rh_ledger_thread, ledger) != 0) status = RH_NO_MEMORY;
  if (status != RH_OK) {
    rh_loop_unwatch(loop, &ledger->watch);
    release(ledger);
    return rh_fail(error, status, "the system refuses a thread for the ledger");
  }
  *out = ledger;
  return RH_OK;
}

// Questions that were never answered: their askers hear it before the ledger goes.
static void refuse_questions(rh_ledger *ledger) {
  (void)pthread_mutex_lock(&ledger->lock);
  rh_list_each(&ledger->asked, node) {
    rh_ledger_question *question = rh_list_entry(node, rh_ledger_question, node);
    rh_list_remove(&ledger->asked, node);
    question->status = rh_fail(&question->error, RH_UNAVAILABLE, "the ledger is closing");
    rh_list_push_back(&ledger->answered, node);
  }
  (void)pthread_mutex_unlock(&ledger->lock);
  deliver(ledger);
}

void rh_ledger_free(rh_ledger *ledger) {
  if (ledger == NULL) return;
  rh_loop_unwatch(ledger->loop, &ledger->watch);
  atomic_store(&ledger->stop, true);
  rh_ledger_wake(ledger);
  struct timespec until;
  (void)clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += END_MAX_S;
  if (pthread_timedjoin_np(ledger->thread, NULL, &until) != 0) {
    // The thread hangs in a system call and still uses all of this: it is left to the end of the process.
    RH_LOG(RH_LOG_ERROR, "the ledger does not end; what waits in it is lost", rh_log_str("folder", ledger->folder));
    return;
  }
  size_t waiting = (size_t)(atomic_load(&ledger->head) - atomic_load(&ledger->tail));
  if (waiting > 0) {
    RH_LOG(RH_LOG_ERROR, "usage of requests could not be written and is lost", rh_log_int("records", (int64_t)waiting));
  }
  refuse_questions(ledger);
  release(ledger);
}

// At most once a minute, so that a full disk does not fill the log as well.
static void count_dropped(rh_ledger *ledger) {
  uint64_t dropped = atomic_fetch_add(&ledger->dropped, 1) + 1, now = rh_clock_now_ns();
  if (ledger->told_ns != 0 && now - ledger->told_ns < TELL_NS) return;
  RH_LOG(RH_LOG_ERROR, "the ledger is full: usage of requests is lost; look at the disk of the state folder",
         rh_log_int("lost", (int64_t)(dropped - ledger->told_dropped)), rh_log_str("folder", ledger->folder));
  ledger->told_ns = now;
  ledger->told_dropped = dropped;
}

static rh_ledger_record *record_in(const rh_ledger *ledger, unsigned long long place) {
  return &ledger->chunks[place / RH_LEDGER_CHUNK % ledger->chunk_count][place % RH_LEDGER_CHUNK];
}

const rh_ledger_record *rh_ledger_record_at(const rh_ledger *ledger, unsigned long long n) {
  rh_ledger *shared = (rh_ledger *)(uintptr_t)ledger;  // atomics want no const
  return record_in(ledger, n - atomic_load_explicit(&shared->base, memory_order_relaxed));
}

// An empty ring begins again at its front and keeps a chunk or two, so that a quiet server touches a few pages and a busy
// hour leaves nothing behind.
static void begin_again(rh_ledger *ledger, unsigned long long head) {
  atomic_store_explicit(&ledger->base, head, memory_order_relaxed);
  rh_ledger_record *kept[CHUNKS_KEPT] = {NULL};
  unsigned count = 0;
  for (; ledger->chunks_reused < ledger->chunks_begun; ledger->chunks_reused++) {
    rh_ledger_record **chunk = &ledger->chunks[ledger->chunks_reused % ledger->chunk_count];
    if (count < CHUNKS_KEPT)
      kept[count++] = *chunk;
    else
      free_chunk(*chunk);
    *chunk = NULL;
  }
  memcpy(ledger->chunks, kept, sizeof kept);
  ledger->chunks_reused = 0;
  ledger->chunks_begun = count;
}

// A chunk for what comes: the oldest one that was read to its end, else a new one.
static bool begin_chunk(rh_ledger *ledger, unsigned long long tail_place) {
  rh_ledger_record *chunk = NULL;
  if (ledger->chunks_reused < tail_place / RH_LEDGER_CHUNK) {
    rh_ledger_record **oldest = &ledger->chunks[ledger->chunks_reused++ % ledger->chunk_count];
    chunk = *oldest;
    *oldest = NULL;
  } else {
    chunk = new_chunk();
  }
  if (chunk == NULL) return false;
  ledger->chunks[ledger->chunks_begun++ % ledger->chunk_count] = chunk;
  return true;
}

void rh_ledger_add(rh_ledger *ledger, const rh_ledger_record *record) {
  size_t max = ledger->options.ring_max;
  unsigned long long head = atomic_load_explicit(&ledger->head, memory_order_relaxed);
  unsigned long long tail = atomic_load_explicit(&ledger->tail, memory_order_acquire), waiting = head - tail;
  assert(waiting <= max);
  if (waiting == 0) begin_again(ledger, head);
  unsigned long long base = atomic_load_explicit(&ledger->base, memory_order_relaxed), place = head - base;
  bool room = waiting < max;
  if (room && place / RH_LEDGER_CHUNK == ledger->chunks_begun) room = begin_chunk(ledger, tail - base);
  if (!room) {
    count_dropped(ledger);
    return;
  }
  *record_in(ledger, place) = *record;
  atomic_store(&ledger->head, head + 1);
  // Either we see that it sleeps, or it sees our record before it goes to sleep: both sides are sequentially consistent.
  bool asleep = atomic_load(&ledger->asleep) && atomic_exchange(&ledger->asleep, false);
  // A full batch or half a ring does not wait for the interval's end.
  if (asleep || waiting + 1 == RH_LEDGER_BATCH || waiting + 1 == max / 2) rh_ledger_wake(ledger);
}

bool rh_ledger_logs_decisions(const rh_ledger *ledger) { return ledger->decision_log != NULL; }

void rh_ledger_decision(rh_ledger *ledger, const char *line, size_t length) {
  if (ledger->decision_log == NULL) return;
  assert(memchr(line, '\n', length) == NULL);
  bool taken = false;
  (void)pthread_mutex_lock(&ledger->lock);
  if (length <= RH_LEDGER_DECISION_LINE_MAX && ledger->lines.max - ledger->lines.length > length) {
    size_t before = ledger->lines.length;
    taken =
        rh_dynbuf_append(&ledger->lines, line, length) == RH_OK && rh_dynbuf_append_char(&ledger->lines, '\n') == RH_OK;
    if (!taken) {
      // Memory was short: no half line may stay.
      ledger->lines.length = before;
      ledger->lines.failed = false;
    }
  }
  (void)pthread_mutex_unlock(&ledger->lock);
  if (!taken) (void)atomic_fetch_add(&ledger->decisions_dropped, 1);
  if (atomic_load(&ledger->asleep) && atomic_exchange(&ledger->asleep, false)) rh_ledger_wake(ledger);
}

// Questions.

static rh_status ask(rh_ledger *ledger, rh_ledger_question *question, rh_ledger_done done, void *ctx,
                     rh_ledger_question **out, rh_error *error) {
  if (question == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a question to the ledger");
  assert(done != NULL);
  question->done = done;
  question->ctx = ctx;
  (void)pthread_mutex_lock(&ledger->lock);
  bool room = ledger->asked.count < RH_LEDGER_QUESTIONS_MAX;
  if (room) rh_list_push_back(&ledger->asked, &question->node);
  (void)pthread_mutex_unlock(&ledger->lock);
  if (!room) {
    question_free(question);
    return rh_fail(error, RH_QUEUE_FULL, "%d questions wait for the ledger already; try again",
                   RH_LEDGER_QUESTIONS_MAX);
  }
  atomic_store(&ledger->asleep, false);
  rh_ledger_wake(ledger);
  if (out != NULL) *out = question;
  return RH_OK;
}

static rh_ledger_question *make_question(rh_question_kind kind) {
  rh_ledger_question *question = calloc(1, sizeof *question);
  if (question != NULL) question->kind = kind;
  return question;
}

rh_status rh_ledger_feedback(rh_ledger *ledger, const char *request_id, const char *key, double rating,
                             const char *comment, rh_ledger_done done, void *ctx, rh_ledger_question **out,
                             rh_error *error) {
  if (!(rating >= -1 && rating <= 1)) {
    return rh_fail_param(error, RH_INVALID, "rating", "a rating is a number from -1 to 1");
  }
  if (request_id == NULL || request_id[0] == '\0' || strlen(request_id) >= RH_ID_SIZE) {
    return rh_fail_param(error, RH_INVALID, "request_id", "request_id must be the id of an answered request");
  }
  rh_ledger_question *question = make_question(RH_ASK_FEEDBACK);
  if (question != NULL) {
    (void)rh_text_copy(question->request_id, sizeof question->request_id, request_id);
    question->of_anybody = key == NULL;
    (void)rh_text_copy(question->key, sizeof question->key, key != NULL ? key : "");
    question->rating = rating;
    if (comment != NULL && comment[0] != '\0') {
      char kept[RH_LEDGER_COMMENT_MAX + 1];
      (void)rh_text_copy(kept, sizeof kept, comment);
      question->comment = strdup(kept);
    }
  }
  return ask(ledger, question, done, ctx, out, error);
}

static bool copy_text(const char **text) {
  if (*text == NULL) return true;
  *text = strdup(*text);
  return *text != NULL;
}

rh_status rh_ledger_usage(rh_ledger *ledger, const rh_usage_question *usage, rh_ledger_done done, void *ctx,
                          rh_ledger_question **out, rh_error *error) {
  rh_ledger_question *question = make_question(RH_ASK_USAGE);
  if (question != NULL) {
    question->usage = *usage;
    // All three are copied before anything can fail, so that the caller's strings are never freed.
    bool good = copy_text(&question->usage.key);
    good = copy_text(&question->usage.provider) && good;
    good = copy_text(&question->usage.model) && good;
    if (!good) {
      question_free(question);
      question = NULL;
    }
  }
  return ask(ledger, question, done, ctx, out, error);
}

rh_status rh_ledger_quality(rh_ledger *ledger, rh_ledger_done done, void *ctx, rh_ledger_question **out,
                            rh_error *error) {
  return ask(ledger, make_question(RH_ASK_QUALITY), done, ctx, out, error);
}

void rh_ledger_forget(rh_ledger_question *question) {
  if (question != NULL) question->done = NULL;
}

void rh_ledger_get_counts(const rh_ledger *ledger, rh_ledger_counts *out) {
  rh_ledger *shared = (rh_ledger *)(uintptr_t)ledger;  // atomics want no const
  unsigned long long tail = atomic_load(&shared->tail);
  *out = (rh_ledger_counts){
      .written = atomic_load(&shared->written),
      .dropped = atomic_load(&shared->dropped),
      .decisions = atomic_load(&shared->decisions),
      .decisions_dropped = atomic_load(&shared->decisions_dropped),
      .failures = atomic_load(&shared->failures),
      .waiting = (size_t)(atomic_load(&shared->head) - tail),
  };
}
