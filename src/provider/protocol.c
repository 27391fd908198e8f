// SPDX-License-Identifier: Apache-2.0
//
// The table of protocols. Constant; any thread.
#include "provider/protocol.h"

#include "provider/body.h"

const rh_protocol_ops *rh_protocol_find(rh_protocol protocol) {
  switch (protocol) {
    case RH_PROTOCOL_CHAT: return &rh_protocol_chat;
    case RH_PROTOCOL_RESPONSES: return &rh_protocol_responses;
    case RH_PROTOCOL_ANTHROPIC: return &rh_protocol_anthropic;
    case RH_PROTOCOL_COUNT: break;
  }
  return NULL;
}
