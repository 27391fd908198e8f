// SPDX-License-Identifier: Apache-2.0
//
// Which of llama.cpp's pre-tokenizers cuts text as a tokenizer.json says.
#ifndef RH_CONVERT_PRETOKENIZER_H
#define RH_CONVERT_PRETOKENIZER_H

#include <jansson.h>

#include "base/dynbuf.h"
#include "base/status.h"

// The steps of "pre_tokenizer" in one line, for comparing and for messages: "digits(each) + bytes(regex)".
rh_status rh_pretokenizer_describe(const json_t *pre_tokenizer, rh_dynbuf *out);

// llama.cpp's name for the pre-tokenizer of a tokenizer.json. RH_UNSUPPORTED, with the steps, when there is none.
rh_status rh_pretokenizer_find(const json_t *tokenizer, const char **out, rh_error *error) RH_MUST_CHECK;

#endif
