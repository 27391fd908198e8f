// SPDX-License-Identifier: Apache-2.0
//
// One pull from beginning to end, in the order that a person would check things: do we have it, may we look, does it fit
// this machine, does it fit the disk, is somebody else at it; then fetch, verify, install. One function a step. Owns the
// rh_pulling; blocking; the caller's thread.
#include "pull/pull.h"

#include <assert.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "model/hardware.h"
#include "pull/backends.h"
#include "pull/install.h"
#include "pull/report.h"
#include "pull/source.h"
#include "pull/transfer.h"

#define SPACE_MARGIN_BYTES ((int64_t)32 * 1024 * 1024)
#define TRIES_USUAL 8
#define TRIES_MAX 100

// --- source and name -----------------------------------------------------------------------------------------------

// The versions there are of a name, as far as they fit.
static void list_versions(const char *name, char *out, size_t size) {
  size_t at = 0;
  out[0] = '\0';
  for (size_t i = 0; i < rh_known_count(); i++) {
    const rh_known *one = rh_known_at(i);
    if (strcasecmp(one->name, name) != 0) continue;
    int wrote = snprintf(out + at, size - at, "%s%s", at == 0 ? "" : ", ", one->version);
    if (wrote < 0 || (size_t)wrote >= size - at) return;
    at += (size_t)wrote;
  }
}

static rh_status explain_unknown(const char *name, rh_error *error) {
  char alone[RH_MODEL_NAME_MAX + 1], versions[400];
  (void)rh_text_copy(alone, sizeof alone, name);
  char *colon = strrchr(alone, ':');
  if (colon != NULL) *colon = '\0';
  list_versions(alone, versions, sizeof versions);
  if (versions[0] != '\0')
    return rh_fail_param(error, RH_NOT_FOUND, "source", "the catalogue has no \"%.100s\", but these versions of %s: %s",
                         name, alone, versions);
  const char *near = rh_known_nearest(alone);
  return rh_fail_param(error, RH_NOT_FOUND, "source",
                       "the catalogue has no \"%.100s\"%s%s%s. `roundhouse list --known` shows it; other sources: "
                       "hf:ORG/REPO, https://..., s3://..., file:PATH, pypi:NAME, npm:NAME",
                       name, near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near,
                       near == NULL ? "" : "\"?");
}

static rh_status find_known(rh_pulling *pull, rh_error *error) {
  const char *name = pull->source.location;
  pull->known = rh_known_find(name);
  if (pull->known == NULL) return explain_unknown(name, error);
  (void)rh_text_copy(pull->ref.name, sizeof pull->ref.name, pull->known->name);
  (void)rh_text_copy(pull->ref.version, sizeof pull->ref.version, pull->known->version);
  rh_source real;
  rh_status status = rh_source_parse(pull->known->source, &real, error);
  if (status == RH_OK) pull->source = real;
  return status;
}

static rh_status take_source(rh_pulling *pull, rh_error *error) {
  const rh_pull_options *options = pull->options;
  rh_status status = rh_source_parse(options->source, &pull->source, error);
  if (status == RH_OK && pull->source.kind == RH_SOURCE_CATALOGUE) status = find_known(pull, error);
  if (status != RH_OK || options->name == NULL) return status;
  status = rh_model_ref_parse(options->name, &pull->ref, error);
  if (status == RH_OK && pull->ref.version[0] == '\0')
    (void)rh_text_copy(pull->ref.version, sizeof pull->ref.version, RH_VERSION_LATEST);
  return status;
}

// The catalogue knows better than names do, and its digests must hold.
static rh_status apply_known(rh_pulling *pull, rh_error *error) {
  const rh_known *known = pull->known;
  rh_plan *plan = &pull->plan;
  if (known == NULL) return RH_OK;
  if (known->licence != NULL && plan->licence[0] == '\0')
    (void)rh_text_copy(plan->licence, sizeof plan->licence, known->licence);
  if (known->licence_note != NULL)
    (void)rh_text_copy(plan->licence_note, sizeof plan->licence_note, known->licence_note);
  if (plan->quantization[0] == '\0' && known->quantization != NULL)
    (void)rh_text_copy(plan->quantization, sizeof plan->quantization, known->quantization);
  if (plan->format == RH_FORMAT_UNKNOWN) plan->format = known->format;
  for (size_t i = 0; i < known->file_count; i++) {
    const rh_known_file *wanted = &known->files[i];
    for (size_t k = 0; k < plan->count; k++) {
      rh_pull_file *file = &plan->files[k];
      // The folder they share was dropped from the plan's paths.
      if (!rh_text_ends_with(wanted->path, file->path)) continue;
      bool other = (wanted->bytes > 0 && file->bytes >= 0 && wanted->bytes != file->bytes) ||
                   (wanted->sha256 != NULL && file->sha256[0] != '\0' && strcmp(wanted->sha256, file->sha256) != 0);
      if (other)
        return rh_fail(error, RH_INVALID,
                       "%s at the source is not the file the catalogue means (%" PRId64
                       " bytes, SHA-256 %.64s; found: "
                       "%" PRId64 " bytes, %.64s). Pull the source itself if you trust it",
                       file->path, wanted->bytes, wanted->sha256 == NULL ? "unknown" : wanted->sha256, file->bytes,
                       file->sha256[0] == '\0' ? "unknown" : file->sha256);
      if (file->bytes < 0 && wanted->bytes > 0) file->bytes = wanted->bytes;
      if (wanted->sha256 != NULL) (void)rh_text_copy(file->sha256, sizeof file->sha256, wanted->sha256);
    }
  }
  return RH_OK;
}

static void take_name(rh_pulling *pull) {
  if (pull->ref.name[0] == '\0') rh_source_name(&pull->source, pull->plan.quantization, &pull->ref);
  // A place without versions still has a state by which a change can be told.
  if (pull->plan.revision[0] == '\0' && pull->plan.count == 1)
    (void)rh_text_copy(pull->plan.revision, sizeof pull->plan.revision, pull->plan.files[0].validator);
}

// --- is it there already? ------------------------------------------------------------------------------------------

static bool same_source(const rh_pulling *pull, const rh_stored *stored) {
  char mine[sizeof stored->source];
  rh_source_public(&pull->source, mine, sizeof mine);
  return strcmp(mine, stored->source) == 0;
}

// Are all files that the plan promises, with digests, among the stored ones?
static bool has_files(const rh_plan *plan, const rh_stored *stored) {
  for (size_t i = 0; i < plan->count; i++) {
    bool found = false;
    for (size_t k = 0; plan->files[i].sha256[0] != '\0' && k < stored->file_count; k++)
      found = found || strcmp(plan->files[i].sha256, stored->files[k].sha256) == 0;
    if (!found) return false;
  }
  return plan->count > 0;
}

static bool known_is_stored(const rh_known *known, const rh_stored *stored) {
  for (size_t i = 0; i < known->file_count; i++) {
    bool found = false;
    for (size_t k = 0; known->files[i].sha256 != NULL && k < stored->file_count; k++)
      found = found || strcmp(known->files[i].sha256, stored->files[k].sha256) == 0;
    if (!found) return false;
  }
  return known->file_count > 0;
}

static rh_status find_exactly(rh_pulling *pull, rh_stored *out) {
  rh_status status = rh_store_find(pull->store, &pull->ref, out, NULL);
  if (status != RH_OK) return status;
  if (strcmp(out->ref.version, pull->ref.version) == 0 && strcmp(out->ref.name, pull->ref.name) == 0) return RH_OK;
  rh_stored_release(out);
  return RH_NOT_FOUND;
}

// Without a connection: by name, else by where it came from. True: *out is it.
static bool find_without_looking(rh_pulling *pull, rh_stored *out) {
  if (pull->ref.name[0] != '\0') {
    if (find_exactly(pull, out) != RH_OK) return false;
    bool good = same_source(pull, out) || (pull->known != NULL && known_is_stored(pull->known, out));
    if (!good) rh_stored_release(out);
    return good;
  }
  rh_stored_list list;
  if (rh_store_list(pull->store, &list, NULL) != RH_OK) return false;
  bool found = false;
  for (size_t i = 0; !found && i < list.count; i++) {
    if (!same_source(pull, &list.items[i])) continue;
    *out = list.items[i];
    list.items[i] = (rh_stored){.format = RH_FORMAT_UNKNOWN};
    pull->ref = out->ref;
    found = true;
  }
  rh_stored_list_release(&list);
  return found;
}

// After the source was looked at. *already: *out is it. RH_CONFLICT: the name is another model's.
static rh_status find_planned(rh_pulling *pull, rh_stored *out, bool *already, rh_error *error) {
  *already = false;
  if (pull->options->force || find_exactly(pull, out) != RH_OK) return RH_OK;
  bool same_revision = pull->plan.revision[0] != '\0' && strcmp(pull->plan.revision, out->revision) == 0;
  *already = has_files(&pull->plan, out) || (same_source(pull, out) && same_revision);
  if (*already) return RH_OK;
  rh_status status = RH_OK;
  if (!same_source(pull, out))
    status = rh_fail_param(error, RH_CONFLICT, "name",
                           "%s:%s is there already, from %s: give this one another --name, or --force to replace it",
                           out->ref.name, out->ref.version, out->source);
  rh_stored_release(out);
  return status;
}

static rh_status tell_already(rh_pulling *pull, rh_stored *stored, rh_error *error) {
  if (pull->plan.count == 0) {
    for (size_t i = 0; i < stored->file_count; i++) {
      rh_status status = rh_plan_add_file(&pull->plan, stored->files[i].path, NULL, NULL, stored->files[i].bytes,
                                          stored->files[i].sha256, error);
      if (status != RH_OK) return status;
    }
    pull->plan.format = stored->format;
    (void)rh_text_copy(pull->plan.licence, sizeof pull->plan.licence, stored->licence);
    (void)rh_text_copy(pull->plan.quantization, sizeof pull->plan.quantization, stored->quantization);
    (void)rh_text_copy(pull->plan.revision, sizeof pull->plan.revision, stored->revision);
  }
  rh_status status = rh_pull_report_resolved(pull, 0, true, error);
  return status == RH_OK ? rh_pull_report_done(pull, stored, true, error) : status;
}

// --- does it fit? --------------------------------------------------------------------------------------------------

static rh_status check_hardware(rh_pulling *pull, rh_error *error) {
  if (pull->known == NULL || pull->options->no_hardware_check) return RH_OK;
  rh_hardware hardware;
  rh_hardware_probe(&hardware);
  return rh_known_fits(pull->known, &hardware, error);
}

// Where an earlier pull left its bytes, as store.h describes the store.
static int64_t missing_bytes(rh_pulling *pull) {
  char name[2 * RH_MODEL_NAME_MAX], version[2 * RH_MODEL_NAME_MAX], folder[4096];
  rh_model_ref_to_folder(pull->ref.name, name, sizeof name);
  rh_model_ref_to_folder(pull->ref.version, version, sizeof version);
  int wrote = snprintf(folder, sizeof folder, "%s/partial/%s/%s", rh_store_folder(pull->store), name, version);
  if (wrote < 0 || (size_t)wrote >= sizeof folder) return rh_plan_bytes(&pull->plan, NULL);
  return rh_transfer_missing(&pull->plan, folder);
}

static rh_status check_space(rh_pulling *pull, int64_t missing, rh_error *error) {
  char need_text[32], have_text[32], limit_text[32];
  // A conversion writes about as much again.
  bool convert = pull->options->convert && pull->plan.format == RH_FORMAT_SAFETENSORS;
  int64_t need = missing + (convert ? rh_plan_bytes(&pull->plan, NULL) : 0);
  int64_t free_bytes = rh_file_free_bytes(rh_store_folder(pull->store));
  rh_text_format_bytes(need_text, sizeof need_text, (uint64_t)need);
  if (free_bytes >= 0 && need > free_bytes - SPACE_MARGIN_BYTES) {
    rh_text_format_bytes(have_text, sizeof have_text, (uint64_t)free_bytes);
    return rh_fail(error, RH_NO_SPACE,
                   "%s are still to come%s, but the disk of %s has only %s free (32 MiB are left to others). Free some "
                   "space (`roundhouse gc`)",
                   need_text, convert ? ", with the conversion" : "", rh_store_folder(pull->store), have_text);
  }
  int64_t limit = pull->options->store_limit_bytes;
  rh_store_usage usage;
  if (limit <= 0) return RH_OK;
  rh_status status = rh_store_disk_usage(pull->store, &usage, error);
  if (status != RH_OK) return status;
  if (usage.model_bytes + usage.partial_bytes + need <= limit) return RH_OK;
  rh_text_format_bytes(have_text, sizeof have_text, (uint64_t)(usage.model_bytes + usage.partial_bytes));
  rh_text_format_bytes(limit_text, sizeof limit_text, (uint64_t)limit);
  return rh_fail(error, RH_NO_SPACE,
                 "%s are still to come, but the store may hold %s and holds %s. Raise its limit or make room "
                 "(`roundhouse gc`, `roundhouse rm`)",
                 need_text, limit_text, have_text);
}

// --- fetching ------------------------------------------------------------------------------------------------------

static bool still_waiting(void *ctx) { return !((rh_pulling *)ctx)->cancelled; }

typedef struct waiting {
  rh_pulling *pull;
  char what[300];
} waiting;

static bool on_waiting(void *ctx) {
  waiting *now = ctx;
  return rh_pull_report_waiting(now->pull, now->what, NULL) == RH_OK && still_waiting(now->pull);
}

static rh_status begin_draft(rh_pulling *pull, rh_draft **out, bool *waited, rh_error *error) {
  char source[512];
  rh_source_public(&pull->source, source, sizeof source);
  rh_error busy = {0};
  *waited = false;
  rh_status status = rh_store_draft_begin(pull->store, &pull->ref, source, false, NULL, NULL, out, &busy);
  if (status != RH_CONFLICT || !pull->options->wait_for_lock)
    return status == RH_OK ? RH_OK : rh_fail(error, status, "%s", busy.message);
  *waited = true;
  waiting now = {.pull = pull};
  (void)snprintf(now.what, sizeof now.what, "%.299s", busy.message);
  return rh_store_draft_begin(pull->store, &pull->ref, source, true, on_waiting, &now, out, error);
}

static rh_status bring(rh_pulling *pull, const char *folder, rh_error *error) {
  const rh_pull_backend *backend = rh_pull_backend_of(pull->source.kind);
  if (backend->fetch == NULL) return rh_transfer_run(pull, folder, error);
  rh_status status = backend->fetch(pull, folder, error);
  return status == RH_OK ? rh_pull_check_files(pull, folder, error) : status;
}

static rh_status fetch_and_install(rh_pulling *pull, rh_stored *out, bool *already, rh_error *error) {
  rh_draft *draft = NULL;
  bool waited = false;
  rh_status status = begin_draft(pull, &draft, &waited, error);
  if (status != RH_OK) return status;
  // Whoever was first may have brought it.
  if (waited) status = find_planned(pull, out, already, error);
  if (status != RH_OK || *already) {
    rh_draft_end(draft, false);
    return status;
  }
  status = bring(pull, rh_draft_folder(draft), error);
  if (status != RH_OK) {
    // Wrong bytes have been removed one by one; what is good stays for the next pull.
    rh_draft_end(draft, status != RH_UNSUPPORTED);
    return status;
  }
  status = rh_pull_install(pull, draft, error);
  return status == RH_OK ? rh_store_find(pull->store, &pull->ref, out, error) : status;
}

// --- the whole -----------------------------------------------------------------------------------------------------

static rh_status look(rh_pulling *pull, rh_error *error) {
  const rh_pull_backend *backend = rh_pull_backend_of(pull->source.kind);
  assert(backend != NULL);
  if (pull->options->offline && backend->network)
    return rh_fail(error, RH_OFFLINE,
                   "%.200s is not in the store, and ROUNDHOUSE_OFFLINE is set: unset it to fetch the model, or pull "
                   "file:PATH",
                   pull->options->source);
  rh_status status = backend->resolve(pull, error);
  return status == RH_OK ? apply_known(pull, error) : status;
}

static rh_status run(rh_pulling *pull, rh_stored *out, rh_error *error) {
  const rh_pull_options *options = pull->options;
  rh_status status = take_source(pull, error);
  if (status != RH_OK) return status;
  // What has its digests in the catalogue needs nobody's word that it is the right one.
  bool can_tell = options->offline || (pull->known != NULL && pull->known->file_count > 0);
  if (can_tell && !options->force && find_without_looking(pull, out)) return tell_already(pull, out, error);
  if (!options->dry_run) status = check_hardware(pull, error);
  if (status == RH_OK) status = look(pull, error);
  if (status != RH_OK) return status;
  take_name(pull);
  bool already = false;
  status = find_planned(pull, out, &already, error);
  if (status != RH_OK) return status;
  if (already) return tell_already(pull, out, error);
  int64_t missing = missing_bytes(pull);
  status = rh_pull_report_resolved(pull, missing, false, error);
  if (status != RH_OK || options->dry_run) return status;
  status = check_space(pull, missing, error);
  if (status == RH_OK) status = fetch_and_install(pull, out, &already, error);
  return status == RH_OK ? rh_pull_report_done(pull, out, already, error) : status;
}

static rh_pull_options with_defaults(const rh_pull_options *options) {
  rh_pull_options full = *options;
  if (full.tries_max <= 0) full.tries_max = TRIES_USUAL;
  if (full.tries_max > TRIES_MAX) full.tries_max = TRIES_MAX;
  if (full.stall_timeout_ns == 0) full.stall_timeout_ns = 30 * RH_NS_PER_S;
  return full;
}

rh_status rh_pull(rh_store *store, const rh_pull_options *options, const rh_pull_listener *listener, rh_stored *out,
                  rh_error *error) {
  assert(store != NULL && options != NULL && options->source != NULL);
  rh_error own = {0};
  rh_stored found = {.format = RH_FORMAT_UNKNOWN};
  rh_pull_options full = with_defaults(options);
  rh_pulling *pull = calloc(1, sizeof *pull);
  if (error == NULL) error = &own;
  if (pull == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a pull");
  pull->options = &full;
  pull->listener = listener;
  pull->store = store;
  pull->began_ns = rh_clock_now_ns();
  rh_status status = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
                         ? run(pull, &found, error)
                         : rh_fail(error, RH_INTERNAL, "libcurl could not be set up");
  if (status != RH_OK) rh_pull_report_error(pull, status, error);
  if (status == RH_OK && out != NULL)
    *out = found;
  else
    rh_stored_release(&found);
  rh_plan_release(&pull->plan);
  free(pull);
  curl_global_cleanup();
  return status;
}
