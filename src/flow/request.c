// SPDX-License-Identifier: Apache-2.0
//
// The neutral starting point of every request. It knows no dialect: what OpenAI or another API promises as its own
// default is set by that API's codec on top of this. Pure, any thread.
#include "flow/request.h"

#include <assert.h>

void rh_generate_defaults(rh_generate *generate) {
  assert(generate != NULL);
  *generate = (rh_generate){
      .temperature = 1.0f,
      .top_p = 1.0f,
      .repeat_penalty = 1.0f,
      .penalty_last_n = 64,
      .top_logprobs = -1,
  };
}
