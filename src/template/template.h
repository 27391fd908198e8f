// SPDX-License-Identifier: Apache-2.0
//
// Chat templates: the part of the Jinja language that models' templates use, rendered as transformers renders them
// (trim_blocks, lstrip_blocks, the sandbox's loop controls, tojson without HTML escapes, raise_exception, strftime_now).
//
// A template is read-only once it is made: any number of threads may render it at once.
// Templates come with models, which come from strangers: their steps, time, output, memory and nesting have limits.
// Source of the behaviour: the Jinja documentation and the `jinja2` package, compared output by output in the tests.
#ifndef RH_TEMPLATE_TEMPLATE_H
#define RH_TEMPLATE_TEMPLATE_H

#include <jansson.h>

#include "base/dynbuf.h"
#include "base/status.h"
#include "flow/request.h"

#define RH_TEMPLATE_SOURCE_MAX ((size_t)1 << 20)
#define RH_TEMPLATE_SECONDS_MAX 5  // one render, by the clock

typedef struct rh_template rh_template;

// RH_INVALID: not a template; RH_UNSUPPORTED: a part of the language that is not known here. Both say the line and what.
rh_status rh_template_new(const char *source, size_t length, rh_template **out, rh_error *error) RH_MUST_CHECK;
void rh_template_free(rh_template *tmpl);  // NULL is allowed

// Append the text. `variables` is an object: the names that the template sees; it is not changed. `now_s` is what
// strftime_now tells (seconds since 1970, shown in local time). RH_INVALID: the template refused (raise_exception), with its own words,
// or met what it cannot work on, with the line. RH_TOO_LARGE: a limit was met: steps, RH_TEMPLATE_SECONDS_MAX, memory, text or
// nesting. `out` may hold part of the text after a failure.
rh_status rh_template_render(const rh_template *tmpl, const json_t *variables, int64_t now_s, rh_dynbuf *out,
                             rh_error *error) RH_MUST_CHECK;

// --- chats ---------------------------------------------------------------------------------------------------------

// The model's words for its special tokens; NULL = the template sees an undefined name.
typedef struct rh_chat_tokens {
  const char *bos, *eos, *pad, *unk;
} rh_chat_tokens;

// The messages as the model was trained to read them, with the beginning of its answer (add_generation_prompt).
rh_status rh_chat_render(const rh_template *tmpl, const rh_message *messages, size_t count,
                         const rh_chat_tokens *tokens, rh_dynbuf *out, rh_error *error) RH_MUST_CHECK;

// The chat template in a model's folder: chat_template.jinja, else "chat_template" of tokenizer_config.json or
// chat_template.json (a text, or a list of named ones, of which "default" is taken). RH_NOT_FOUND: there is none.
rh_status rh_chat_template_open(const char *folder, rh_template **out, rh_error *error) RH_MUST_CHECK;

#endif
