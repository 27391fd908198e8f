// SPDX-License-Identifier: Apache-2.0
//
// Small documents: listings, and the head of a file. One request at a time, with tries and back-off. Blocking. Knows
// nothing of what the documents say.
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "pull/fetch.h"
#include "pull/report.h"
#include "pull/retry.h"
#include "pull/url.h"

#define DOCUMENT_TIMEOUT_S 120L

typedef struct sink {
  rh_dynbuf *out;  // NULL = a probe: one byte is enough
  bool full;
} sink;

static size_t collect(void *ctx, const char *bytes, size_t length) {
  sink *into = ctx;
  if (into->out == NULL) return 0;
  if (rh_dynbuf_append(into->out, bytes, length) == RH_OK) return length;
  into->full = true;
  return 0;
}

// Tells the wait and waits. A signal is told again, so that a listener that gives up on one is asked.
static rh_status wait_for_retry(rh_pulling *pull, const char *what, int number, uint64_t wait_ns, const char *reason,
                                rh_error *error) {
  struct timespec left = {.tv_sec = (time_t)(wait_ns / RH_NS_PER_S), .tv_nsec = (long)(wait_ns % RH_NS_PER_S)};
  for (;;) {
    uint64_t left_ns = (uint64_t)left.tv_sec * RH_NS_PER_S + (uint64_t)left.tv_nsec;
    rh_status status = rh_pull_report_retry(pull, what, number, left_ns, reason, error);
    if (status != RH_OK) return status;
    if (nanosleep(&left, &left) == 0 || errno != EINTR) return RH_OK;
  }
}

// One try with its redirects. *code is libcurl's word.
static rh_status attempt(rh_pulling *pull, const char *url, rh_fetch *fetch, bool probe, CURLcode *code,
                         rh_error *error) {
  bool again = true;
  rh_status status = rh_fetch_begin(fetch, url, &pull->plan.auth, 0, probe ? 1 : -1, NULL, error);
  while (status == RH_OK && again) {
    long stall_s = (long)(pull->options->stall_timeout_ns / RH_NS_PER_S);
    (void)curl_easy_setopt(fetch->easy, CURLOPT_TIMEOUT, DOCUMENT_TIMEOUT_S);
    (void)curl_easy_setopt(fetch->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(fetch->easy, CURLOPT_LOW_SPEED_TIME, stall_s < 1 ? 1L : stall_s);
    *code = curl_easy_perform(fetch->easy);
    again = false;
    if (*code == CURLE_OK) status = rh_fetch_follow(fetch, &again, error);
  }
  return status;
}

static rh_status get(rh_pulling *pull, const char *url, const char *what, rh_fetch *fetch, rh_dynbuf *out,
                     rh_error *error) {
  char reason[300], shown[256];
  int tries = pull->options->tries_max;
  sink into = {.out = out};
  fetch->body = collect;
  fetch->ctx = &into;
  fetch->connect_timeout_ns = pull->options->stall_timeout_ns;
  for (int number = 1;; number++) {
    CURLcode code = CURLE_OK;
    if (out != NULL) rh_dynbuf_clear(out);
    rh_status status = attempt(pull, url, fetch, out == NULL, &code, error);
    if (status != RH_OK) return status;
    if (into.full) return rh_fail(error, RH_TOO_LARGE, "%s: the answer is larger than %zu bytes", what, out->max);
    bool probed = out == NULL && code == CURLE_WRITE_ERROR && fetch->head.status / 100 == 2;
    if (probed || (code == CURLE_OK && !rh_retry_answer(fetch->head.status))) return RH_OK;
    rh_fetch_describe(fetch, code, reason, sizeof reason);
    bool hopeless = code != CURLE_OK && !rh_retry_transport(code);
    if (hopeless || number >= tries) {
      rh_url_public(url, shown, sizeof shown);
      return rh_fail(error, RH_UNAVAILABLE, "%s cannot be had from %s: %s (%d %s)%s", what, shown, reason, number,
                     number == 1 ? "try" : "tries", hopeless ? "" : ". Try again later");
    }
    uint64_t wait_ns = rh_retry_delay_ns(number, rh_pull_report_chance(),
                                         rh_retry_after_s(fetch->head.retry_after, rh_clock_wall_s()));
    status = wait_for_retry(pull, what, number, wait_ns, reason, error);
    if (status != RH_OK) return status;
  }
}

rh_status rh_fetch_document(rh_pulling *pull, const char *url, const char *what, rh_fetch *fetch, rh_dynbuf *out,
                            rh_error *error) {
  assert(out != NULL);
  return get(pull, url, what, fetch, out, error);
}

rh_status rh_fetch_probe(rh_pulling *pull, const char *url, const char *what, rh_fetch *fetch, rh_error *error) {
  return get(pull, url, what, fetch, NULL, error);
}
