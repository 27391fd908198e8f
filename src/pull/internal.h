// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: one pull under way, what a source promises (the plan), and the seam between the two.
//
// One kind of source is one file with one table row (rh_pull_backend): `resolve` looks and fills the plan. Files with a
// URL or a local path are then brought by the shared engine (transfer.c), which owns retries, ranges, resumption and
// digests. A source that a program of its own brings (pip, npm) has `fetch` instead.
#ifndef RH_PULL_INTERNAL_H
#define RH_PULL_INTERNAL_H

#include "base/dynbuf.h"
#include "model/known.h"
#include "pull/pull.h"

#define RH_PULL_FILES_MAX 1024                               // of one model
#define RH_PULL_ANSWER_BYTES_MAX ((size_t)32 * 1024 * 1024)  // of a listing
#define RH_PULL_PATH_MAX 512
#define RH_PULL_URL_MAX 4096
#define RH_PULL_WORK ".pull"  // in a draft's folder: partial files and their states

// Who we say we are, to one origin (scheme, host and port) and to no other: redirects elsewhere go without.
typedef struct rh_pull_auth {
  char origin[320];  // "https://host:port", as rh_url_origin makes it; "" = nobody is told anything
  char *bearer;      // a token, or NULL
  char *aws_key;     // "ACCESS:SECRET" for SigV4, or NULL
  char *aws_token;   // session token, or NULL
  char aws_region[64];
} rh_pull_auth;

// One file that belongs to the model. Owns its strings.
typedef struct rh_pull_file {
  char *path;                  // in the model's folder; rh_plan_add_file has checked it
  char *url;                   // where it lies, or NULL
  char *local;                 // absolute path on this machine, or NULL. Neither: `fetch` of the backend brings it
  int64_t bytes;               // -1 = not known yet
  char sha256[RH_SHA256_HEX];  // promised; "" = nothing was promised. Full of the real one after the transfer
  char git_sha1[41];           // of the git blob, for small files of a hub; "" = none
  char validator[160];         // ETag or Last-Modified when it was resolved; "" = none
} rh_pull_file;

// What a source promises.
typedef struct rh_plan {
  rh_pull_file *files;
  size_t count;
  rh_pull_auth auth;
  rh_format format;  // as far as names tell; RH_FORMAT_UNKNOWN = seen when it is here
  bool gated;
  char quantization[32];  // "Q4_K_M"; "" = unknown
  char licence[64];       // "" = not said
  char licence_note[256];
  char revision[128];  // a commit, a package's version
  char task[32];
  char choice[256];  // what was chosen and what else there was; "" = there was no choice
} rh_plan;

typedef struct rh_pulling {
  const rh_pull_options *options;
  const rh_pull_listener *listener;
  rh_store *store;
  const rh_known *known;  // the catalogue entry, or NULL
  rh_source source;       // of the real source, never RH_SOURCE_CATALOGUE
  rh_model_ref ref;       // the name it gets
  rh_plan plan;
  bool cancelled;  // the listener said so
  uint64_t began_ns;
} rh_pulling;

// Tell the listener; takes `event` (NULL = out of memory, RH_NO_MEMORY). RH_CANCELLED when it gives up.
rh_status rh_pull_tell(rh_pulling *pull, json_t *event, rh_error *error) RH_MUST_CHECK;

struct rh_fetch;

typedef struct rh_pull_backend {
  rh_source_kind kind;
  bool network;  // needs it: never called when options->offline
  // Look what there is and fill pull->plan: every file with its size where the source tells, licence, revision.
  // Blocking, bounded in time. Nothing is written below the store.
  rh_status (*resolve)(rh_pulling *pull, rh_error *error);
  // NULL: the transfer engine does it. Otherwise bring all files into `folder` (the draft's; scratch files go below
  // folder/RH_PULL_WORK, which is removed afterwards). It may replace pull->plan's files: afterwards each must lie at
  // folder/path. Sizes and digests promised by the plan are checked by the caller, those not promised are filled in.
  rh_status (*fetch)(rh_pulling *pull, const char *folder, rh_error *error);
  // May be NULL: say what an answer that is neither good nor worth another try (401, 403, 404, ...) means here.
  rh_status (*explain)(rh_pulling *pull, const struct rh_fetch *answer, rh_error *error);
} rh_pull_backend;

extern const rh_pull_backend rh_pull_hub, rh_pull_http, rh_pull_s3, rh_pull_local;
extern const rh_pull_backend rh_pull_pypi, rh_pull_npm;  // source_packages.c

// --- plans ---------------------------------------------------------------------------------------------------------

// Adds a file; url and local may be NULL, bytes -1, sha256 NULL or "". A path that is absolute, leaves the folder, is
// hidden in RH_PULL_WORK, has a byte that is not printable or is there twice: RH_INVALID.
rh_status rh_plan_add_file(rh_plan *plan, const char *path, const char *url, const char *local, int64_t bytes,
                           const char *sha256, rh_error *error) RH_MUST_CHECK;
void rh_plan_clear_files(rh_plan *plan);
void rh_plan_release(rh_plan *plan);  // wipes secrets
// Is it fit to become a path below a model's folder?
bool rh_pull_path_is_safe(const char *path);
// Sum of the known sizes; *unknown (may be NULL) says whether there are others.
int64_t rh_plan_bytes(const rh_plan *plan, bool *unknown);

#endif
