// SPDX-License-Identifier: Apache-2.0
//
// POST /api/inference/cancel/{request_id}: a request of any kind that is not answered yet ends with an error, and its work
// stops. The id is the answer's x-request-id, the request_id of an event, or the X-Request-Id that the client itself sent.
// Loop thread only; owns nothing.
#include <string.h>

#include "base/log.h"
#include "daemon/operation.h"

// A key ends its own requests, an administrator's any. One that came without a key is whoever's knows its id, which is all there
// is to go by where no key is needed.
static bool may_cancel(const rh_operation *operation, const rh_call *call) {
  const rh_key *owner = call->caller.key, *key = operation->key;
  if (owner == NULL) return true;
  return key != NULL && ((key->scopes & RH_KEY_ADMIN) != 0 || strcmp(key->id, owner->id) == 0);
}

static void begin_cancel(rh_operation *operation) {
  static const char *const fields[] = {NULL};
  rh_error error = {0};
  if (rh_operation_check_fields(operation, fields, &error) != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  rh_call *call = rh_call_find(operation->daemon, operation->rest);
  // Another's is answered as if it were not there: an id that runs is nobody else's to find out.
  if (call == NULL || !may_cancel(operation, call)) {
    (void)rh_fail_param(&error, RH_NOT_FOUND, "request_id",
                        "no request \"%.47s\" is running: it has ended, or there never was one", operation->rest);
    rh_operation_fail(operation, &error);
    return;
  }
  RH_LOG(RH_LOG_INFO, "request cancelled", rh_log_str("request_id", call->id), rh_log_str("by", operation->id));
  json_t *answer = json_pack("{s:s,s:b}", "request_id", call->id, "cancelled", 1);
  (void)rh_fail(&error, RH_CANCELLED, "the request was cancelled with /api/inference/cancel");
  rh_call_fail(call, &error);
  rh_operation_answer(operation, 200, answer);
}

const rh_operation_route rh_routes_cancel[] = {
    {"POST", "/api/inference/cancel/", "inference.cancel", RH_SCOPE_INFERENCE, begin_cancel},
    {NULL, NULL, NULL, RH_SCOPE_READ, NULL},
};
