// SPDX-License-Identifier: Apache-2.0
//
// Bounds that hold on both sides of the wire. A request past one of them gets an error that names it.
#ifndef RH_FLOW_LIMITS_H
#define RH_FLOW_LIMITS_H

#define RH_PROMPTS_MAX 64       // prompts in one request (completions accept an array)
#define RH_CHOICES_MAX 16       // "n"
#define RH_JOBS_MAX 64          // prompts x choices of one request
#define RH_MESSAGES_MAX 4096    // chat messages in one request
#define RH_STOPS_MAX 16         // stop strings
#define RH_STOP_BYTES_MAX 256   // bytes of one stop string
#define RH_LOGIT_BIAS_MAX 1024  // entries of logit_bias
#define RH_TOP_LOGPROBS_MAX 20
#define RH_TOOLS_MAX 512       // tools in one request
#define RH_TOOL_CALLS_MAX 128  // calls of tools in one answer
#define RH_MODEL_NAME_MAX 128
#define RH_PREFIX_BYTES_MAX (8u * 1024u * 1024u)  // of an answer's beginning that a model goes on from
#define RH_CREDIT_WINDOW 64  // delta events a worker may send on a stream before it is given more credit
#define RH_FRAME_BYTES_MAX (64u * 1024u * 1024u)

#endif
