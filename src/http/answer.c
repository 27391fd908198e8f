// SPDX-License-Identifier: Apache-2.0
//
// What handlers call on an exchange: reading the request, answering at once, and streaming an answer.
//
// Data owned: the bytes of a stream between the handler and the library (exchange->out). Loop's thread only. Nothing
// here talks to the socket or runs the library: a call stores, wakes the connection and returns, so that a handler's
// call never leads back into a handler.
#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "http/internal.h"

// The library copies a stream through this much memory when it cannot use chunks (HTTP/1.0 clients).
#define PLAIN_BLOCK_BYTES 16384u
#define CHUNKED_BLOCK_BYTES 128u

const char *rh_http_method(const rh_http_exchange *exchange) { return exchange->method; }
const char *rh_http_path(const rh_http_exchange *exchange) { return exchange->path; }
uint64_t rh_http_received_ns(const rh_http_exchange *exchange) { return exchange->received_ns; }
bool rh_http_body_too_large(const rh_http_exchange *exchange) { return exchange->too_large; }
void rh_http_set_user(rh_http_exchange *exchange, void *user) { exchange->user = user; }
void *rh_http_user(const rh_http_exchange *exchange) { return exchange->user; }
uint64_t rh_http_stream_last_write_ns(const rh_http_exchange *exchange) { return exchange->last_write_ns; }

bool rh_http_answered(const rh_http_exchange *exchange) {
  return exchange->response != NULL || exchange->phase >= EXCHANGE_QUEUED;
}

// The first value of that name; "" for a name without a value.
static const char *find(const rh_http_exchange *exchange, enum MHD_ValueKind kind, const char *name) {
  const char *value = NULL;
  if (MHD_lookup_connection_value_n(exchange->connection, kind, name, strlen(name), &value, NULL) != MHD_YES) {
    return NULL;
  }
  return value != NULL ? value : "";
}

const char *rh_http_query(const rh_http_exchange *exchange, const char *name) {
  return find(exchange, MHD_GET_ARGUMENT_KIND, name);
}

const char *rh_http_header(const rh_http_exchange *exchange, const char *name) {
  return find(exchange, MHD_HEADER_KIND, name);
}

typedef struct each_header {
  void (*take)(void *ctx, const char *name, const char *value);
  void *ctx;
} each_header;

static enum MHD_Result hand_on(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value) {
  each_header *each = ctx;
  (void)kind;
  each->take(each->ctx, name, value != NULL ? value : "");
  return MHD_YES;
}

void rh_http_each_header(const rh_http_exchange *exchange, void (*take)(void *ctx, const char *name, const char *value),
                         void *ctx) {
  each_header each = {.take = take, .ctx = ctx};
  (void)MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, hand_on, &each);
}

typedef struct last_header {
  const char *name, *value;
} last_header;

static enum MHD_Result look_at(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value) {
  last_header *last = ctx;
  (void)kind;
  if (strcasecmp(name, last->name) == 0) last->value = value != NULL ? value : "";
  return MHD_YES;
}

const char *rh_http_last_header(const rh_http_exchange *exchange, const char *name) {
  last_header last = {.name = name};
  (void)MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, look_at, &last);
  return last.value;
}

const char *rh_http_body(const rh_http_exchange *exchange, size_t *length) {
  *length = exchange->body.length;
  return rh_dynbuf_data(&exchange->body);
}

static bool is_token_byte(unsigned char byte) {
  unsigned char lower = byte | 0x20;
  if ((lower >= 'a' && lower <= 'z') || byte == '-') return true;  // nearly all
  return byte > ' ' && byte < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", byte) == NULL;
}

// RFC 9110: a name is a token, a value has no control characters but the tab. The library takes no empty value.
static bool header_valid(const char *name, const char *value) {
  if (*name == '\0' || *value == '\0') return false;
  for (const unsigned char *at = (const unsigned char *)name; *at != '\0'; at++) {
    if (!is_token_byte(*at)) return false;
  }
  for (const unsigned char *at = (const unsigned char *)value; *at != '\0'; at++) {
    if ((*at < ' ' && *at != '\t') || *at == 0x7f) return false;
  }
  // The length and the framing are ours to say.
  return strcasecmp(name, "Content-Length") != 0 && strcasecmp(name, "Transfer-Encoding") != 0;
}

rh_status rh_http_set_header(rh_http_exchange *exchange, const char *name, const char *value) {
  if (rh_http_answered(exchange) || !header_valid(name, value)) return RH_INVALID;
  size_t name_size = strlen(name) + 1;
  size_t value_size = strlen(value) + 1;
  // Both or none, so that the pairs stay pairs.
  if (rh_dynbuf_reserve(&exchange->headers, name_size + value_size) == NULL) return RH_TOO_LARGE;
  rh_status status = rh_dynbuf_append(&exchange->headers, name, name_size);
  if (status == RH_OK) status = rh_dynbuf_append(&exchange->headers, value, value_size);
  return status;
}

static const char *after_text(const char *text) { return text + strlen(text) + 1; }

// Whether a later pair has the same name: the last value set is the one that counts.
static bool set_again(const char *name, const char *rest, const char *end) {
  for (const char *at = rest; at < end; at = after_text(after_text(at))) {
    bool may_be = (at[0] | 0x20) == (name[0] | 0x20);  // spares most of the comparisons
    if (may_be && strcasecmp(at, name) == 0) return true;
  }
  return false;
}

static bool add_headers(const rh_http_exchange *exchange, struct MHD_Response *response, const char *content_type) {
  if (content_type != NULL &&
      MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type) != MHD_YES) {
    return false;
  }
  const char *at = rh_dynbuf_data(&exchange->headers);
  const char *end = at + exchange->headers.length;
  while (at < end) {
    const char *value = after_text(at);
    const char *next = after_text(value);
    if (!set_again(at, next, end) && MHD_add_response_header(response, at, value) != MHD_YES) return false;
    at = next;
  }
  return true;
}

// Hand a built response over. A failure leaves an exchange that nobody can answer, so it is cut off.
static rh_status begin_answer(rh_http_exchange *exchange, unsigned status, const char *content_type,
                              struct MHD_Response *response) {
  assert(status >= 200 && status <= 999);
  if (response == NULL || !add_headers(exchange, response, content_type)) {
    if (response != NULL) MHD_destroy_response(response);
    rh_http_exchange_cut(exchange);
    return RH_NO_MEMORY;
  }
  exchange->response = response;
  exchange->status = status;
  rh_http_exchange_wake(exchange);
  return RH_OK;
}

rh_status rh_http_respond(rh_http_exchange *exchange, unsigned status, const char *content_type, const void *body,
                          size_t length) {
  if (exchange->gone) return RH_CANCELLED;
  assert(!rh_http_answered(exchange));
  // The library copies before it returns and does not write to the bytes.
  struct MHD_Response *response =
      MHD_create_response_from_buffer(length, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
  return begin_answer(exchange, status, content_type, response);
}

// The library asks for more of a stream.
static ssize_t read_stream(void *ctx, uint64_t position, char *to, size_t room) {
  (void)position;
  rh_http_exchange *exchange = ctx;
  if (exchange->gone) return MHD_CONTENT_READER_END_WITH_ERROR;
  rh_dynbuf *out = &exchange->out;
  if (out->length == 0) {
    if (exchange->ended) return MHD_CONTENT_READER_END_OF_STREAM;
    rh_http_exchange_suspend(exchange);
    return 0;
  }
  size_t count = out->length < room ? out->length : room;
  memcpy(to, rh_dynbuf_data(out), count);
  rh_dynbuf_consume(out, count);
  // The writer is told after the library has returned: its answer to the news is another write.
  if (exchange->waiting && !exchange->ended && out->length <= exchange->server->options.stream_bytes_high / 2) {
    exchange->waiting = false;
    rh_list_push_back(&exchange->server->drained, &exchange->drain_node);
  }
  return (ssize_t)count;
}

rh_status rh_http_stream_begin(rh_http_exchange *exchange, unsigned status, const char *content_type) {
  if (exchange->gone) return RH_CANCELLED;
  assert(!rh_http_answered(exchange));
  size_t block = exchange->http_1_1 ? CHUNKED_BLOCK_BYTES : PLAIN_BLOCK_BYTES;
  struct MHD_Response *response =
      MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, block, read_stream, exchange, NULL);
  exchange->stream = true;
  exchange->last_write_ns = rh_clock_now_ns();
  return begin_answer(exchange, status, content_type, response);
}

rh_http_room rh_http_stream_write(rh_http_exchange *exchange, const void *bytes, size_t length) {
  if (exchange->gone) return RH_HTTP_GONE;
  assert(exchange->stream && !exchange->ended);
  if (exchange->head) return RH_HTTP_GO;
  if (rh_dynbuf_append(&exchange->out, bytes, length) != RH_OK) {
    // A hole in the stream would be worse than its end.
    rh_http_exchange_cut(exchange);
    return RH_HTTP_GONE;
  }
  exchange->last_write_ns = rh_clock_now_ns();
  if (length > 0) rh_http_exchange_wake(exchange);
  if (exchange->out.length > exchange->server->options.stream_bytes_high) {
    exchange->waiting = true;
    // The news of room, if it is under way, is no longer true.
    if (rh_list_linked(&exchange->drain_node)) rh_list_remove(&exchange->server->drained, &exchange->drain_node);
  }
  return exchange->waiting ? RH_HTTP_WAIT : RH_HTTP_GO;
}

void rh_http_stream_end(rh_http_exchange *exchange) {
  if (exchange->gone) return;
  assert(exchange->stream && !exchange->ended);
  exchange->ended = true;
  exchange->waiting = false;
  if (rh_list_linked(&exchange->drain_node)) rh_list_remove(&exchange->server->drained, &exchange->drain_node);
  rh_http_exchange_wake(exchange);
}
