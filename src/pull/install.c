// SPDX-License-Identifier: Apache-2.0
//
// The last steps of a pull: what came is looked at, converted if need be, described in a manifest and committed. The
// pull's thread; blocking. Moves no file itself: the store does.
#include "pull/install.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "model/catalogue.h"
#include "model/gguf.h"
#include "pull/report.h"
#include "pull/source.h"

typedef struct hashing {
  rh_pulling *pull;
  const char *path;
  int64_t total;
  uint64_t told_ns;
  rh_error *error;
} hashing;

static bool on_hashed(void *ctx, int64_t done) {
  hashing *now = ctx;
  uint64_t at = rh_clock_now_ns();
  if (at - now->told_ns < RH_NS_PER_S / 10) return true;
  now->told_ns = at;
  return rh_pull_report_verifying(now->pull, now->path, done, now->total, now->error) == RH_OK;
}

static rh_status check_file(rh_pulling *pull, const char *folder, rh_pull_file *file, rh_error *error) {
  char path[4096], found[RH_SHA256_HEX];
  struct stat info;
  (void)snprintf(path, sizeof path, "%s/%s", folder, file->path);
  if (lstat(path, &info) != 0 || !S_ISREG(info.st_mode))
    return rh_fail(error, RH_INVALID, "%s was promised but did not come", file->path);
  if (file->bytes >= 0 && file->bytes != (int64_t)info.st_size)
    return rh_fail(error, RH_INVALID, "%s has %lld bytes, %lld were promised", file->path, (long long)info.st_size,
                   (long long)file->bytes);
  hashing now = {.pull = pull, .path = file->path, .total = (int64_t)info.st_size, .error = error};
  rh_status status = rh_sha256_file(path, found, on_hashed, &now, error);
  if (status != RH_OK) return status;
  if (file->sha256[0] != '\0' && strcasecmp(file->sha256, found) != 0)
    return rh_fail(error, RH_INVALID, "the SHA-256 of %s is %s, %s was promised", file->path, found, file->sha256);
  file->bytes = (int64_t)info.st_size;
  (void)rh_text_copy(file->sha256, sizeof file->sha256, found);
  return RH_OK;
}

rh_status rh_pull_check_files(rh_pulling *pull, const char *folder, rh_error *error) {
  for (size_t i = 0; i < pull->plan.count; i++) {
    rh_status status = check_file(pull, folder, &pull->plan.files[i], error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// --- what it is ----------------------------------------------------------------------------------------------------

// A GGUF's header names its tensors, so a file that was cut at the source shows before anybody loads it.
static rh_status check_gguf(const char *folder, const rh_pull_file *file, rh_error *error) {
  char path[4096];
  rh_gguf_summary summary;
  rh_gguf_shape shape = {0};
  (void)snprintf(path, sizeof path, "%s/%s", folder, file->path);
  if (!rh_text_ends_with(file->path, ".gguf")) return RH_OK;
  rh_status status = rh_gguf_read(path, &summary, &shape, error);
  if (status != RH_OK) return status;
  int64_t tensors = shape.layer_bytes + shape.embedding_bytes + shape.other_bytes;
  if (tensors <= file->bytes) return RH_OK;
  return rh_fail(error, RH_INVALID, "%s is cut short at its source: its tensors alone take %lld bytes, it has %lld",
                 file->path, (long long)tensors, (long long)file->bytes);
}

static rh_status check_parts(const rh_pulling *pull, const char *folder, rh_format format, rh_error *error) {
  rh_status status = RH_OK;
  for (size_t i = 0; format == RH_FORMAT_GGUF && status == RH_OK && i < pull->plan.count; i++)
    status = check_gguf(folder, &pull->plan.files[i], error);
  return status;
}

static rh_status detect(const rh_pulling *pull, const char *folder, rh_format_report *out, rh_error *error) {
  char path[4096];
  // A single file is asked by its own name; a folder may say more than its files.
  if (pull->plan.count == 1)
    (void)snprintf(path, sizeof path, "%s/%s", folder, pull->plan.files[0].path);
  else
    (void)snprintf(path, sizeof path, "%s", folder);
  rh_error reason = {0};
  rh_status status = rh_format_detect(path, out, &reason);
  if (status == RH_OK && pull->plan.count == 1)
    (void)rh_text_copy(out->entry, sizeof out->entry, pull->plan.files[0].path);
  if (status == RH_OK) status = check_parts(pull, folder, out->format, &reason);
  if (status == RH_OK) return RH_OK;
  char shown[300];
  rh_source_public(&pull->source, shown, sizeof shown);
  return rh_fail(error, status, "what came from %s is no model that can be served: %s", shown, reason.message);
}

static const char *guess_task(const rh_gguf_summary *summary) {
  if (strstr(summary->architecture, "bert") != NULL) return "embeddings";
  return summary->has_chat_template ? "chat" : "completion";
}

static void take(char *out, size_t size, const char *text) {
  if (text != NULL && text[0] != '\0') (void)rh_text_copy(out, size, text);
}

static void describe_gguf(rh_stored *stored, const char *folder) {
  char path[4096];
  rh_gguf_summary summary;
  (void)snprintf(path, sizeof path, "%s/%s", folder, stored->entry);
  if (rh_gguf_read_summary(path, &summary, NULL) != RH_OK) return;
  take(stored->quantization, sizeof stored->quantization, summary.quantization);
  take(stored->architecture, sizeof stored->architecture, summary.architecture);
  stored->parameters = summary.parameters;
  stored->context = summary.context_trained;
  take(stored->task, sizeof stored->task, guess_task(&summary));
}

// First what the source says, then what the file says, then what the catalogue says: each knows better than the last.
static void describe(rh_pulling *pull, const char *folder, rh_format format, char *entry, rh_stored *out) {
  const rh_plan *plan = &pull->plan;
  const rh_known *known = pull->known;
  out->ref = pull->ref;
  out->entry = entry;
  out->format = format;
  take(out->quantization, sizeof out->quantization, plan->quantization);
  take(out->licence, sizeof out->licence, plan->licence);
  take(out->revision, sizeof out->revision, plan->revision);
  rh_source_public(&pull->source, out->source, sizeof out->source);
  out->created_s = rh_clock_wall_s();
  if (format == RH_FORMAT_GGUF) describe_gguf(out, folder);
  if (known == NULL) return;
  take(out->task, sizeof out->task, known->task);
  take(out->licence, sizeof out->licence, known->licence);
  if (out->quantization[0] == '\0') take(out->quantization, sizeof out->quantization, known->quantization);
  if (known->parameters > 0) out->parameters = known->parameters;
  if (known->context > 0 && out->context == 0) out->context = known->context;
  out->memory_min_bytes = known->memory_min_bytes;
  out->gpu_required = known->gpu_required;
}

static rh_status list_files(const rh_pulling *pull, const char *folder, char *converted, rh_stored *out,
                            rh_error *error) {
  const rh_plan *plan = &pull->plan;
  bool original = converted == NULL || pull->options->keep_original;
  out->files = calloc(plan->count + 1, sizeof *out->files);
  if (out->files == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a manifest");
  for (size_t i = 0; original && i < plan->count; i++) {
    rh_stored_file *file = &out->files[out->file_count++];
    *file = (rh_stored_file){.path = plan->files[i].path, .bytes = plan->files[i].bytes};
    (void)rh_text_copy(file->sha256, sizeof file->sha256, plan->files[i].sha256);
  }
  if (converted != NULL) {
    char path[4096];
    struct stat info;
    rh_stored_file *file = &out->files[out->file_count++];
    (void)snprintf(path, sizeof path, "%s/%s", folder, converted);
    if (stat(path, &info) != 0) return rh_fail(error, RH_IO, "roundhouse-convert said it was done, but made no file");
    *file = (rh_stored_file){.path = converted, .bytes = (int64_t)info.st_size};
    rh_status status = rh_sha256_file(path, file->sha256, NULL, NULL, error);
    if (status != RH_OK) return status;
  }
  for (size_t i = 0; i < out->file_count; i++) out->bytes += out->files[i].bytes;
  return RH_OK;
}

// Could another try do better with what has come?
static bool worth_keeping(rh_status status) { return status != RH_UNSUPPORTED && status != RH_INVALID; }

rh_status rh_pull_install(rh_pulling *pull, rh_draft *draft, rh_error *error) {
  const char *folder = rh_draft_folder(draft);
  rh_format_report report = {0};
  char converted[160] = "";
  rh_status status = detect(pull, folder, &report, error);
  if (status != RH_OK) {
    rh_draft_end(draft, worth_keeping(status));
    return status;
  }
  bool convert = report.format == RH_FORMAT_SAFETENSORS && pull->options->convert;
  if (convert) {
    const char *base = strrchr(pull->ref.name, '/');
    (void)snprintf(converted, sizeof converted, "%s.gguf", base == NULL ? pull->ref.name : base + 1);
    status = rh_pull_convert(pull, folder, converted, error);
  }
  rh_stored stored = {.format = RH_FORMAT_UNKNOWN};
  if (status == RH_OK)
    describe(pull, folder, convert ? RH_FORMAT_GGUF : report.format, convert ? converted : report.entry, &stored);
  if (status == RH_OK) status = list_files(pull, folder, convert ? converted : NULL, &stored, error);
  if (status == RH_OK)
    status = rh_draft_commit(draft, &stored, error);
  else
    rh_draft_end(draft, true);
  free(stored.files);
  return status;
}
