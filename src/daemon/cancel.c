// SPDX-License-Identifier: Apache-2.0
//
// POST /api/inference/cancel/{request_id}: a request of any kind that is not answered yet ends with an error, and its work
// stops. The id is the answer's x-request-id, the request_id of an event, or the X-Request-Id that the client itself sent.
// Loop thread only; owns nothing.
#include "base/log.h"
#include "daemon/operation.h"

static void begin_cancel(rh_operation *operation) {
  static const char *const fields[] = {NULL};
  rh_error error = {0};
  if (rh_operation_check_fields(operation, fields, &error) != RH_OK) {
    rh_operation_fail(operation, &error);
    return;
  }
  rh_call *call = rh_call_find(operation->daemon, operation->rest);
  if (call == NULL) {
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
