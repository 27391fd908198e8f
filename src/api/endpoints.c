// SPDX-License-Identifier: Apache-2.0
//
// The table of endpoints: which path belongs to which dialect. Constant data, any thread.
#include "api/endpoints.h"

#include <string.h>

static const rh_api_endpoint *const ENDPOINTS[] = {
    &rh_endpoint_openai_chat,
    &rh_endpoint_openai_completions,
    &rh_endpoint_generate,
    &rh_endpoint_openai_embeddings,
    &rh_endpoint_rerank,
    &rh_endpoint_ollama_embed,
    &rh_endpoint_ollama_embeddings,
    &rh_endpoint_inference,
    &rh_endpoint_inference_stream,
    &rh_endpoint_anthropic_messages,
    NULL,
};

const rh_api_endpoint *const *rh_api_all(void) { return ENDPOINTS; }

const rh_api_endpoint *rh_api_find(const char *path) {
  for (const rh_api_endpoint *const *at = ENDPOINTS; *at != NULL; at++) {
    if (strcmp((*at)->path, path) == 0) return *at;
    for (const char *const *other = (*at)->other_paths; other != NULL && *other != NULL; other++) {
      if (strcmp(*other, path) == 0) return *at;
    }
  }
  return NULL;
}
