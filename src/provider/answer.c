// SPDX-License-Identifier: Apache-2.0
//
// What a provider's answer, or its absence, means: status and type at its head, Retry-After, and the words for failures. Owns
// nothing. Loop's thread. What stands in a body, the protocol's reader says.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "provider/transport.h"

static unsigned bounded_ms(double ms) {
  if (!(ms >= 0)) return 0;
  return ms > RH_PROVIDER_RETRY_AFTER_MS_MAX ? RH_PROVIDER_RETRY_AFTER_MS_MAX : ms < 1 ? 1 : (unsigned)ms;
}

// RFC 9110, 10.2.3: seconds or a date. "retry-after-ms" is what OpenAI's and Azure's servers add for finer times.
unsigned rh_retry_after_ms(const char *name, const char *value, int64_t wall_s) {
  char *end = NULL;
  double number = strtod(value, &end);
  bool is_number = end != value && end[strspn(end, " \t\r\n")] == '\0';
  if (strcasecmp(name, "retry-after-ms") == 0) return is_number ? bounded_ms(number) : 0;
  if (strcasecmp(name, "retry-after") != 0) return 0;
  if (is_number) return bounded_ms(number * 1000);
  time_t date = curl_getdate(value, NULL);
  return date == -1 ? 0 : bounded_ms(((double)date - (double)wall_s) * 1000);
}

// --- heads -----------------------------------------------------------------------------------------------------------

static bool is_type(const char *type, const char *start) {
  return type != NULL && strncasecmp(type, start, strlen(start)) == 0;
}

// Pages and pictures are somebody else's answer: a captive portal, a proxy, a wrong address. Other names are taken as they
// come, because many servers name their answers wrongly and the reader knows better.
static bool wrong_type(const char *type) {
  return is_type(type, "text/html") || is_type(type, "application/xhtml") || is_type(type, "image/") ||
         is_type(type, "video/") || is_type(type, "audio/");
}

static void refuse(rh_provider_run *run, const char *type) {
  rh_error error;
  (void)rh_fail(
      &error, RH_UPSTREAM,
      "provider \"%s\" answered %u with %.60s, which is no answer of a model; is its base URL right, and does no "
      "other server stand before it?",
      run->provider->spec->name, run->http_status, type);
  rh_run_fail(run, &error);
}

void rh_answer_head(rh_provider_run *run) {
  long status = 0;
  const char *type = NULL;
  (void)curl_easy_getinfo(run->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
  (void)curl_easy_getinfo(run->transfer.easy, CURLINFO_CONTENT_TYPE, &type);
  run->head_seen = true;
  run->http_status = (unsigned)status;
  if (status < 200 || status > 299) return;
  if (wrong_type(type)) {
    refuse(run, type);
    return;
  }
  // A server that cannot stream answers as a whole, and some stream without being asked.
  bool stream = run->options.stream;
  if (is_type(type, "application/json")) stream = false;
  if (is_type(type, "text/event-stream")) stream = true;
  run->reader = run->provider->ops->reader_new(run->provider->spec, run->run, stream);
  if (run->reader == NULL) {
    rh_error error;
    (void)rh_fail(&error, RH_NO_MEMORY, "no memory to read the answer of provider \"%s\"", run->provider->spec->name);
    rh_run_fail(run, &error);
  }
}

// --- words for failures ------------------------------------------------------------------------------------------------

void rh_answer_explain(rh_provider_run *run, rh_error *error) {
  const rh_provider_spec *spec = run->provider->spec;
  memset(error, 0, sizeof *error);
  if (run->http_status >= 300 && run->http_status <= 399) {
    (void)rh_fail(
        error, RH_UPSTREAM,
        "provider \"%s\" answered %u: its models are at another address. Redirects are not followed, because the "
        "key would go along; correct its base URL",
        spec->name, run->http_status);
  } else {
    run->provider->ops->explain(spec, run->http_status, rh_dynbuf_data(&run->said), run->said.length, error);
  }
  if (run->retry_after_ms != 0) error->retry_after_ms = run->retry_after_ms;
}

static const char *what_broke(const rh_provider_run *run, CURLcode result) {
  switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST: return "its name cannot be resolved";
    case CURLE_COULDNT_RESOLVE_PROXY: return "the proxy's name cannot be resolved";
    case CURLE_COULDNT_CONNECT: return "no connection";
    case CURLE_OPERATION_TIMEDOUT: return "no connection in time";
    case CURLE_PEER_FAILED_VERIFICATION: return "its certificate is not trusted";
    case CURLE_SSL_CACERT_BADFILE: return "the file of trusted certificates cannot be read";
    case CURLE_SSL_CONNECT_ERROR: return "no TLS connection";
    case CURLE_GOT_NOTHING: return "it closed the connection without an answer";
    case CURLE_OUT_OF_MEMORY: return "no memory";
    default:
      return run->head_seen           ? "the connection broke in the middle of its answer"
             : run->connected_ns != 0 ? "the connection broke before its answer"
                                      : "no connection";
  }
}

void rh_answer_cut(const rh_provider_run *run, CURLcode result, rh_error *error) {
  const char *more = run->reason[0] != '\0' ? run->reason : curl_easy_strerror(result);
  (void)rh_fail(error, result == CURLE_OUT_OF_MEMORY ? RH_NO_MEMORY : RH_UPSTREAM, "provider \"%s\": %s (%.200s)",
                run->provider->spec->name, what_broke(run, result), more);
}

bool rh_answer_worth_retry(CURLcode result) {
  switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE: return true;
    default:  // certificates, addresses, memory: the next attempt meets the same
      return false;
  }
}
