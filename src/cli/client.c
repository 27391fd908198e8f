// SPDX-License-Identifier: Apache-2.0
//
// One request at a time over a libcurl multi handle, because only that one can wait for the interrupt descriptor too.
// Owns the handles and their connections. One thread. It deliberately does not retry: a person is watching.
#include "cli/client.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/interrupt.h"
#include "cli/lines.h"

#define ANSWER_BYTES_MAX ((size_t)16 * 1024 * 1024)
#define CONNECT_TIMEOUT_MS 3000L
#define KEY_BYTES_MAX 512

struct rh_client {
  char *server;
  CURLM *multi;
  struct curl_slist *headers;  // of every request; NULL = none
};

// One command is one process with one key, whichever client of it asks. "" = none.
static char process_key[KEY_BYTES_MAX + 1];
static bool key_known;  // it was set, or the variable was looked at

// One request under way.
typedef struct call {
  CURL *easy;
  rh_dynbuf error_body;
  rh_status (*sink)(void *ctx, const char *bytes, size_t length);
  void *ctx;
  rh_status sink_status;
} call;

rh_status rh_client_new(const char *server, rh_client **out, rh_error *error) {
  *out = NULL;
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return rh_fail(error, RH_INTERNAL, "libcurl cannot be started");
  rh_client *client = calloc(1, sizeof *client);
  if (client == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the HTTP client");
  client->server = strdup(server);
  client->multi = curl_multi_init();
  if (client->server == NULL || client->multi == NULL) {
    rh_client_free(client);
    return rh_fail(error, RH_NO_MEMORY, "no memory for the HTTP client");
  }
  *out = client;
  return RH_OK;
}

void rh_client_free(rh_client *client) {
  if (client == NULL) return;
  if (client->multi != NULL) curl_multi_cleanup(client->multi);
  curl_slist_free_all(client->headers);
  free(client->server);
  free(client);
}

const char *rh_client_server(const rh_client *client) { return client->server; }

// --- the key -------------------------------------------------------------------------------------------------------

rh_status rh_client_use_key(const char *key, rh_error *error) {
  size_t length = strlen(key);
  // A variable that was filled from a file often ends with a line break.
  while (length > 0 && isspace((unsigned char)key[length - 1])) length--;
  bool good = length <= KEY_BYTES_MAX;
  for (size_t i = 0; good && i < length; i++) good = isgraph((unsigned char)key[i]) != 0;
  if (!good) return rh_fail(error, RH_INVALID, "the API key is not one: it must be printable ASCII without blanks");
  memcpy(process_key, key, length);
  process_key[length] = '\0';
  key_known = true;
  return RH_OK;
}

static const char *key_of_process(void) {
  const char *variable = getenv("ROUNDHOUSE_API_KEY");
  rh_error ignored = {0};
  if (!key_known && (variable == NULL || rh_client_use_key(variable, &ignored) != RH_OK)) process_key[0] = '\0';
  key_known = true;
  return process_key;
}

// --- addresses -----------------------------------------------------------------------------------------------------

static rh_status append_escaped(rh_dynbuf *path, const char *value) {
  char *escaped = curl_easy_escape(NULL, value, 0);
  rh_status status = escaped != NULL ? rh_dynbuf_append_text(path, escaped) : RH_NO_MEMORY;
  curl_free(escaped);
  return status;
}

rh_status rh_client_append_query(rh_dynbuf *path, const char *name, const char *value) {
  if (value == NULL || value[0] == '\0') return RH_OK;
  char mark = strchr(rh_dynbuf_data(path), '?') != NULL ? '&' : '?';
  rh_status status = rh_dynbuf_printf(path, "%c%s=", mark, name);
  return status == RH_OK ? append_escaped(path, value) : status;
}

rh_status rh_client_append_part(rh_dynbuf *path, const char *value) {
  rh_status status = rh_dynbuf_append_char(path, '/');
  return status == RH_OK ? append_escaped(path, value) : status;
}

rh_status rh_client_add_header(rh_client *client, const char *header, rh_error *error) {
  struct curl_slist *longer = curl_slist_append(client->headers, header);
  if (longer == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a header");
  client->headers = longer;
  return RH_OK;
}

// --- errors --------------------------------------------------------------------------------------------------------

static rh_status status_of_http(long http_status) {
  switch (http_status) {
    case 401: return RH_UNAUTHENTICATED;
    case 403: return RH_FORBIDDEN;
    case 404: return RH_NOT_FOUND;
    case 408: return RH_DEADLINE;
    case 409: return RH_CONFLICT;
    case 413: return RH_TOO_LARGE;
    case 429: return RH_QUEUE_FULL;
    case 501: return RH_UNSUPPORTED;
    case 503: return RH_UNAVAILABLE;
    case 504: return RH_DEADLINE;
    default: return http_status >= 400 && http_status < 500 ? RH_INVALID : RH_INTERNAL;
  }
}

rh_status rh_client_error_answer(long http_status, const char *body, size_t length, rh_error *error) {
  rh_error ignored = {0};
  json_t *root = rh_json_parse(body, length, &ignored);
  json_t *inner = json_object_get(root, "error");
  const char *message = json_string_value(json_is_string(inner) ? inner : json_object_get(inner, "message"));
  rh_status status = status_of_http(http_status);
  if (message != NULL)
    rh_fail(error, status, "%s%s", message,
            status == RH_UNAUTHENTICATED ? " (the commands take it from ROUNDHOUSE_API_KEY or --key)" : "");
  else
    rh_fail(error, status, "the server answered with HTTP status %ld and no explanation", http_status);
  json_decref(root);
  return status;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx) {
  call *self = ctx;
  size_t length = size * count;
  long http_status = 0;
  curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &http_status);
  if (http_status < 200 || http_status > 299) {
    // What does not fit of an error is not worth more memory.
    (void)rh_dynbuf_append(&self->error_body, bytes, length);
    return length;
  }
  self->sink_status = self->sink(self->ctx, bytes, length);
  return self->sink_status == RH_OK ? length : 0;
}

static CURL *new_handle(const char *server, const char *path) {
  char *url = NULL;
  CURL *easy = curl_easy_init();
  if (easy == NULL || asprintf(&url, "%s%s", server, path) < 0) {
    curl_easy_cleanup(easy);
    return NULL;
  }
  bool fine = curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
  fine = fine && curl_easy_setopt(easy, CURLOPT_USERAGENT, "roundhouse-cli/" RH_VERSION) == CURLE_OK;
  free(url);
  // A server's answer must not make us read files or talk another protocol.
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
  const char *key = key_of_process();
  if (key[0] != '\0') {
    fine = fine && curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, key) == CURLE_OK;
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
  }
  if (fine) return easy;
  curl_easy_cleanup(easy);
  return NULL;
}

struct curl_slist *rh_client_post_headers(void) {
  struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
  // Without this libcurl waits for "100 Continue" before it sends a long prompt.
  struct curl_slist *both = headers == NULL ? NULL : curl_slist_append(headers, "Expect:");
  if (both == NULL) curl_slist_free_all(headers);
  return both;
}

CURL *rh_client_post_handle(const char *server, const char *path, const char *body, struct curl_slist *headers) {
  CURL *easy = new_handle(server, path);
  if (easy == NULL) return NULL;
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  return easy;
}

// Runs the loop until the request is over or interrupted.
static rh_status wait_for(rh_client *client, CURLcode *result) {
  struct curl_waitfd interrupt = {.fd = rh_interrupt_fd(), .events = CURL_WAIT_POLLIN};
  for (;;) {
    int running = 0, left = 0;
    if (rh_interrupt_count() > 0) return RH_CANCELLED;
    if (curl_multi_perform(client->multi, &running) != CURLM_OK) return RH_INTERNAL;
    CURLMsg *message = curl_multi_info_read(client->multi, &left);
    if (message != NULL && message->msg == CURLMSG_DONE) {
      *result = message->data.result;
      return RH_OK;
    }
    if (running == 0) return RH_INTERNAL;
    if (curl_multi_poll(client->multi, &interrupt, interrupt.fd >= 0 ? 1 : 0, 1000, NULL) != CURLM_OK)
      return RH_INTERNAL;
  }
}

static rh_status transport_error(const rh_client *client, CURLcode code, rh_error *error) {
  switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return rh_fail(error, RH_IO, "no server answers at %s; start one with: roundhouse serve", client->server);
    case CURLE_OPERATION_TIMEDOUT:
      return rh_fail(error, RH_IO, "the server at %s does not answer in time; is it busy or stopped?", client->server);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return rh_fail(error, RH_INVALID, "\"%s\" is not a server's address; write http://host:port", client->server);
    default:
      return rh_fail(error, RH_UNAVAILABLE, "the connection to %s broke: %s; see the server's log", client->server,
                     curl_easy_strerror(code));
  }
}

// Runs the request; takes over the call's handle and buffer.
static rh_status perform(rh_client *client, call *self, rh_error *error) {
  CURLcode code = CURLE_OK;
  rh_dynbuf_init(&self->error_body, RH_CLIENT_ERROR_BYTES_MAX);
  curl_easy_setopt(self->easy, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(self->easy, CURLOPT_WRITEDATA, self);
  rh_status status = RH_INTERNAL;
  if (curl_multi_add_handle(client->multi, self->easy) == CURLM_OK) status = wait_for(client, &code);
  long http_status = 0;
  curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &http_status);
  if (status == RH_CANCELLED)
    rh_fail(error, status, "interrupted");
  else if (status != RH_OK)
    rh_fail(error, status, "libcurl failed");
  else if (self->sink_status != RH_OK)
    status = self->sink_status;  // the sink has filled the error
  else if (code != CURLE_OK)
    status = transport_error(client, code, error);
  else if (http_status < 200 || http_status > 299)
    status = rh_client_error_answer(http_status, rh_dynbuf_data(&self->error_body), self->error_body.length, error);
  curl_multi_remove_handle(client->multi, self->easy);
  // A request that ended early must not leave its connection open: closing it is what cancels the work.
  curl_easy_cleanup(self->easy);
  rh_dynbuf_free(&self->error_body);
  return status;
}

static rh_status collect(void *ctx, const char *bytes, size_t length) { return rh_dynbuf_append(ctx, bytes, length); }

// What was collected, as JSON. A 2xx answer without a body is no error: *out stays NULL.
static rh_status parse_answer(const rh_client *client, const rh_dynbuf *body, json_t **out, rh_error *error) {
  if (body->length == 0) return RH_OK;
  rh_error inner = {0};
  *out = rh_json_parse(rh_dynbuf_data(body), body->length, &inner);
  if (*out != NULL) return RH_OK;
  return rh_fail(error, RH_PROTOCOL, "%s did not answer with JSON; is it a roundhouse server?", client->server);
}

// The headers of one request: those of its body, if it has one, and the client's own. NULL is fine when there are none.
static bool headers_of(const rh_client *client, bool body, struct curl_slist **out) {
  *out = body ? rh_client_post_headers() : NULL;
  bool good = !body || *out != NULL;
  for (const struct curl_slist *at = client->headers; good && at != NULL; at = at->next) {
    struct curl_slist *longer = curl_slist_append(*out, at->data);
    good = longer != NULL;
    if (good) *out = longer;
  }
  return good;
}

// One request; the bytes of a 2xx answer into `answer`.
static rh_status exchange(rh_client *client, const char *method, const char *path, const json_t *body, long timeout_ms,
                          rh_dynbuf *answer, rh_error *error) {
  char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
  struct curl_slist *headers = NULL;
  bool ready = headers_of(client, body != NULL, &headers);
  call self = {.sink = collect, .ctx = answer};
  if (ready && body == NULL)
    self.easy = new_handle(client->server, path);
  else if (ready && text != NULL)
    self.easy = rh_client_post_handle(client->server, path, text, headers);
  rh_status status = RH_OK;
  if (self.easy == NULL) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory for a request");
  } else {
    curl_easy_setopt(self.easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(self.easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(self.easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    status = perform(client, &self, error);
    if (self.sink_status != RH_OK) rh_fail(error, self.sink_status, "the answer of %s is too large", client->server);
  }
  curl_slist_free_all(headers);
  free(text);
  return status;
}

rh_status rh_client_call(rh_client *client, const char *method, const char *path, const json_t *body, long timeout_ms,
                         json_t **out, rh_error *error) {
  rh_dynbuf answer;
  rh_dynbuf_init(&answer, ANSWER_BYTES_MAX);
  json_t *value = NULL;
  rh_status status = exchange(client, method, path, body, timeout_ms, &answer, error);
  if (status == RH_OK) status = parse_answer(client, &answer, &value, error);
  if (out != NULL)
    *out = value;
  else
    json_decref(value);
  rh_dynbuf_free(&answer);
  return status;
}

rh_status rh_client_get_text(rh_client *client, const char *path, long timeout_ms, rh_dynbuf *out, rh_error *error) {
  return exchange(client, "GET", path, NULL, timeout_ms, out, error);
}

rh_status rh_client_get_json(rh_client *client, const char *path, long timeout_ms, json_t **out, rh_error *error) {
  rh_status status = rh_client_call(client, "GET", path, NULL, timeout_ms, out, error);
  if (status != RH_OK || *out != NULL) return status;
  return rh_fail(error, RH_PROTOCOL, "%s did not answer with JSON; is it a roundhouse server?", client->server);
}

rh_status rh_client_post_stream(rh_client *client, const char *path, const json_t *body,
                                rh_status (*sink)(void *ctx, const char *bytes, size_t length), void *ctx,
                                rh_error *error) {
  assert(body != NULL && sink != NULL);
  char *text = json_dumps(body, JSON_COMPACT);
  struct curl_slist *headers = rh_client_post_headers();
  call self = {.sink = sink, .ctx = ctx};
  if (text != NULL && headers != NULL) self.easy = rh_client_post_handle(client->server, path, text, headers);
  rh_status status =
      self.easy != NULL ? perform(client, &self, error) : rh_fail(error, RH_NO_MEMORY, "no memory for a request");
  curl_slist_free_all(headers);
  free(text);
  return status;
}

typedef struct line_sink {
  rh_lines lines;
  rh_error error;
} line_sink;

static rh_status feed_lines(void *ctx, const char *bytes, size_t length) {
  line_sink *sink = ctx;
  return rh_lines_feed(&sink->lines, bytes, length, &sink->error);
}

rh_status rh_client_post_lines(rh_client *client, const char *path, const json_t *body,
                               rh_status (*line)(void *ctx, const json_t *value, rh_error *error), void *ctx,
                               rh_error *error) {
  line_sink sink = {.error = {.status = RH_OK}};
  rh_lines_init(&sink.lines, line, ctx);
  rh_status status = rh_client_post_stream(client, path, body, feed_lines, &sink, error);
  if (sink.error.status != RH_OK)
    status = rh_fail(error, sink.error.status, "%s", sink.error.message);
  else if (status == RH_OK)
    status = rh_lines_end(&sink.lines, error);
  rh_lines_free(&sink.lines);
  return status;
}
