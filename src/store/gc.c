// SPDX-License-Identifier: Apache-2.0
//
// Disk use, and bringing it below a limit: which partial pulls and models go, in which order. Owns nothing between
// calls. One thread a handle; others may change the store meanwhile, so every removal takes its lock and may find that
// there is nothing left to remove.
#include <assert.h>
#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "store/internal.h"

#define ST_BLOCK_BYTES 512

static bool count_one(void *ctx, const rh_model_ref *ref, const char *path) {
  (void)ref;
  (void)path;
  ++*(size_t *)ctx;
  return true;
}

static int64_t bytes_of(const rh_store *store, const char *where) {
  char *path = rh_store_path(store, where);
  int64_t bytes = path == NULL ? 0 : rh_file_tree_bytes(path);
  free(path);
  return bytes;
}

rh_status rh_store_disk_usage(rh_store *store, rh_store_usage *out, rh_error *error) {
  assert(store != NULL && out != NULL);
  *out = (rh_store_usage){.model_bytes = bytes_of(store, "models"),
                          .partial_bytes = bytes_of(store, "partial"),
                          .free_bytes = rh_file_free_bytes(store->folder)};
  rh_status status = rh_store_each(store, "models", count_one, &out->model_count, error);
  if (status == RH_OK) status = rh_store_each(store, "partial", count_one, &out->partial_count, error);
  return status;
}

// --- what shares bytes ----------------------------------------------------------------------------------------------

// One file of one model; those with the same inode lie side by side once they are sorted.
typedef struct piece {
  dev_t device;
  ino_t inode;
  int64_t bytes;
  size_t model;
} piece;

typedef struct pieces {
  piece *items;
  size_t count, room;
} pieces;

static int by_inode(const void *a, const void *b) {
  const piece *left = a, *right = b;
  if (left->device != right->device) return left->device < right->device ? -1 : 1;
  if (left->inode != right->inode) return left->inode < right->inode ? -1 : 1;
  return 0;
}

static bool add_piece(pieces *all, const struct stat *info, size_t model) {
  if (all->count == all->room) {
    size_t room = all->room == 0 ? 64 : all->room * 2;
    piece *items = realloc(all->items, room * sizeof *items);
    if (items == NULL) return false;
    all->items = items;
    all->room = room;
  }
  all->items[all->count++] = (piece){info->st_dev, info->st_ino, (int64_t)info->st_blocks * ST_BLOCK_BYTES, model};
  return true;
}

static bool collect_pieces(const rh_stored_list *list, pieces *out) {
  for (size_t i = 0; i < list->count; i++) {
    char *const roots[] = {list->items[i].folder, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    const FTSENT *entry;
    bool fits = tree != NULL;
    while (fits && (entry = fts_read(tree)) != NULL) {
      if (entry->fts_info == FTS_F) fits = add_piece(out, entry->fts_statp, i);
    }
    if (tree != NULL) fts_close(tree);
    if (!fits) return false;
  }
  if (out->count > 1) qsort(out->items, out->count, sizeof *out->items, by_inode);
  return true;
}

// What comes back when `model` goes, after those that are `gone` already.
static int64_t freed_by(const pieces *all, const bool *gone, size_t model) {
  int64_t bytes = 0;
  for (size_t i = 0; i < all->count;) {
    bool mine = false, shared = false;
    size_t next = i;
    for (; next < all->count && by_inode(&all->items[next], &all->items[i]) == 0; next++) {
      size_t owner = all->items[next].model;
      mine = mine || owner == model;
      shared = shared || (owner != model && !gone[owner]);
    }
    if (mine && !shared) bytes += all->items[i].bytes;
    i = next;
  }
  return bytes;
}

// --- partial pulls --------------------------------------------------------------------------------------------------

typedef struct collection {
  rh_store *store;
  const rh_gc_options *options;
  int64_t now_s, freed;
} collection;

static int64_t newest_s(const char *path) {
  char *copy = strdup(path);
  char *const roots[] = {copy, NULL};
  FTS *tree = copy == NULL ? NULL : fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
  int64_t newest = 0;
  const FTSENT *entry;
  while (tree != NULL && (entry = fts_read(tree)) != NULL) {
    bool known = entry->fts_info == FTS_F || entry->fts_info == FTS_D;
    if (known && entry->fts_statp->st_mtime > newest) newest = entry->fts_statp->st_mtime;
  }
  if (tree != NULL) fts_close(tree);
  free(copy);
  return newest;
}

static void tell(const collection *c, const rh_model_ref *ref, const char *kind, int64_t bytes, const char *why) {
  char what[2 * RH_MODEL_NAME_MAX + 32];
  (void)snprintf(what, sizeof what, "%s%s:%s", kind, ref->name, ref->version);
  if (c->options->removed != NULL) c->options->removed(c->options->ctx, what, bytes, why);
}

static bool collect_partial(void *ctx, const rh_model_ref *ref, const char *path) {
  collection *c = ctx;
  char *lock_path;
  rh_lock lock;
  if (rh_lock_of_model(c->store, ref, &lock_path, NULL) != RH_OK) return true;
  if (rh_lock_try(lock_path, &lock, NULL) != RH_OK) return true;  // somebody is fetching it
  int64_t age_s = c->now_s - newest_s(path);
  if (age_s >= c->options->partial_age_s) {
    int64_t bytes = rh_file_tree_bytes(path);
    char why[96];
    (void)snprintf(why, sizeof why, "a pull that was left unfinished %" PRId64 " hours ago", age_s / 3600);
    char *note = rh_store_note_path(c->store, ref);
    bool gone = c->options->dry_run || rh_store_discard(c->store, path, NULL) == RH_OK;
    if (gone && !c->options->dry_run && note != NULL) (void)unlink(note);
    if (gone) {
      c->freed += bytes;
      tell(c, ref, "partial ", bytes, why);
    }
    free(note);
  }
  rh_lock_release(&lock);
  return true;
}

// --- models ---------------------------------------------------------------------------------------------------------

typedef struct candidate {
  size_t model;
  int64_t used_s;
} candidate;

static int by_use(const void *a, const void *b) {
  const candidate *left = a, *right = b;
  if (left->used_s != right->used_s) return left->used_s < right->used_s ? -1 : 1;
  return left->model < right->model ? -1 : left->model > right->model;
}

static bool is_aliased(const json_t *aliases, const rh_model_ref *ref) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)aliases, key, value) {
    rh_model_ref target;
    const char *text = json_string_value(value);
    if (text == NULL || rh_model_ref_parse(text, &target, NULL) != RH_OK) continue;
    // Without a version it may mean any of them.
    if (strcasecmp(target.name, ref->name) != 0) continue;
    if (target.version[0] == '\0' || strcasecmp(target.version, ref->version) == 0) return true;
  }
  return false;
}

static size_t find_candidates(collection *c, const rh_stored_list *list, candidate *out) {
  json_t *aliases = NULL;
  rh_status status = rh_store_aliases(c->store, &aliases, NULL);
  size_t count = 0;
  for (size_t i = 0; i < list->count; i++) {
    const rh_model_ref *ref = &list->items[i].ref;
    bool kept = status != RH_OK || is_aliased(aliases, ref);
    if (kept || (c->options->keep != NULL && c->options->keep(c->options->ctx, ref))) continue;
    char key[RH_MODEL_NAME_MAX + 1];
    rh_usage_facts facts = {.last_used_s = 0};
    bool known = rh_model_ref_format(ref, key, sizeof key) == RH_OK && rh_store_facts(c->store, key, &facts) == RH_OK;
    int64_t used_s = list->items[i].created_s;
    if (known && facts.last_used_s > used_s) used_s = facts.last_used_s;
    out[count++] = (candidate){i, used_s};
  }
  json_decref(aliases);
  if (count > 1) qsort(out, count, sizeof *out, by_use);
  return count;
}

static void describe_use(char *out, size_t size, int64_t age_s) {
  if (age_s < 48 * 3600) {
    (void)snprintf(out, size, "last used %" PRId64 " hours ago", age_s / 3600);
  } else {
    (void)snprintf(out, size, "last used %" PRId64 " days ago", age_s / 86400);
  }
}

// Until `over` bytes have come back; gives how many are still missing.
static int64_t remove_models(collection *c, const rh_stored_list *list, const pieces *all, const candidate *candidates,
                             size_t count, bool *gone, int64_t over) {
  for (size_t i = 0; i < count && over > 0; i++) {
    size_t model = candidates[i].model;
    const rh_model_ref *ref = &list->items[model].ref;
    int64_t bytes = freed_by(all, gone, model);
    rh_status status = c->options->dry_run ? RH_OK : rh_store_remove(c->store, ref, NULL);
    if (status != RH_OK && status != RH_NOT_FOUND) continue;  // somebody works on it
    gone[model] = true;
    c->freed += bytes;
    over -= bytes;
    char why[64];
    describe_use(why, sizeof why, c->now_s - candidates[i].used_s);
    tell(c, ref, "", bytes, why);
  }
  return over;
}

static rh_status collect_models(collection *c, int64_t over, rh_error *error) {
  rh_stored_list list;
  rh_status status = rh_store_list(c->store, &list, error);
  if (status != RH_OK) return status;
  pieces all = {0};
  candidate *candidates = calloc(list.count + 1, sizeof *candidates);
  bool *gone = calloc(list.count + 1, sizeof *gone);
  if (candidates == NULL || gone == NULL || !collect_pieces(&list, &all)) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory to tidy the store");
  } else {
    size_t count = find_candidates(c, &list, candidates);
    over = remove_models(c, &list, &all, candidates, count, gone, over);
  }
  if (status == RH_OK && over > 0) {
    char limit[32], missing[32];
    rh_text_format_bytes(limit, sizeof limit, (uint64_t)c->options->limit_bytes);
    rh_text_format_bytes(missing, sizeof missing, (uint64_t)over);
    status = rh_fail(error, RH_NO_SPACE,
                     "the store cannot be brought below %s: %s too much, and what is left is in use, pinned or named "
                     "by an alias; raise the limit or remove models",
                     limit, missing);
  }
  free(all.items);
  free(gone);
  free(candidates);
  rh_stored_list_release(&list);
  return status;
}

rh_status rh_store_gc(rh_store *store, const rh_gc_options *options, int64_t *freed_bytes, rh_error *error) {
  assert(store != NULL && options != NULL);
  collection c = {.store = store, .options = options, .now_s = rh_clock_wall_s()};
  rh_status status = rh_store_each(store, "partial", collect_partial, &c, error);
  if (status == RH_OK && options->limit_bytes > 0) {
    int64_t used = bytes_of(store, "models") + bytes_of(store, "partial");
    int64_t over = used - options->limit_bytes - (options->dry_run ? c.freed : 0);
    if (over > 0) status = collect_models(&c, over, error);
  }
  if (c.freed > 0 && !options->dry_run) rh_store_tell_changed(store);
  if (freed_bytes != NULL) *freed_bytes = c.freed;
  return status;
}
