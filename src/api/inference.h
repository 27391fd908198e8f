// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: the two halves of POST /api/inference.
#ifndef RH_API_INFERENCE_H
#define RH_API_INFERENCE_H

#include "api/infer.h"

rh_status rh_inference_encode(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished);
rh_status rh_inference_encode_error(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out);

#endif
