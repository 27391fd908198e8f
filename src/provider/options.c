// SPDX-License-Identifier: Apache-2.0
//
// What all requests to one provider share: easy handles with its TLS, proxy and connection settings, and header lines. Owns the
// handles that are idle (provider->easies). Loop's thread.
//
// HTTP/1.1 on purpose: a cancelled run closes its connection, which every server notices at once; a slow reader stops only its
// own answer; and one connection carries hundreds of requests anyway.
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/version.h"
#include "provider/transport.h"

static bool set_tls(CURL *easy, const rh_provider_spec *spec) {
  bool ok = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
  if (ok && spec->ca_file != NULL) {
    ok = curl_easy_setopt(easy, CURLOPT_CAINFO, spec->ca_file) == CURLE_OK;
    (void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);  // this file alone
  }
#if LIBCURL_VERSION_NUM >= 0x075700
  // libcurl reads the system's certificates once a day, not for each connection; but only without a folder of them.
  char *bundle = NULL;
  if (spec->ca_file == NULL && curl_easy_getinfo(easy, CURLINFO_CAINFO, &bundle) == CURLE_OK && bundle != NULL) {
    (void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
  }
#endif
  return ok;
}

// A proxy from the environment may carry what is encrypted. It must never see anything else, nor what should stay here.
static bool set_proxy(CURL *easy, const rh_provider_spec *spec) {
  bool allowed = !spec->local && strncasecmp(spec->base_url, "https://", 8) == 0;
  return (allowed || curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK) &&
         curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE) == CURLE_OK &&
         curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK;
}

static bool set_protocols(CURL *easy) {
#if LIBCURL_VERSION_NUM >= 0x075500
  return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
#else
  return curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)) == CURLE_OK;
#endif
}

// Our workers are other programs: one that inherited a connection would keep it open after we closed it.
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
  (void)ctx, (void)purpose;
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static long to_ms(uint64_t ns) {
  uint64_t ms = ns / RH_NS_PER_MS;
  return ms > INT32_MAX ? INT32_MAX : ms == 0 ? 1 : (long)ms;
}

CURL *rh_provider_easy_new(const rh_provider_spec *spec) {
  CURL *easy = curl_easy_init();
  if (easy == NULL) return NULL;
#if LIBCURL_VERSION_NUM >= 0x075700
  // Else a cancelled transfer waits for the thread that resolves its name, and the whole daemon with it.
  (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  bool ok = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK && set_tls(easy, spec) && set_proxy(easy, spec) &&
            set_protocols(easy) && curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_USERAGENT, "roundhouse/" RH_VERSION) == CURLE_OK;
  // The run's own timers say when; this lets libcurl divide the time among a name's addresses.
  if (ok && spec->connect_timeout_ns != 0) {
    ok = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, to_ms(spec->connect_timeout_ns)) == CURLE_OK;
  }
  if (ok) return easy;
  curl_easy_cleanup(easy);
  return NULL;
}

CURL *rh_provider_easy_take(rh_provider *provider) {
  if (provider->easy_count > 0) return provider->easies[--provider->easy_count];
  return rh_provider_easy_new(provider->spec);
}

void rh_provider_easy_give(rh_provider *provider, CURL *easy) {
  if (easy == NULL) return;
  if (provider->easy_count < RH_PROVIDER_SPARES_MAX && !provider->owner->closing) {
    provider->easies[provider->easy_count++] = easy;
  } else {
    curl_easy_cleanup(easy);
  }
}

// --- header lines ----------------------------------------------------------------------------------------------------

static bool same_name(const char *one, const char *other) {
  size_t length = strcspn(one, ":");
  return strncasecmp(one, other, length) == 0 && other[length] == ':';
}

static bool said_by_configuration(const rh_provider_spec *spec, const char *line) {
  for (size_t i = 0; spec->headers != NULL && spec->headers[i] != NULL; i++) {
    if (same_name(spec->headers[i], line)) return true;
  }
  return false;
}

static bool sound(const char *line) {
  for (const unsigned char *at = (const unsigned char *)line; *at != '\0'; at++) {
    if ((*at < ' ' && *at != '\t') || *at == 0x7f) return false;
  }
  return strchr(line, ':') != NULL;
}

static bool add_line(struct curl_slist *nodes, size_t *count, const char *line) {
  if (*count == RH_PROVIDER_HEADERS_MAX || !sound(line)) return false;
  // libcurl copies the text, and never writes to it.
  nodes[*count] = (struct curl_slist){.data = (char *)(uintptr_t)line, .next = NULL};
  if (*count > 0) nodes[*count - 1].next = &nodes[*count];
  (*count)++;
  return true;
}

rh_status rh_provider_headers(const rh_provider *provider, const rh_run *run, rh_dynbuf *lines,
                              struct curl_slist nodes[RH_PROVIDER_HEADERS_MAX], rh_error *error) {
  const rh_provider_spec *spec = provider->spec;
  rh_dynbuf_clear(lines);
  if (provider->ops->headers(spec, run, lines) != RH_OK || lines->failed) {
    return rh_fail(error, RH_TOO_LARGE, "provider \"%s\": the header lines of the request are too long", spec->name);
  }
  size_t count = 0;
  bool ok = add_line(nodes, &count, "Expect:");  // no waiting for a 100
  if (!said_by_configuration(spec, "Content-Type:")) {
    ok = ok && add_line(nodes, &count, "Content-Type: application/json");
  }
  // Another roundhouse, or a proxy that knows us, must not send on what has to stay here.
  if (run->local_only) ok = ok && add_line(nodes, &count, "x-roundhouse-local-only: true");
  char *end = lines->data == NULL ? NULL : lines->data + lines->start + lines->length;
  for (char *at = lines->data == NULL ? NULL : lines->data + lines->start; ok && at != end;) {
    char *stop = memchr(at, '\n', (size_t)(end - at));
    if (stop != NULL) *stop = '\0';
    if (*at != '\0' && !said_by_configuration(spec, at)) ok = add_line(nodes, &count, at);
    at = stop == NULL ? end : stop + 1;
  }
  for (size_t i = 0; ok && spec->headers != NULL && spec->headers[i] != NULL; i++) {
    ok = add_line(nodes, &count, spec->headers[i]);
  }
  if (ok) return RH_OK;
  return rh_fail(error, RH_INVALID,
                 "provider \"%s\": a header line cannot be sent: it has control characters, or there are over %d; see "
                 "its \"headers\" in the configuration",
                 spec->name, RH_PROVIDER_HEADERS_MAX - 2);
}
