// SPDX-License-Identifier: Apache-2.0
//
// Private to src/provider: what a provider says went wrong, as our errors. All protocols share it, because servers mix their forms.
#ifndef RH_PROVIDER_EXPLAIN_H
#define RH_PROVIDER_EXPLAIN_H

#include "provider/provider.h"

// `explain` of rh_protocol_ops.
void rh_provider_explain(const rh_provider_spec *spec, unsigned http_status, const char *body, size_t length,
                         rh_error *error);
// An error inside an answer with the status 200. `root`: the event, or the whole body.
void rh_provider_explain_json(const rh_provider_spec *spec, unsigned http_status, const json_t *root, rh_error *error);

// The provider's words fit for a message: one line, UTF-8, cut to `size`, without our key, our headers' values and what looks
// like any key.
void rh_provider_clean_text(const rh_provider_spec *spec, const char *text, size_t length, char *out, size_t size);
// The same for an error that leaves, whoever wrote it, and of our own secrets alone: its other words are ours.
void rh_provider_hide_secrets(const rh_provider_spec *spec, rh_error *error);

#endif
