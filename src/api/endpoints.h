// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: the endpoints, one per file.
#ifndef RH_API_ENDPOINTS_H
#define RH_API_ENDPOINTS_H

#include "api/api.h"

extern const rh_api_endpoint rh_endpoint_openai_chat;
extern const rh_api_endpoint rh_endpoint_openai_completions;
extern const rh_api_endpoint rh_endpoint_generate;
extern const rh_api_endpoint rh_endpoint_openai_embeddings;
extern const rh_api_endpoint rh_endpoint_rerank;
extern const rh_api_endpoint rh_endpoint_ollama_embed;
extern const rh_api_endpoint rh_endpoint_ollama_embeddings;
extern const rh_api_endpoint rh_endpoint_inference;
extern const rh_api_endpoint rh_endpoint_inference_stream;
extern const rh_api_endpoint rh_endpoint_anthropic_messages;

#endif
