// SPDX-License-Identifier: Apache-2.0
//
// Health checks: one GET, told well or not well with the reason. Owns a provider's one probe. Loop's thread. When to ask, and what
// follows from the answer, is decided above.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "provider/transport.h"

#define URL_BYTES_MAX 2048
#define LINES_BYTES_MAX (64u * 1024u)
#define PROBE_NS_MAX (10 * RH_NS_PER_S)
#define BODY_BYTES_MAX (4u * 1024u * 1024u)  // a long list of models; what is longer is not read to its end

typedef struct rh_probe {
  rh_transfer transfer;  // first
  rh_provider *provider;
  void (*told)(void *ctx, bool well, const char *why);
  void *ctx;
  rh_deferred start;
  rh_timer timer;
  rh_run nobody;  // whom the protocol makes header lines for
  rh_dynbuf lines;
  size_t bytes;
  struct curl_slist headers[RH_PROVIDER_HEADERS_MAX];
  char reason[CURL_ERROR_SIZE];
} rh_probe;

void rh_probe_forget(rh_provider *provider) {
  rh_probe *probe = provider->probe;
  if (probe == NULL) return;
  provider->probe = NULL;
  rh_loop *loop = provider->owner->loop;
  rh_loop_timer_cancel(loop, &probe->timer);
  rh_loop_undefer(loop, &probe->start);
  rh_transfer_remove(provider->owner, &probe->transfer);
  if (probe->transfer.easy != NULL) curl_easy_cleanup(probe->transfer.easy);
  rh_dynbuf_free(&probe->lines);
  free(probe);
}

// The probe is gone before anybody is told, so that a new one may begin.
static void tell(rh_probe *probe, bool well, const char *why) {
  void (*told)(void *ctx, bool well, const char *why) = probe->told;
  void *ctx = probe->ctx;
  rh_probe_forget(probe->provider);
  told(ctx, well, why);
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx) {
  (void)bytes;
  rh_probe *probe = ctx;
  probe->bytes += size * count;
  return probe->bytes <= BODY_BYTES_MAX ? size * count : 0;
}

static void on_done(rh_transfer *transfer, CURLcode result) {
  rh_probe *probe = (rh_probe *)(void *)transfer;
  long status = 0;
  (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
  char why[CURL_ERROR_SIZE + 64];
  if (result != CURLE_OK && (status == 0 || probe->bytes <= BODY_BYTES_MAX)) {
    (void)snprintf(why, sizeof why, "no answer: %s",
                   probe->reason[0] != '\0' ? probe->reason : curl_easy_strerror(result));
    tell(probe, false, why);
    return;
  }
  // Nobody promised that there is a list of models; a server that says so is alive.
  bool well = status >= 200 && status <= 299;
  if (probe->provider->spec->health_path == NULL && (status == 404 || status == 405)) well = true;
  (void)snprintf(why, sizeof why, "it answered %ld", status);
  tell(probe, well, why);
}

static void on_late(void *ctx) {
  rh_probe *probe = ctx;
  rh_providers *owner = probe->provider->owner;
  rh_providers_enter(owner);
  tell(probe, false, "no answer in time");
  rh_providers_leave(owner);
}

// A health_path counts from the server's root: "/health" of http://host:8000/v1 is http://host:8000/health.
static bool make_url(const rh_provider_spec *spec, char *url, size_t size) {
  int length;
  if (spec->health_path == NULL) {
    length = snprintf(url, size, "%s/models", spec->base_url);
  } else {
    const char *host = strstr(spec->base_url, "://");
    size_t root = host == NULL ? 0 : (size_t)(host + 3 - spec->base_url) + strcspn(host + 3, "/");
    length = snprintf(url, size, "%.*s%s", (int)root, spec->base_url, spec->health_path);
  }
  return length > 0 && (size_t)length < size;
}

static bool set_request(rh_probe *probe) {
  char url[URL_BYTES_MAX];
  CURL *easy = probe->transfer.easy;
  return make_url(probe->provider->spec, url, sizeof url) && curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_HTTPHEADER, probe->headers) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_WRITEDATA, probe) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, probe->reason) == CURLE_OK;
}

static uint64_t limit_ns(const rh_provider_spec *spec) {
  uint64_t limit = spec->connect_timeout_ns + spec->first_timeout_ns;
  return spec->connect_timeout_ns == 0 || spec->first_timeout_ns == 0 || limit > PROBE_NS_MAX ? PROBE_NS_MAX : limit;
}

static void on_start(void *ctx) {
  rh_probe *probe = ctx;
  rh_provider *provider = probe->provider;
  rh_providers_enter(provider->owner);
  // A handle of its own: those of runs carry a run's callbacks.
  probe->transfer.easy = rh_provider_easy_new(provider->spec);
  if (probe->transfer.easy == NULL || !set_request(probe) ||
      rh_transfer_add(provider->owner, &probe->transfer) != RH_OK) {
    tell(probe, false, "the request cannot be set up");
  } else {
    rh_loop_timer_set(provider->owner->loop, &probe->timer, limit_ns(provider->spec));
  }
  rh_providers_leave(provider->owner);
}

rh_status rh_provider_probe(rh_provider *provider, void (*done)(void *ctx, bool well, const char *why), void *ctx,
                            rh_error *error) {
  const char *name = provider->spec->name;
  if (provider->ops == NULL) {
    return rh_fail(error, RH_UNSUPPORTED, "provider \"%s\" speaks a protocol that this build does not know", name);
  }
  if (provider->probe != NULL) {
    return rh_fail(error, RH_CONFLICT, "a health check of provider \"%s\" is under way", name);
  }
  rh_probe *probe = calloc(1, sizeof *probe);
  if (probe == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to check provider \"%s\"", name);
  probe->provider = provider;
  probe->told = done;
  probe->ctx = ctx;
  probe->transfer.done = on_done;
  probe->start = (rh_deferred){.fn = on_start, .ctx = probe};
  probe->timer = (rh_timer){.fn = on_late, .ctx = probe};
  rh_dynbuf_init(&probe->lines, LINES_BYTES_MAX);
  provider->probe = probe;
  rh_status status = rh_provider_headers(provider, &probe->nobody, &probe->lines, probe->headers, error);
  if (status != RH_OK) {
    rh_probe_forget(provider);
    return status;
  }
  rh_loop_defer(provider->owner->loop, &probe->start);
  return RH_OK;
}
