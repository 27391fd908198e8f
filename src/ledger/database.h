// SPDX-License-Identifier: Apache-2.0
//
// The daemon's own state on disk: one SQLite file, FOLDER/state.db, in WAL mode, shared by every daemon and command that opens
// the same folder. Tables: usage, usage_daily, spent, feedback, keys, and state (named texts: the experiments). The schema has a
// version and is brought up to date on opening; a newer one than ours is refused with words, and so is a damaged file.
//
// A handle belongs to one thread at a time. Blocking: on the loop's thread only for what is rare and small (keys). A lock of
// another process is waited for RH_DATABASE_PATIENCE_MS at most, then RH_UNAVAILABLE.
#ifndef RH_LEDGER_DATABASE_H
#define RH_LEDGER_DATABASE_H

#include <stdint.h>

#include "base/status.h"

#define RH_DATABASE_FILE "state.db"
#define RH_DATABASE_PATIENCE_MS 1000
#define RH_DATABASE_TEXT_MAX ((size_t)16 << 20)  // bytes of one text of rh_database_put_text

typedef struct rh_database rh_database;
struct sqlite3;
struct sqlite3_stmt;

// `folder` is made (0700) when it is not there; the file has the mode 0600. RH_INVALID: damaged, or another program's;
// RH_UNSUPPORTED: of a newer roundhouse.
rh_status rh_database_open(const char *folder, rh_database **out, rh_error *error) RH_MUST_CHECK;
void rh_database_close(rh_database *database);
struct sqlite3 *rh_database_handle(rh_database *database);
const char *rh_database_path(const rh_database *database);
// How long a lock is waited for from now on; RH_DATABASE_PATIENCE_MS after opening.
void rh_database_set_patience(rh_database *database, int milliseconds);
// What SQLite says went wrong, as our error: RH_NO_SPACE, RH_UNAVAILABLE (locked too long), RH_IO, RH_INVALID (damaged).
rh_status rh_database_fail(rh_database *database, const char *what, rh_error *error);
// Did another connection change the file since the last call?
bool rh_database_changed(rh_database *database);

// Statements without results; a prepared statement (the caller finalizes it). Failures are rh_database_fail's.
rh_status rh_database_run(rh_database *database, const char *sql, rh_error *error) RH_MUST_CHECK;
rh_status rh_database_prepare(rh_database *database, const char *sql, struct sqlite3_stmt **out,
                              rh_error *error) RH_MUST_CHECK;
// A transaction that writes. `end` commits when `status` is RH_OK, otherwise (or when that fails) it rolls back and hands the
// status on.
rh_status rh_database_begin(rh_database *database, rh_error *error) RH_MUST_CHECK;
rh_status rh_database_end(rh_database *database, rh_status status, rh_error *error) RH_MUST_CHECK;

// Small state under a name ("experiments"). get: *out is a malloc'ed string; RH_NOT_FOUND when there is none. put: NULL removes.
rh_status rh_database_get_text(rh_database *database, const char *name, char **out, rh_error *error) RH_MUST_CHECK;
rh_status rh_database_put_text(rh_database *database, const char *name, const char *value,
                               rh_error *error) RH_MUST_CHECK;

#endif
