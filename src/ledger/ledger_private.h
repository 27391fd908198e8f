// SPDX-License-Identifier: Apache-2.0
//
// What the ledger's files share: the ring between the loop's thread and the ledger's, its statements, its questions and the
// decision log. Nobody outside src/ledger and its tests includes this.
#ifndef RH_LEDGER_LEDGER_PRIVATE_H
#define RH_LEDGER_LEDGER_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "base/dynbuf.h"
#include "base/list.h"
#include "ledger/database.h"
#include "ledger/ledger.h"

#define RH_LEDGER_BATCH 512                                   // records that wait wake the thread before its time
#define RH_LEDGER_BATCH_MAX 2048                              // records in one transaction
#define RH_LEDGER_CHUNK 128                                   // records in one allocation
#define RH_LEDGER_FLUSH_MAX_NS (UINT64_C(800) * 1000 * 1000)  // leaves 200 ms of the promised second for the writing
#define RH_LEDGER_QUESTIONS_MAX 256                           // that wait
#define RH_LEDGER_DECISION_WAIT_MAX ((size_t)8 << 20)         // bytes of lines that wait
#define RH_LEDGER_DECISION_LINE_MAX ((size_t)256 << 10)
#define RH_LEDGER_COMMENT_MAX 2000

// decision_log.c: whole lines appended to a file that several daemons may share. The ledger's thread.
typedef struct rh_decision_log rh_decision_log;
rh_decision_log *rh_decision_log_new(const char *path, uint64_t bytes_max, int64_t files);  // NULL: no memory
void rh_decision_log_free(rh_decision_log *log);
// `lines` ends with a newline. On failure `*lost` lines were not written; what was written are whole lines.
rh_status rh_decision_log_write(rh_decision_log *log, const char *lines, size_t length, uint64_t *lost,
                                rh_error *error) RH_MUST_CHECK;
// Opens the file, so that a mistake in its path is told at the start.
rh_status rh_decision_log_try(rh_decision_log *log, rh_error *error) RH_MUST_CHECK;

typedef enum rh_question_kind { RH_ASK_USAGE, RH_ASK_QUALITY, RH_ASK_FEEDBACK } rh_question_kind;

// Made and freed on the loop's thread. Between, it is in `asked` or with the ledger's thread, then in `answered`.
struct rh_ledger_question {
  rh_list_node node;
  rh_question_kind kind;
  rh_ledger_done done;  // the loop's thread alone; NULL = forgotten
  void *ctx;
  rh_usage_question usage;  // its strings are owned
  char request_id[RH_ID_SIZE];
  char key[sizeof((rh_ledger_record *)0)->key];  // whose request it must be
  bool of_anybody;                               // then it does not matter
  double rating;
  char *comment;
  rh_status status;
  json_t *answer;
  rh_error error;
};

// writer.c: the statements of the ledger's thread.
typedef struct rh_ledger_writer rh_ledger_writer;
rh_status rh_ledger_writer_new(const char *folder, rh_ledger_writer **out, rh_error *error) RH_MUST_CHECK;
void rh_ledger_writer_free(rh_ledger_writer *writer);
rh_database *rh_ledger_writer_database(rh_ledger_writer *writer);
// One transaction of the `count` records from `first` on: all or none.
rh_status rh_ledger_writer_records(rh_ledger_writer *writer, const rh_ledger *ledger, unsigned long long first,
                                   size_t count, rh_error *error) RH_MUST_CHECK;
// retention.c: sums up some of the rows older than `before_ms` by day and removes them; *more: there are others.
rh_status rh_ledger_retain(rh_database *database, int64_t before_ms, bool *more, rh_error *error) RH_MUST_CHECK;

struct rh_ledger {
  // Both threads, constant.
  rh_ledger_options options;  // its strings are owned by `folder` and `decision_path`
  char *folder, *decision_path;
  size_t chunk_count;
  int wake_fd, answer_fd;  // eventfds: to the ledger's thread, to the loop

  // The ring: records [tail, head). The loop's thread moves head, the ledger's tail.
  atomic_ullong head, tail;
  // The record that stands at the ring's front. Moved by the loop's thread while the ring is empty, before the head: so whoever
  // has seen a record to read sees the base it was written by. The same holds for the chunks: the loop's thread makes,
  // moves and frees only those that hold no record between tail and head.
  atomic_ullong base;
  // `chunk_count` places, NULL = none; record n is in place (n - base) / RH_LEDGER_CHUNK, round and round.
  rh_ledger_record **chunks;
  atomic_bool asleep;  // the ledger's thread waits without a time limit
  atomic_bool stop;
  atomic_ullong written, dropped, decisions, decisions_dropped, failures;

  pthread_mutex_t lock;  // the following
  rh_list asked, answered;
  rh_dynbuf lines;  // of the decision log

  // The loop's thread.
  rh_loop *loop;
  unsigned long long chunks_begun, chunks_reused;  // since the base; the difference is how many there are
  rh_watch watch;
  pthread_t thread;
  uint64_t told_dropped;  // of `dropped`, when it was last logged
  uint64_t told_ns;

  // The ledger's thread.
  rh_ledger_writer *writer;
  rh_decision_log *decision_log;
  rh_dynbuf lines_out;
  bool failing, log_failing;  // told already
  uint64_t flush_due_ns;      // UINT64_MAX = nothing waits
  uint64_t retain_due_ns;
};

// thread.c
void *rh_ledger_thread(void *ledger);
// Writes what waits when its time has come. Called between the pieces of a long question.
void rh_ledger_flush_if_due(rh_ledger *ledger);
// questions.c: the ledger's thread. Sets status, answer and error.
void rh_ledger_answer(rh_ledger *ledger, rh_ledger_question *question);
// usage_question.c
rh_status rh_ledger_answer_usage(rh_ledger *ledger, const rh_usage_question *question, json_t **out,
                                 rh_error *error) RH_MUST_CHECK;

void rh_ledger_wake(rh_ledger *ledger);  // any thread
const rh_ledger_record *rh_ledger_record_at(const rh_ledger *ledger,
                                            unsigned long long n);  // one between tail and head
int64_t rh_ledger_wall_ms(void);

#endif
