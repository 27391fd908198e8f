// SPDX-License-Identifier: Apache-2.0
//
// Setting up a libcurl handle for one hop of one request, reading its headers, and taking redirects. Owns the handle and
// its header list. A secret is given to libcurl only when the hop's origin is the one it belongs to; it is never part
// of a message. Does not retry and does not wait: documents.c and transfer.c do.
#include "pull/fetch.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/version.h"
#include "pull/url.h"

// SHA-256 of nothing: the payload of every request we sign.
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void take_text(const char *value, size_t length, char *out, size_t size) {
  size_t take = length < size - 1 ? length : size - 1;
  memcpy(out, value, take);
  out[take] = '\0';
}

static void take_content_range(rh_fetch_head *head, const char *value) {
  int64_t first = -1, last = -1, total = -1;
  if (sscanf(value, "bytes %" SCNd64 "-%" SCNd64 "/%" SCNd64, &first, &last, &total) >= 2) {
    head->first = first;
    head->last = last;
    head->total = total;
  } else if (sscanf(value, "bytes */%" SCNd64, &total) == 1) {
    head->total = total;
  }
}

static void take_header(rh_fetch_head *head, const char *name, size_t name_length, const char *value, size_t length) {
  char text[256];
  take_text(value, length, text, sizeof text);
#define IS(word) (name_length == sizeof(word) - 1 && strncasecmp(name, word, name_length) == 0)
  if (IS("content-length")) head->length = strtoll(text, NULL, 10);
  if (IS("content-range")) take_content_range(head, text);
  if (IS("etag")) take_text(value, length, head->etag, sizeof head->etag);
  if (IS("last-modified")) take_text(value, length, head->modified, sizeof head->modified);
  if (IS("retry-after")) take_text(value, length, head->retry_after, sizeof head->retry_after);
  if (IS("x-error-code")) take_text(value, length, head->error_code, sizeof head->error_code);
  if (IS("x-error-message")) take_text(value, length, head->error_message, sizeof head->error_message);
  if (IS("x-amz-bucket-region")) take_text(value, length, head->region, sizeof head->region);
#undef IS
}

static void clear_head(rh_fetch_head *head) {
  *head = (rh_fetch_head){.length = -1, .first = -1, .last = -1, .total = -1};
}

static size_t on_header(char *line, size_t one, size_t length, void *ctx) {
  (void)one;
  rh_fetch *fetch = ctx;
  // Each answer (a proxy's, a 100, the real one) begins with its status line and starts afresh.
  if (length > 5 && strncmp(line, "HTTP/", 5) == 0) {
    clear_head(&fetch->head);
    const char *space = memchr(line, ' ', length);
    if (space != NULL) fetch->head.status = strtol(space + 1, NULL, 10);
    return length;
  }
  const char *colon = memchr(line, ':', length);
  if (colon == NULL) return length;
  const char *value = colon + 1, *end = line + length;
  while (value < end && (*value == ' ' || *value == '\t')) value++;
  while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ')) end--;
  take_header(&fetch->head, line, (size_t)(colon - line), value, (size_t)(end - value));
  return length;
}

static size_t on_body(char *bytes, size_t one, size_t length, void *ctx) {
  (void)one;
  rh_fetch *fetch = ctx;
  long kind = fetch->head.status / 100;
  if (kind == 2) return fetch->body == NULL ? length : fetch->body(fetch->ctx, bytes, length);
  size_t room = sizeof fetch->complaint - 1 - fetch->complaint_length;
  size_t take = length < room ? length : room;
  memcpy(fetch->complaint + fetch->complaint_length, bytes, take);
  fetch->complaint_length += take;
  fetch->complaint[fetch->complaint_length] = '\0';
  return length;
}

rh_status rh_fetch_init(rh_fetch *fetch, rh_error *error) {
  *fetch = (rh_fetch){.range_end = -1};
  clear_head(&fetch->head);
  fetch->easy = curl_easy_init();
  return fetch->easy == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory for a connection") : RH_OK;
}

void rh_fetch_release(rh_fetch *fetch) {
  if (fetch->easy != NULL) curl_easy_cleanup(fetch->easy);
  curl_slist_free_all(fetch->headers);
  *fetch = (rh_fetch){0};
}

static bool add_header(rh_fetch *fetch, const char *name, const char *value) {
  char line[8192];
  int length = snprintf(line, sizeof line, "%s: %s", name, value);
  if (length < 0 || (size_t)length >= sizeof line) return false;
  struct curl_slist *longer = curl_slist_append(fetch->headers, line);
  explicit_bzero(line, (size_t)length);
  if (longer == NULL) return false;
  fetch->headers = longer;
  return true;
}

// SigV4 by libcurl. Releases before 8.1 neither add x-amz-content-sha256 nor sort or encode what they sign, so all
// headers are given here and s3.c writes sorted, encoded URLs.
static bool sign(rh_fetch *fetch, const rh_pull_auth *auth) {
  char what[96], user[256];
  const char *colon = strchr(auth->aws_key, ':');
  assert(colon != NULL);
  take_text(auth->aws_key, (size_t)(colon - auth->aws_key), user, sizeof user);
  (void)snprintf(what, sizeof what, "aws:amz:%s:s3", auth->aws_region);
  bool fine = add_header(fetch, "x-amz-content-sha256", EMPTY_SHA256);
  if (auth->aws_token != NULL) fine = fine && add_header(fetch, "x-amz-security-token", auth->aws_token);
  // Keys may hold "..", which is a name like any other there.
  return fine && curl_easy_setopt(fetch->easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
         curl_easy_setopt(fetch->easy, CURLOPT_USERNAME, user) == CURLE_OK &&
         curl_easy_setopt(fetch->easy, CURLOPT_PASSWORD, colon + 1) == CURLE_OK &&
         curl_easy_setopt(fetch->easy, CURLOPT_AWS_SIGV4, what) == CURLE_OK;
}

static bool introduce(rh_fetch *fetch) {
  const rh_pull_auth *auth = fetch->auth;
  char origin[sizeof auth->origin];
  if (auth == NULL || auth->origin[0] == '\0') return true;
  if (!rh_url_origin(fetch->url, origin, sizeof origin) || strcmp(origin, auth->origin) != 0) return true;
  if (auth->aws_key != NULL) return sign(fetch, auth);
  if (auth->bearer == NULL) return true;
  return curl_easy_setopt(fetch->easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
         curl_easy_setopt(fetch->easy, CURLOPT_XOAUTH2_BEARER, auth->bearer) == CURLE_OK;
}

static bool set_range(rh_fetch *fetch) {
  if (fetch->range_first == 0 && fetch->range_end < 0) return true;
  char range[64];
  if (fetch->range_end < 0)
    (void)snprintf(range, sizeof range, "%" PRId64 "-", fetch->range_first);
  else
    (void)snprintf(range, sizeof range, "%" PRId64 "-%" PRId64, fetch->range_first, fetch->range_end - 1);
  if (fetch->if_range[0] != '\0' && !add_header(fetch, "If-Range", fetch->if_range)) return false;
  return curl_easy_setopt(fetch->easy, CURLOPT_RANGE, range) == CURLE_OK;
}

// Connections to this machine never go through a proxy. Setting the option hides the variable, so both are joined.
static bool set_proxy(CURL *easy) {
  const char *own = getenv("no_proxy");
  if (own == NULL) own = getenv("NO_PROXY");
  char list[2048];
  int length = snprintf(list, sizeof list, "localhost,127.0.0.1,127.0.0.0/8,::1%s%s", own == NULL ? "" : ",",
                        own == NULL ? "" : own);
  if (own != NULL && strcmp(own, "*") == 0) length = snprintf(list, sizeof list, "*");
  return length > 0 && (size_t)length < sizeof list && curl_easy_setopt(easy, CURLOPT_NOPROXY, list) == CURLE_OK;
}

static bool set_protocols(CURL *easy) {
#if LIBCURL_VERSION_NUM >= 0x075500
  return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
#else
  return curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)) == CURLE_OK;
#endif
}

// The library, unlike the command, does not look at these variables by itself.
static bool set_trust(CURL *easy) {
  const char *bundle = getenv("CURL_CA_BUNDLE");
  if (bundle == NULL || bundle[0] == '\0') bundle = getenv("SSL_CERT_FILE");
  if (bundle == NULL || bundle[0] == '\0') return true;
  return curl_easy_setopt(easy, CURLOPT_CAINFO, bundle) == CURLE_OK;
}

static bool set_basics(rh_fetch *fetch) {
  CURL *easy = fetch->easy;
  uint64_t connect_ns = fetch->connect_timeout_ns == 0 ? 30 * RH_NS_PER_S : fetch->connect_timeout_ns;
  bool fine = curl_easy_setopt(easy, CURLOPT_URL, fetch->url) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_USERAGENT, "roundhouse/" RH_VERSION) == CURLE_OK;
  // Ranges at once want a connection each; HTTP/2 would squeeze them into one.
  fine = fine && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ns / RH_NS_PER_MS)) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->message) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch) == CURLE_OK;
  return fine && set_protocols(easy) && set_proxy(easy) && set_trust(easy);
}

static rh_status set_up(rh_fetch *fetch, rh_error *error) {
  // Everything is set anew for each hop, so that nothing of the last one can remain.
  curl_easy_reset(fetch->easy);
  curl_slist_free_all(fetch->headers);
  fetch->headers = NULL;
  fetch->message[0] = '\0';
  fetch->complaint[0] = '\0';
  fetch->complaint_length = 0;
  clear_head(&fetch->head);
  bool fine = set_basics(fetch) && set_range(fetch) && introduce(fetch);
  if (fine && fetch->headers != NULL)
    fine = curl_easy_setopt(fetch->easy, CURLOPT_HTTPHEADER, fetch->headers) == CURLE_OK;
  return fine ? RH_OK : rh_fail(error, RH_INTERNAL, "a request could not be set up (no memory, or a value too long)");
}

rh_status rh_fetch_begin(rh_fetch *fetch, const char *url, const rh_pull_auth *auth, int64_t first, int64_t end,
                         const char *if_range, rh_error *error) {
  assert(fetch->easy != NULL && first >= 0 && (end < 0 || end > first));
  if (!rh_text_copy(fetch->url, sizeof fetch->url, url))
    return rh_fail(error, RH_TOO_LARGE, "a URL is longer than %d bytes", RH_PULL_URL_MAX);
  fetch->auth = auth;
  fetch->range_first = first;
  fetch->range_end = end;
  fetch->hops = 0;
  (void)rh_text_copy(fetch->if_range, sizeof fetch->if_range, if_range == NULL ? "" : if_range);
  return set_up(fetch, error);
}

rh_status rh_fetch_follow(rh_fetch *fetch, bool *again, rh_error *error) {
  *again = false;
  char *next = NULL;
  if (fetch->head.status / 100 != 3 || fetch->head.status == 304) return RH_OK;
  if (curl_easy_getinfo(fetch->easy, CURLINFO_REDIRECT_URL, &next) != CURLE_OK || next == NULL) return RH_OK;
  if (fetch->hops >= RH_FETCH_HOPS_MAX)
    return rh_fail(error, RH_UNAVAILABLE, "the server redirects more than %d times: it goes round in a loop",
                   RH_FETCH_HOPS_MAX);
  rh_status status = rh_url_check_redirect(fetch->url, next, error);
  if (status != RH_OK) return status;
  char copy[RH_PULL_URL_MAX];
  if (!rh_text_copy(copy, sizeof copy, next))
    return rh_fail(error, RH_UNAVAILABLE, "the server redirects to a URL longer than %d bytes", RH_PULL_URL_MAX);
  (void)rh_text_copy(fetch->url, sizeof fetch->url, copy);
  fetch->hops++;
  *again = true;
  return set_up(fetch, error);
}

const char *rh_fetch_validator(const rh_fetch_head *head) {
  // A weak ETag promises the same meaning, not the same bytes.
  if (head->etag[0] != '\0' && strncmp(head->etag, "W/", 2) != 0) return head->etag;
  return head->modified;
}

void rh_fetch_describe(const rh_fetch *fetch, CURLcode code, char *out, size_t size) {
  if (code == CURLE_OK || code == CURLE_WRITE_ERROR) {
    (void)snprintf(out, size, "HTTP %ld%s%s", fetch->head.status, fetch->head.error_message[0] == '\0' ? "" : ": ",
                   fetch->head.error_message);
    return;
  }
  (void)rh_text_copy(out, size, fetch->message[0] != '\0' ? fetch->message : curl_easy_strerror(code));
}
