// SPDX-License-Identifier: Apache-2.0
//
// The built-in catalogue: well-known models that can be pulled by name, and those that the configuration adds. One data
// file, src/model/known.json, compiled in; read when it is first asked for. Read-only afterwards; any thread after that.
#ifndef RH_MODEL_KNOWN_H
#define RH_MODEL_KNOWN_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "model/format.h"
#include "model/hardware.h"
#include "model/ref.h"

typedef struct rh_known_file {
  const char
      *source;       // where this file is, when not in the entry's own source (a model in several packages); else NULL
  const char *path;  // inside the source
  const char *sha256;  // NULL = the source's own metadata is trusted
  int64_t bytes;       // 0 = unknown
} rh_known_file;

typedef struct rh_known {
  const char *name, *version;  // "smollm2", "135m-instruct-q4_1"
  const char *const *aliases;  // NULL-terminated: other names people type ("llama3.2:1b"); may be NULL
  const char *title;           // for people
  const char *source;          // as `roundhouse pull` takes it: "hf:org/repo:Q4_K_M", "pypi:name==1.0#path/in/wheel"
  const rh_known_file *files;
  size_t file_count;
  // When path is not NULL: the files, put together in their order, make this one file, and are not kept themselves.
  rh_known_file joined;
  rh_format format;          // RH_FORMAT_UNKNOWN for those that this version does not read at all
  const char *format_name;   // "gguf", ...; also "pytorch", "ctranslate2", "fasttext"
  const char *quantization;  // "Q4_1", "int4", "f32"
  const char *task;          // "chat", "completion", "embeddings", "classification", ... as GET /api/models shows it
  const char *licence;       // SPDX where there is one
  const char *licence_note;  // for terms a person must accept; may be NULL
  int64_t parameters;        // 0 = unknown
  int64_t context;           // tokens; 0 = does not apply
  int64_t bytes;             // of what is fetched; from the catalogue, or approximate
  bool bytes_approximate;
  int64_t memory_bytes;      // to serve it with the default context and slots
  int64_t memory_min_bytes;  // a machine with less RAM is refused
  bool gpu_required, gated, base_model;
  int32_t rank;      // for `recommend`: higher answers better; 0 = never recommended
  bool recommended;  // what the name alone means
  bool built_in;     // false: from the configuration
} rh_known;

// Entries from the configuration's "catalogue" object ({"name:version": {"source": ..., ...}}), checked like the built-in
// ones; an entry of the same name replaces the built-in one. Call before anything else here, on the only thread: it
// reads everything anew, and what was handed out before is gone. After an error the built-in ones are there.
// `entries` may be NULL.
rh_status rh_known_add(const json_t *entries, rh_error *error) RH_MUST_CHECK;
json_t *rh_known_schema(void);  // JSON Schema of one entry. New reference

size_t rh_known_count(void);
const rh_known *rh_known_at(size_t index);  // sorted by name, then version
// By "name:version", by alias, or by name alone (its recommended version). NULL when unknown.
const rh_known *rh_known_find(const char *text);
const char *rh_known_nearest(const char *text);   // for "did you mean"; NULL when none is near
json_t *rh_known_to_json(const rh_known *known);  // new reference

// Does it fit this machine, with room for its KV cache? RH_OK, or RH_HARDWARE with the numbers and an advice.
rh_status rh_known_fits(const rh_known *known, const rh_hardware *hardware, rh_error *error) RH_MUST_CHECK;

typedef struct rh_recommendation {
  const rh_known *best;    // NULL when nothing fits
  const rh_known *bigger;  // the next better one that was passed over; NULL when there is none
  char why[512];           // "12.3 GiB of RAM are free, ... needs 9.1 GiB with its KV cache"
  char why_not_bigger[512];
} rh_recommendation;

// The best catalogue model of `task` ("chat" when NULL) that an engine of this build serves, that fits, and that the
// processor reads a page of text with in half a minute where no GPU does.
void rh_known_recommend(const rh_hardware *hardware, const char *task, rh_recommendation *out);
// A smaller version or quantization of the same name that fits, or NULL: the advice of a refusal.
const rh_known *rh_known_smaller(const rh_known *known, const rh_hardware *hardware);

#endif
