// SPDX-License-Identifier: Apache-2.0
//
// One attempt: a request to the provider and its answer, as libcurl's callbacks bring it. An attempt holds an easy handle, the
// reader of its answer and, of an error, the body's beginning. Loop's thread. What to do afterwards, the run decides.
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "provider/transport.h"

#define URL_BYTES_MAX 2048
#define DRAIN_BYTES_MAX (64u * 1024u)
#define RETRY_AFTER_BYTES_MAX 64
#define TURN_AWAY ((size_t)0)  // from on_bytes: fewer than came, so libcurl ends the transfer and closes the connection

// --- libcurl's callbacks -----------------------------------------------------------------------------------------------

static int on_connected(void *ctx, char *to, char *from, int to_port, int from_port) {
  (void)to, (void)from, (void)to_port, (void)from_port;
  rh_provider_run *run = ctx;
  if (rh_run_is_over(run)) return CURL_PREREQFUNC_ABORT;
  run->connected_ns = rh_clock_now_ns();
  rh_run_arm(run);
  return CURL_PREREQFUNC_OK;
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx) {
  rh_provider_run *run = ctx;
  size_t length = size * count;
  run->heard = true;
  if (length >= 5 && memcmp(line, "HTTP/", 5) == 0) run->retry_after_ms = 0;  // a new head
  if (length < 12 || strncasecmp(line, "retry-after", 11) != 0) return length;
  char text[RETRY_AFTER_BYTES_MAX];
  size_t taken = length < sizeof text ? length : sizeof text - 1;
  memcpy(text, line, taken);
  text[taken] = '\0';
  char *value = strchr(text, ':');
  if (value == NULL) return length;
  *value++ = '\0';
  value += strspn(value, " \t");
  value[strcspn(value, "\r\n")] = '\0';
  unsigned ms = rh_retry_after_ms(text, value, rh_clock_wall_s());
  // The finer of the two, when both are there.
  if (ms != 0 && (run->retry_after_ms == 0 || strcasecmp(text, "retry-after-ms") == 0)) run->retry_after_ms = ms;
  return length;
}

// The final event is out. A little more is read, because a connection can only be used again after its answer's end.
static size_t drain(rh_provider_run *run, size_t length) {
  run->drained += length;
  return run->state == RH_RUN_OVER && run->drained <= DRAIN_BYTES_MAX ? length : TURN_AWAY;
}

// An error's body. Of a long one only the beginning is of interest.
static size_t collect(rh_provider_run *run, const char *bytes, size_t length) {
  size_t room = run->said.max - run->said.length;
  size_t taken = length < room ? length : room;
  if (taken > 0 && rh_dynbuf_append(&run->said, bytes, taken) != RH_OK) return TURN_AWAY;
  return taken == length ? length : TURN_AWAY;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx) {
  rh_provider_run *run = ctx;
  size_t length = size * count;
  if (rh_run_is_over(run)) return drain(run, length);
  if (run->waiting) {
    run->paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  bool first = run->byte_ns == 0;
  run->byte_ns = rh_clock_now_ns();
  if (first) rh_run_arm(run);
  if (!run->head_seen) {
    rh_answer_head(run);
    if (rh_run_is_over(run)) return TURN_AWAY;
  }
  if (run->reader == NULL) return collect(run, bytes, length);
  rh_sink tap = rh_run_tap(run);
  (void)run->provider->ops->read(run->reader, bytes, length, &tap);
  return run->state == RH_RUN_DOOMED ? TURN_AWAY : length;
}

// --- beginning and end -------------------------------------------------------------------------------------------------------

static void on_done(rh_transfer *transfer, CURLcode result) {
  rh_provider_run *run = (rh_provider_run *)(void *)transfer;
  run->result = result;
  if (run->state == RH_RUN_DOOMED) return;
  if (run->state == RH_RUN_OVER) {
    rh_run_doom(run);
  } else if (run->waiting) {
    rh_run_move(run, RH_RUN_HELD);
  } else {
    rh_attempt_settle(run, result);
  }
}

static bool set_request(rh_provider_run *run) {
  CURL *easy = run->transfer.easy;
  char url[URL_BYTES_MAX];
  int length = snprintf(url, sizeof url, "%s%s", run->provider->spec->base_url, run->path);
  run->reason[0] = '\0';
  return length > 0 && (size_t)length < sizeof url && curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_POSTFIELDS, rh_dynbuf_data(&run->body)) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)run->body.length) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_HTTPHEADER, run->headers) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, run->repeated ? 1L : 0L) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_WRITEDATA, run) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_HEADERDATA, run) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_PREREQDATA, run) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, run->reason) == CURLE_OK;
}

static void forget_last(rh_provider_run *run) {
  run->connected_ns = run->byte_ns = run->again_ns = 0;
  run->repeated = run->heard = run->head_seen = false;
  run->http_status = run->retry_after_ms = 0;
  run->drained = 0;
  run->result = CURLE_OK;
  rh_dynbuf_clear(&run->said);
}

void rh_attempt_begin(rh_provider_run *run) {
  rh_provider *provider = run->provider;
  assert(run->transfer.easy == NULL && run->reader == NULL);
  rh_run_move(run, RH_RUN_ACTIVE);
  forget_last(run);
  run->attempts++;
  run->began_ns = run->connecting_ns = rh_clock_now_ns();
  run->transfer.done = on_done;
  run->transfer.easy = rh_provider_easy_take(provider);
  if (run->transfer.easy == NULL || !set_request(run) || rh_transfer_add(provider->owner, &run->transfer) != RH_OK) {
    rh_error error;
    memset(&error, 0, sizeof error);
    (void)rh_fail(&error, RH_NO_MEMORY, "provider \"%s\": the request cannot be set up; is its base URL too long?",
                  provider->spec->name);
    rh_run_fail(run, &error);
    return;
  }
  rh_run_arm(run);
}

void rh_attempt_end(rh_provider_run *run) {
  rh_transfer_remove(run->provider->owner, &run->transfer);
  rh_provider_easy_give(run->provider, run->transfer.easy);
  run->transfer.easy = NULL;
  if (run->reader != NULL) run->provider->ops->reader_free(run->reader);
  run->reader = NULL;
}

// --- what became of it ---------------------------------------------------------------------------------------------------------

// A kept connection that ends before a byte of an answer was, as good as always, closed while it was idle, and its server has not
// seen the request (RFC 9112, 9.3.1). A generation changes nothing there, so it may be sent again (RFC 9110, 9.2.2). libcurl does
// that by itself, but only some of the time: it counts to five over the whole life of an easy handle. So the last word is ours:
// once more, on a new connection, within this attempt and its limits. Only what fails there is the provider's failure.
static bool repeat(rh_provider_run *run, CURLcode result) {
  bool broke = result == CURLE_SEND_ERROR || result == CURLE_RECV_ERROR || result == CURLE_GOT_NOTHING;
  if (!broke || run->heard || run->repeated) return false;
  long made = 1;
  (void)curl_easy_getinfo(run->transfer.easy, CURLINFO_NUM_CONNECTS, &made);
  if (made != 0) return false;
  run->repeated = true;
  run->connected_ns = 0;
  run->connecting_ns = rh_clock_now_ns();
  if (!set_request(run) || rh_transfer_add(run->provider->owner, &run->transfer) != RH_OK) return false;
  rh_run_arm(run);
  return true;
}

// A status that is not 2xx.
static void settle_refusal(rh_provider_run *run) {
  unsigned status = run->http_status;
  bool rests = (status == 429 || status == 503 || status == 529) && run->retry_after_ms != 0;
  if (status >= 500 && run->retry_after_ms == 0 && rh_run_retry(run)) return;
  rh_error error;
  rh_answer_explain(run, &error);
  rh_provider *provider = run->provider;
  unsigned rest_ms = run->retry_after_ms;
  // The one that was told is the last to be told: what its sink begins then must find the provider resting.
  if (rests) rh_provider_rest(provider, rest_ms);
  rh_run_fail(run, &error);
}

static void settle_answer(rh_provider_run *run) {
  rh_sink tap = rh_run_tap(run);
  (void)run->provider->ops->finish(run->reader, &tap);
  if (rh_run_is_over(run)) return;
  rh_error error;
  memset(&error, 0, sizeof error);
  (void)rh_fail(&error, RH_UPSTREAM, "provider \"%s\": its answer has no end", run->provider->spec->name);
  rh_run_fail(run, &error);
}

void rh_attempt_settle(rh_provider_run *run, CURLcode result) {
  if (repeat(run, result)) return;
  run->result = result;
  if (result == CURLE_OK && !run->head_seen) rh_answer_head(run);  // an answer without a body
  if (rh_run_is_over(run)) return;
  if (run->head_seen && run->reader == NULL) {
    settle_refusal(run);
  } else if (result != CURLE_OK && rh_answer_worth_retry(result) && rh_run_retry(run)) {
    return;
  } else if (run->reader != NULL) {
    settle_answer(run);  // the reader may have had all of it, however the connection ended
  } else {
    rh_error error;
    memset(&error, 0, sizeof error);
    rh_answer_cut(run, result, &error);
    rh_run_fail(run, &error);
  }
}
