// SPDX-License-Identifier: Apache-2.0
//
// The words that steer the fake engine: "fake:slots=2,context=64" as a model path, "[[tokens=20 delay_ms=5]]" in a
// prompt or an input; and what the files of this folder share. Private to engine/fake.
#ifndef RH_ENGINE_FAKE_SCRIPT_H
#define RH_ENGINE_FAKE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/engine.h"
#include "flow/model_info.h"

#define RH_FAKE_FILE_MAX 512
#define RH_FAKE_TOKENS_DEFAULT 8
#define RH_FAKE_LABELS_MAX 32
#define RH_FAKE_TEXT_DEFAULT "This is the fake engine speaking; it repeats itself."

typedef struct rh_fake_script {
  int64_t tokens;  // -1 = the text once
  int64_t delay_ms;
  int64_t first_delay_ms;  // -1 = as delay_ms
  int64_t fail_at;         // -1 = never, also below
  int64_t crash_at;
  int64_t hang_at;
  double confidence;  // each token's probability; 0 = not said
  bool end;
  bool bytewise;
  char crash_once[RH_FAKE_FILE_MAX];
  const char *text;  // points into the prompt or at the default text; not NUL-terminated
  size_t text_length;
} rh_fake_script;

typedef struct rh_fake_model {
  int64_t slots;
  int64_t context;
  int64_t vocabulary;
  int64_t memory_bytes;  // taken and made present while the model is loaded
  int64_t load_delay_ms;
  bool load_fail;
  bool load_crash;
  bool load_hang;
  bool has_template;
  rh_task task;      // RH_TASK_COMPLETE = it generates
  int64_t dims;      // of its vectors
  int64_t step_ms;   // each computation of a model that does not generate takes so long
  bool normalize;    // vectors
  bool multi_label;  // classify
  char labels[256];  // "cat/dog"; empty = the task's own
  char load_crash_once[RH_FAKE_FILE_MAX];
  char load_fail_once[RH_FAKE_FILE_MAX];
  rh_fake_script usual;  // how a run goes where its prompt does not say it
} rh_fake_model;

// `options` gives what the path leaves open. RH_LOAD_FAILED names the wrong key.
rh_status rh_fake_model_parse(const char *path, const rh_load_options *options, rh_fake_model *out,
                              rh_error *error) RH_MUST_CHECK;

// All directives of `prompt` (may be NULL), the later winning, over those of `usual` (NULL = none). Brackets that are
// never closed are plain text. RH_INVALID names the wrong key. `out->text` lives as long as `prompt`.
rh_status rh_fake_script_parse(const char *prompt, const rh_fake_script *usual, rh_fake_script *out,
                               rh_error *error) RH_MUST_CHECK;

// --- what a model that generates says (speech.c) -------------------------------------------------------------------

// The script's text, read in a circle.
typedef struct rh_fake_speech {
  char *stream;  // a space and the text; reading begins after the space
  size_t length;
  size_t position;
  int64_t said;    // pieces, those before the run's first token included
  int64_t tokens;  // of the script
  bool end, bytewise;
} rh_fake_speech;

// Goes on after `prefix` (may be NULL) when the speech begins so, else at its beginning. False = no memory.
bool rh_fake_speech_open(rh_fake_speech *speech, const rh_fake_script *script, const char *prefix);
void rh_fake_speech_close(rh_fake_speech *speech);
bool rh_fake_speech_over(const rh_fake_speech *speech);
void rh_fake_speech_next(rh_fake_speech *speech, const char **bytes, size_t *length);

// --- models that do not generate (infer.c) -------------------------------------------------------------------------

typedef struct rh_fake_infer rh_fake_infer;
// *out is NULL for a model that generates. RH_LOAD_FAILED names what does not fit together.
rh_status rh_fake_infer_new(const rh_fake_model *model, rh_fake_infer **out, rh_error *error) RH_MUST_CHECK;
void rh_fake_infer_free(rh_fake_infer *infer);             // NULL is allowed
rh_fake_infer *rh_fake_infer_of(const rh_engine *engine);  // fake.c
const rh_engine_infer_ops *rh_fake_infer_ops_for(rh_task task);

// fake.c: what a directive asks for besides an answer.
void rh_fake_sleep_ms(int64_t ms);
void rh_fake_hang(void);
void rh_fake_crash_unless_exists(const char *file);

// memory.c: *out is NULL for 0 bytes. RH_NO_MEMORY, RH_CANCELLED. `progress` may be NULL.
rh_status rh_fake_memory_take(size_t bytes, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                              void **out, rh_error *error) RH_MUST_CHECK;
void rh_fake_memory_give(void *memory, size_t bytes);

#endif
