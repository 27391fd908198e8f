// SPDX-License-Identifier: Apache-2.0
//
// The daemon's own state on disk: one SQLite file, FOLDER/state.db, in WAL mode, shared by every daemon and command that opens
// the same folder. Tables: usage, prices are none of it, keys, experiments, assignments, feedback. The schema has a version and
// is brought up to date on opening; a newer one than ours is refused with words.
//
// A handle belongs to one thread. Blocking: on the loop's thread only for what is rare and small (keys).
#ifndef RH_LEDGER_DATABASE_H
#define RH_LEDGER_DATABASE_H

#include <stdint.h>

#include "base/status.h"

typedef struct rh_database rh_database;

rh_status rh_database_open(const char *folder, rh_database **out, rh_error *error) RH_MUST_CHECK;
void rh_database_close(rh_database *database);
struct sqlite3 *rh_database_handle(rh_database *database);
// What SQLite says went wrong, as our error: RH_NO_SPACE, RH_UNAVAILABLE (locked too long), RH_IO, RH_INVALID (damaged).
rh_status rh_database_fail(rh_database *database, const char *what, rh_error *error);
// Did another connection change the file since the last call?
bool rh_database_changed(rh_database *database);

#endif
