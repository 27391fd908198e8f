// SPDX-License-Identifier: Apache-2.0
//
// One SQLite connection to the state database: opening it with care, its failures in our words, named texts. Owns the connection
// and the statements it keeps. The thread of the handle; blocking. The tables are schema.c's; what is in them belongs to
// others.
//
// Journal in WAL mode with synchronous=NORMAL: a commit is a write without fsync. It survives the death of the process at once
// and the machine's with the next checkpoint, which the ledger's thread makes: connections on the loop's thread never do
// (wal_autocheckpoint 0), because that waits for the disk.
#include "ledger/database.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "ledger/schema.h"

#define OPEN_PATIENCE_MS 5000  // others may be bringing the schema up to date
#define RETRY_MS 10

struct rh_database {
  sqlite3 *handle;
  char *path;
  sqlite3_stmt *data_version;
  int64_t seen_version;
};

struct sqlite3 *rh_database_handle(rh_database *database) {
  return database->handle;
}

const char *rh_database_path(const rh_database *database) { return database->path; }

void rh_database_set_patience(rh_database *database, int milliseconds) {
  (void)sqlite3_busy_timeout(database->handle, milliseconds);
}

static bool disk_full(sqlite3 *handle, int code) {
  if (code == SQLITE_FULL) return true;
  if (code != SQLITE_IOERR) return false;
  int number = sqlite3_system_errno(handle);
  return number == ENOSPC || number == EDQUOT || number == EFBIG;
}

rh_status rh_database_fail(rh_database *database, const char *what, rh_error *error) {
  int code = sqlite3_errcode(database->handle) & 0xff;  // without the extension
  const char *reason = sqlite3_errmsg(database->handle), *path = database->path;
  if (disk_full(database->handle, code)) {
    return rh_fail(error, RH_NO_SPACE, "cannot %s %s: the disk is full; free some space", what, path);
  }
  switch (code) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return rh_fail(error, RH_UNAVAILABLE, "cannot %s %s: another process holds it; try again", what, path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return rh_fail(
          error, RH_INVALID,
          "cannot %s %s: it is damaged (%s); restore it from a copy, or move it aside to begin with an empty "
          "one (keys and usage are then gone)",
          what, path, reason);
    case SQLITE_NOMEM: return rh_fail(error, RH_NO_MEMORY, "cannot %s %s: no memory", what, path);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
      return rh_fail(error, RH_IO, "cannot %s %s: %s; this user must own it and its folder", what, path, reason);
    default: return rh_fail(error, RH_IO, "cannot %s %s: %s", what, path, reason);
  }
}

rh_status rh_database_run(rh_database *database, const char *sql, rh_error *error) {
  if (sqlite3_exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK) return RH_OK;
  return rh_database_fail(database, "write", error);
}

rh_status rh_database_prepare(rh_database *database, const char *sql, sqlite3_stmt **out, rh_error *error) {
  if (sqlite3_prepare_v3(database->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK) return RH_OK;
  return rh_database_fail(database, "read", error);
}

rh_status rh_database_begin(rh_database *database, rh_error *error) {
  return rh_database_run(database, "BEGIN IMMEDIATE", error);
}

rh_status rh_database_end(rh_database *database, rh_status status, rh_error *error) {
  if (status == RH_OK) status = rh_database_run(database, "COMMIT", error);
  // Some failures have rolled back by themselves already.
  if (status != RH_OK && sqlite3_get_autocommit(database->handle) == 0) {
    (void)sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
  }
  return status;
}

// SQLite gives the journal the file's own mode. The file is never opened here when it exists: closing a descriptor would
// drop the locks that another connection of this process holds on it.
static rh_status make_file(const char *folder, const char *path, rh_error *error) {
  rh_status status = rh_file_make_folders(folder, 0700, error);
  if (status != RH_OK) return status;
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) {
    close(fd);
    return RH_OK;
  }
  if (errno != EEXIST) return rh_file_fail(error, errno, "make the file", path);
  struct stat info;
  if (stat(path, &info) != 0) return rh_file_fail(error, errno, "look at", path);
  if (!S_ISREG(info.st_mode)) return rh_fail(error, RH_INVALID, "%s is not a file", path);
  // It holds who used what, and hashes of keys.
  if (info.st_uid == geteuid() && (info.st_mode & 077) != 0 && chmod(path, 0600) != 0) {
    RH_LOG(RH_LOG_WARN, "others may read the state database", rh_log_str("path", path));
  }
  return RH_OK;
}

// Two processes that switch a new file to WAL at once make one of them fail without asking the busy handler.
static rh_status set_journal(rh_database *database, rh_error *error) {
  for (int waited = 0;; waited += RETRY_MS) {
    int code = sqlite3_exec(database->handle, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    if (code == SQLITE_OK) return RH_OK;
    if ((code & 0xff) != SQLITE_BUSY || waited >= OPEN_PATIENCE_MS) return rh_database_fail(database, "open", error);
    (void)nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
  }
}

static rh_status set_up(rh_database *database, rh_error *error) {
  sqlite3 *handle = database->handle;
  rh_database_set_patience(database, OPEN_PATIENCE_MS);
  (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  // Before anything is written: what is not ours stays as it is.
  rh_status status = rh_schema_check(database, error);
  if (status == RH_OK) status = set_journal(database, error);
  if (status != RH_OK) return status;
  status = rh_database_run(database,
                           "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;"
                           "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864",
                           error);
  if (status == RH_OK) status = rh_schema_update(database, error);
  if (status == RH_OK) status = rh_database_prepare(database, "PRAGMA data_version", &database->data_version, error);
  if (status != RH_OK) return status;
  (void)rh_database_changed(database);
  rh_database_set_patience(database, RH_DATABASE_PATIENCE_MS);
  return RH_OK;
}

rh_status rh_database_open(const char *folder, rh_database **out, rh_error *error) {
  assert(folder != NULL && folder[0] != '\0' && out != NULL);
  rh_database *database = calloc(1, sizeof *database);
  if (database == NULL || asprintf(&database->path, "%s/" RH_DATABASE_FILE, folder) < 0) {
    free(database);
    return rh_fail(error, RH_NO_MEMORY, "no memory to open the state database in %s", folder);
  }
  rh_status status = make_file(folder, database->path, error);
  if (status == RH_OK) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(database->path, &database->handle, flags, NULL);
    if (database->handle == NULL) {
      status = rh_fail(error, RH_NO_MEMORY, "no memory to open %s", database->path);
    } else {
      status = code == SQLITE_OK ? set_up(database, error) : rh_database_fail(database, "open", error);
    }
  }
  if (status != RH_OK) {
    rh_database_close(database);
    return status;
  }
  *out = database;
  return RH_OK;
}

void rh_database_close(rh_database *database) {
  if (database == NULL) return;
  (void)sqlite3_finalize(database->data_version);
  // Statements that somebody forgot would keep the file open: a programmer's mistake.
  int code = sqlite3_close(database->handle);
  assert(code == SQLITE_OK);
  (void)code;
  free(database->path);
  free(database);
}

bool rh_database_changed(rh_database *database) {
  int64_t version = -1;
  if (sqlite3_step(database->data_version) == SQLITE_ROW) version = sqlite3_column_int64(database->data_version, 0);
  (void)sqlite3_reset(database->data_version);
  bool changed = version != database->seen_version;
  database->seen_version = version;
  return changed;
}

// Named texts: rare, so their statements are not kept.

rh_status rh_database_get_text(rh_database *database, const char *name, char **out, rh_error *error) {
  sqlite3_stmt *statement = NULL;
  rh_status status = rh_database_prepare(database, "SELECT value FROM state WHERE name = ?1", &statement, error);
  if (status != RH_OK) return status;
  (void)sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
  int code = sqlite3_step(statement);
  if (code == SQLITE_ROW) {
    const unsigned char *text = sqlite3_column_text(statement, 0);
    *out = text == NULL ? NULL : strdup((const char *)text);
    if (*out == NULL) status = rh_fail(error, RH_NO_MEMORY, "no memory to read \"%s\"", name);
  } else if (code == SQLITE_DONE) {
    status = rh_fail(error, RH_NOT_FOUND, "%s holds no \"%s\"", database->path, name);
  } else {
    status = rh_database_fail(database, "read", error);
  }
  (void)sqlite3_finalize(statement);
  return status;
}

rh_status rh_database_put_text(rh_database *database, const char *name, const char *value, rh_error *error) {
  if (value != NULL && strlen(value) > RH_DATABASE_TEXT_MAX) {
    return rh_fail(error, RH_TOO_LARGE, "\"%s\" is larger than the %zu bytes that are kept under one name", name,
                   RH_DATABASE_TEXT_MAX);
  }
  const char *sql = value == NULL ? "DELETE FROM state WHERE name = ?1"
                                  : "INSERT INTO state(name, value) VALUES(?1, ?2) "
                                    "ON CONFLICT(name) DO UPDATE SET value = excluded.value";
  sqlite3_stmt *statement = NULL;
  rh_status status = rh_database_prepare(database, sql, &statement, error);
  if (status != RH_OK) return status;
  (void)sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
  if (value != NULL) (void)sqlite3_bind_text(statement, 2, value, -1, SQLITE_STATIC);
  if (sqlite3_step(statement) != SQLITE_DONE) status = rh_database_fail(database, "write", error);
  (void)sqlite3_finalize(statement);
  return status;
}
