// SPDX-License-Identifier: Apache-2.0
//
// Which failures may pass, and how long to wait for that. Pure; any thread. Waits for nothing itself.
#include "pull/retry.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

#include "base/clock.h"

bool rh_retry_transport(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM: return true;
    default: return false;
  }
}

bool rh_retry_answer(long http_status) {
  if (http_status == 408 || http_status == 425 || http_status == 429) return true;
  // "Not implemented" and "version not supported" do not pass.
  return http_status >= 500 && http_status <= 599 && http_status != 501 && http_status != 505;
}

int64_t rh_retry_after_s(const char *header, int64_t now_s) {
  if (header == NULL || header[0] == '\0') return -1;
  int64_t seconds = 0;
  if (isdigit((unsigned char)header[0])) {
    char *end = NULL;
    seconds = strtoll(header, &end, 10);
    if (*end != '\0') return -1;
  } else {
    time_t when = curl_getdate(header, NULL);
    if (when < 0) return -1;
    seconds = (int64_t)when - now_s;
  }
  if (seconds < 0) seconds = 0;
  return seconds > RH_RETRY_AFTER_MAX_S ? RH_RETRY_AFTER_MAX_S : seconds;
}

uint64_t rh_retry_delay_ns(int attempt, double chance, int64_t asked_s) {
  assert(attempt >= 1 && chance >= 0 && chance <= 1);
  uint64_t most = RH_RETRY_FIRST_NS;
  for (int i = 1; i < attempt && most < RH_RETRY_MAX_NS; i++) most *= 2;
  if (most > RH_RETRY_MAX_NS) most = RH_RETRY_MAX_NS;
  uint64_t delay = most / 2 + (uint64_t)((double)(most / 2) * chance);
  if (asked_s > RH_RETRY_AFTER_MAX_S) asked_s = RH_RETRY_AFTER_MAX_S;
  uint64_t asked = asked_s > 0 ? (uint64_t)asked_s * RH_NS_PER_S : 0;
  return asked > delay ? asked : delay;
}
