// SPDX-License-Identifier: Apache-2.0
//
// The store: models that were pulled, on disk, shared by every process that opens the same folder.
//
//   FOLDER/models/NAME/VERSION/manifest.json  and the model's files beside it (names as model/ref.h makes them)
//   FOLDER/partial/NAME/VERSION/              a pull that is not complete; kept so that it can go on
//   FOLDER/aliases.json  FOLDER/usage.json    small facts that outlive the daemon
//   FOLDER/changed                            replaced after every change: watch it to hear of other processes
//   FOLDER/locks/                             flock(2) files; a lock dies with its process
//
// A model's folder appears by one rename, complete and verified, and disappears by one rename. Nothing is ever changed
// in place. Blocking; one handle belongs to one thread; any number of processes.
#ifndef RH_STORE_STORE_H
#define RH_STORE_STORE_H

#include <jansson.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"
#include "model/format.h"
#include "model/ref.h"

typedef struct rh_store rh_store;

typedef struct rh_stored_file {
  char *path;  // relative to the model's folder
  int64_t bytes;
  char sha256[RH_SHA256_HEX];
} rh_stored_file;

// One version of one model; what its manifest says. Owns its strings (rh_stored_release).
typedef struct rh_stored {
  rh_model_ref ref;
  char *folder;  // absolute
  char *entry;   // the file an engine opens, relative to the folder
  rh_format format;
  char quantization[32];
  char task[32];
  char licence[64];
  char source[512];    // as it was pulled
  char revision[128];  // of the source: a commit, a package's version
  char architecture[64];
  int64_t parameters, context;
  int64_t created_s;  // when it was installed
  int64_t bytes;      // of all files
  int64_t memory_min_bytes;
  bool gpu_required;
  bool in_place;  // lies elsewhere (a Hugging Face cache) and is only used, never removed
  rh_stored_file *files;
  size_t file_count;
} rh_stored;

void rh_stored_release(rh_stored *stored);  // leaves it zeroed
// The absolute path of its entry; the caller frees. NULL when memory is short.
char *rh_stored_entry_path(const rh_stored *stored);

typedef struct rh_stored_list {
  rh_stored *items;
  size_t count;
} rh_stored_list;
void rh_stored_list_release(rh_stored_list *list);

// Makes the folder when `create`; otherwise an absent store is an empty one.
rh_status rh_store_open(const char *folder, bool create, rh_store **out, rh_error *error) RH_MUST_CHECK;
void rh_store_close(rh_store *store);
const char *rh_store_folder(const rh_store *store);

// All models, sorted by name, then version. A folder whose manifest cannot be read is skipped with a warning in the log.
rh_status rh_store_list(rh_store *store, rh_stored_list *out, rh_error *error) RH_MUST_CHECK;
// By name and version; without a version the one called "latest", else the newest. RH_NOT_FOUND with the nearest name.
rh_status rh_store_find(rh_store *store, const rh_model_ref *ref, rh_stored *out, rh_error *error) RH_MUST_CHECK;

// --- adding --------------------------------------------------------------------------------------------------------

typedef struct rh_draft rh_draft;  // a model being made; holds the lock of its name and version

// Takes the lock. `wait` false: RH_CONFLICT when another process holds it; true: waits, calling `waiting` (may be NULL)
// once a second; false from it gives up with RH_CANCELLED. `source` is remembered: a partial folder of another source is
// emptied first. What an earlier pull left is in the draft's folder.
rh_status rh_store_draft_begin(rh_store *store, const rh_model_ref *ref, const char *source, bool wait,
                               bool (*waiting)(void *ctx), void *ctx, rh_draft **out, rh_error *error) RH_MUST_CHECK;
const char *rh_draft_folder(const rh_draft *draft);  // put files here; on the store's file system
// `stored->folder` is ignored. Files of the folder that the manifest does not list are removed; those it lists must be
// there with their sizes (RH_INVALID), and an empty sha256 is filled in. No file may be called manifest.json. An existing
// model of the same name and version is replaced (processes that read its files keep them until they close them). Ends
// the draft in any case; after a failure what was fetched stays for a later pull, and RH_NO_SPACE leaves the store as it
// was.
rh_status rh_draft_commit(rh_draft *draft, const rh_stored *stored, rh_error *error) RH_MUST_CHECK;
// Ends the draft; `keep` leaves what was fetched for a later pull.
void rh_draft_end(rh_draft *draft, bool keep);

// --- the rest of a model's life ------------------------------------------------------------------------------------

rh_status rh_store_remove(rh_store *store, const rh_model_ref *ref, rh_error *error) RH_MUST_CHECK;
// Another name for the same files (hard links where possible: no disk is used). RH_CONFLICT when `to` exists.
rh_status rh_store_copy(rh_store *store, const rh_model_ref *from, const rh_model_ref *to,
                        rh_error *error) RH_MUST_CHECK;

// Hash all files again. `progress` gets done and total bytes; false gives up. RH_INVALID names every file that is
// damaged or missing; RH_CONFLICT: another process replaced the model meanwhile.
rh_status rh_store_verify(rh_store *store, const rh_stored *stored,
                          bool (*progress)(void *ctx, const char *file, int64_t done, int64_t total), void *ctx,
                          rh_error *error) RH_MUST_CHECK;

typedef struct rh_store_usage {
  int64_t model_bytes, partial_bytes;  // on disk, each inode once
  int64_t free_bytes;                  // of the file system
  size_t model_count, partial_count;
} rh_store_usage;
rh_status rh_store_disk_usage(rh_store *store, rh_store_usage *out, rh_error *error) RH_MUST_CHECK;

// Bring the store below `limit_bytes` (0 = no limit): first partial pulls older than `partial_age_s` that nobody works
// on (these also without a limit), then the models used longest ago, never one for which `keep` (may be NULL) says true
// or that an alias names. Bytes that another model shares through hard links come back only with the last of them. With
// `dry_run` nothing is removed. `removed` (may be NULL) is called for each. RH_NO_SPACE when the limit cannot be reached.
typedef struct rh_gc_options {
  int64_t limit_bytes;
  int64_t partial_age_s;
  bool dry_run;
  bool (*keep)(void *ctx, const rh_model_ref *ref);
  void (*removed)(void *ctx, const char *what, int64_t bytes, const char *why);
  void *ctx;
} rh_gc_options;
rh_status rh_store_gc(rh_store *store, const rh_gc_options *options, int64_t *freed_bytes,
                      rh_error *error) RH_MUST_CHECK;

// --- small facts ---------------------------------------------------------------------------------------------------

// Aliases: name -> "name[:version]" (and "pin:NAME", see manager/manager.h). *out is a new object; the caller releases
// it. RH_INVALID when the file is damaged.
rh_status rh_store_aliases(rh_store *store, json_t **out, rh_error *error) RH_MUST_CHECK;
// `target` NULL removes. Safe against other processes.
rh_status rh_store_alias_set(rh_store *store, const char *alias, const char *target, rh_error *error) RH_MUST_CHECK;

// What was learned about a model by using it. Kept by the key "NAME:VERSION" or a path.
typedef struct rh_usage_facts {
  int64_t last_used_s;
  double frequency;   // requests an hour, exponentially averaged (store/usage.c); rh_store_note ignores it
  int64_t requests;   // for rh_store_note: how many came since the caller's last note; rh_store_facts gives 0
  int64_t ram_bytes;  // peak resident memory of its worker with the options of `options_key`
  int64_t gpu_bytes;
  double load_ms;
  char options_key[64];  // context, slots, GPU layers: memory figures hold for these only
} rh_usage_facts;
rh_status rh_store_facts(rh_store *store, const char *key, rh_usage_facts *out) RH_MUST_CHECK;  // RH_NOT_FOUND: zeroed
// Merged into the file at once, so that several daemons add up: `requests` are added to the average, the latest
// last_used_s stays, memory figures are the largest of the same options_key (of another key: the new ones), and a 0 or an
// empty text says nothing new. A store that cannot be written is logged once and otherwise ignored.
void rh_store_note(rh_store *store, const char *const *keys, const rh_usage_facts *facts, size_t count);

// --- models that lie elsewhere -------------------------------------------------------------------------------------

// What a Hugging Face cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub; `folder` NULL) holds, as stored
// models with `in_place`: names "org/repo", versions from quantization or revision.
rh_status rh_store_scan_hub_cache(const char *folder, rh_stored_list *out, rh_error *error) RH_MUST_CHECK;

#endif
