// SPDX-License-Identifier: Apache-2.0
//
// Purpose: ONNX Runtime's log goes to ours.
// Data owned: none. Threads: any of ONNX Runtime's.
// Not here: errors of calls; those come back as statuses and are reported where the call was made.
#include "base/log.h"
#include "engine/onnx/internal.h"

void rh_ort_log(void *ctx, OrtLoggingLevel severity, const char *category, const char *logid, const char *location,
                const char *message) {
  (void)ctx;
  (void)logid;
  // Its errors come back as a status too, and clients can cause them with every wrong tensor: no errors of ours. Its
  // warnings tell developers about their exporters.
  rh_log_level level = severity >= ORT_LOGGING_LEVEL_ERROR ? RH_LOG_WARN : RH_LOG_DEBUG;
  RH_LOG(level, "onnxruntime", rh_log_str("text", message), rh_log_str("category", category),
         rh_log_str("at", location));
}
