// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: what the endpoints of tasks that do not generate share, on the way in and on the way out.
#ifndef RH_API_INFER_H
#define RH_API_INFER_H

#include "api/encoder.h"

#define RH_API_DIMENSIONS_MAX 65536
#define RH_API_PROMPT_BYTES_MAX 4096  // a prompt before each text, a hypothesis, a label

// --- bodies (inputs.c, tensors.c) ----------------------------------------------------------------------------------

// After rh_api_decode_begin: the request is for this task and has an rh_infer of its own.
rh_status rh_infer_begin(rh_decoding *decoding, rh_task task) RH_MUST_CHECK;

// A text, an array of texts, a row of token ids, or an array of those. `pairs`: also {"text","text_pair"} and
// ["text","text_pair"]. `path` names the value in errors.
rh_status rh_infer_read_inputs(rh_decoding *decoding, const json_t *value, const char *path, bool pairs) RH_MUST_CHECK;
// One pair for each document: texts, or objects with "text".
rh_status rh_infer_read_documents(rh_decoding *decoding, const char *query, const json_t *documents,
                                  const char *path) RH_MUST_CHECK;
// {"name": {"dtype","shape","data"}, ...}
rh_status rh_infer_read_tensors(rh_decoding *decoding, const json_t *value, const char *path) RH_MUST_CHECK;
bool rh_infer_looks_like_tensors(const json_t *value);

// Readers of one row.
rh_status rh_field_choice(rh_decoding *decoding, const rh_field *field);    // true or false, into an rh_choice
rh_status rh_field_truncate(rh_decoding *decoding, const rh_field *field);  // "truncate": false refuses long texts
rh_status rh_field_encoding(rh_decoding *decoding, const rh_field *field);  // "float" or "base64", into the notes
rh_status rh_field_strings(rh_decoding *decoding, const char *name, size_t most, const char *const **out,
                           size_t *count) RH_MUST_CHECK;

// --- answers (results.c, tensors_out.c, numbers.c, base64.c) --------------------------------------------------------

void rh_put_float(rh_dynbuf *out, float value);  // reads back as the same; not finite: "NaN", "Infinity", "-Infinity"
void rh_put_floats(rh_dynbuf *out, const float *values, size_t count);
void rh_put_vector(rh_dynbuf *out, const rh_result *result, bool base64);
void rh_put_tensor_map(rh_dynbuf *out, const rh_result *result, bool base64);  // {"name":{"dtype","shape","data"},...}
void rh_put_labels(rh_dynbuf *out, const rh_result *result);                   // [{"label","score"},...]
void rh_put_entities(rh_dynbuf *out, const rh_result *result);                 // [{"entity_group",...},...]

// "acceleration":{"engine","execution_provider","quantization","batch_size","padding","fallback"?}
void rh_api_put_acceleration(rh_dynbuf *out, const rh_encoder *encoder);

// {"prompt_tokens","total_tokens"}
void rh_infer_put_usage(rh_dynbuf *out, const rh_encoder *encoder);
// Which inputs were cut: noted as they come, written as ,"truncated":[places] when there are any.
void rh_infer_note_truncated(rh_encoder *encoder, const rh_result *result);
void rh_infer_put_truncated(rh_dynbuf *out, const rh_encoder *encoder);

// {"index","relevance_score","document"?},... of the documents that did not fail, as many as asked for (rerank.c).
rh_status rh_rerank_put_ranking(rh_dynbuf *out, const rh_encoder *encoder) RH_MUST_CHECK;

// The places of the scores, the best first; equal ones, and those that are no number at the end, in order. The caller frees
// it; NULL = no memory.
size_t *rh_api_rank(const float *scores, size_t count);

// The whole request ends because one item failed: for answers that have no place for an item's own error.
rh_status rh_encoder_fail_item(rh_encoder *encoder, const rh_result *result, const char *field);

#endif
