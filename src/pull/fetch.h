// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: one HTTP request with libcurl. Redirects are followed here and not by libcurl, because each hop
// decides anew whom we tell who we are. One owner thread.
#ifndef RH_PULL_FETCH_H
#define RH_PULL_FETCH_H

#include <curl/curl.h>

#include "pull/internal.h"

#define RH_FETCH_HOPS_MAX 8
#define RH_FETCH_COMPLAINT_MAX 2048

// What the headers of the last answer said.
typedef struct rh_fetch_head {
  long status;
  int64_t length;              // Content-Length; -1 = not said
  int64_t first, last, total;  // Content-Range; -1 = not said
  char etag[128];              // with its quotes
  char modified[64];
  char retry_after[64];
  char error_code[64], error_message[256];  // X-Error-Code, X-Error-Message of a hub
  char region[64];                          // x-amz-bucket-region
} rh_fetch_head;

typedef struct rh_fetch {
  CURL *easy;
  struct curl_slist *headers;
  const rh_pull_auth *auth;   // borrowed; may be NULL
  char url[RH_PULL_URL_MAX];  // of the present hop
  char message[CURL_ERROR_SIZE];
  rh_fetch_head head;
  int hops;
  int64_t range_first, range_end;  // what was asked for; end -1 = all
  char if_range[160];
  uint64_t connect_timeout_ns;
  char complaint[RH_FETCH_COMPLAINT_MAX];  // the beginning of an error answer's body
  size_t complaint_length;
  // Gets the body of a 2xx answer; less than `length` gives the request up. Not called for other answers.
  size_t (*body)(void *ctx, const char *bytes, size_t length);
  void *ctx;
} rh_fetch;

rh_status rh_fetch_init(rh_fetch *fetch, rh_error *error) RH_MUST_CHECK;  // no request yet
void rh_fetch_release(rh_fetch *fetch);
// Set the handle up for bytes [first, end) of `url`; first 0 and end -1 = all of it, without a Range header. `if_range`
// ("" or NULL = none) is an ETag or a date. Then perform it, or give it to a multi handle.
rh_status rh_fetch_begin(rh_fetch *fetch, const char *url, const rh_pull_auth *auth, int64_t first, int64_t end,
                         const char *if_range, rh_error *error) RH_MUST_CHECK;
// After the handle has ended without a transport error: when the answer is a redirect that may be followed, set the
// handle up for the next hop and say *again.
rh_status rh_fetch_follow(rh_fetch *fetch, bool *again, rh_error *error) RH_MUST_CHECK;
// What identifies the version of the file: a strong ETag, else Last-Modified, else "".
const char *rh_fetch_validator(const rh_fetch_head *head);
// One phrase for people: "HTTP 503", "connection reset by peer"; without URLs.
void rh_fetch_describe(const rh_fetch *fetch, CURLcode code, char *out, size_t size);

// A whole document, with redirects, tries and back-off ("retry" events name it `what`). RH_OK: there was an answer that
// another try would not change; head->status says which (fetch->complaint has an error's body). RH_UNAVAILABLE: the
// tries are used up. `out` bounds a good answer (RH_TOO_LARGE).
rh_status rh_fetch_document(rh_pulling *pull, const char *url, const char *what, rh_fetch *fetch, rh_dynbuf *out,
                            rh_error *error) RH_MUST_CHECK;
// The same, but only the head of the answer to a request for its first byte.
rh_status rh_fetch_probe(rh_pulling *pull, const char *url, const char *what, rh_fetch *fetch,
                         rh_error *error) RH_MUST_CHECK;

#endif
