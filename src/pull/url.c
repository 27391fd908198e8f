// SPDX-License-Identifier: Apache-2.0
//
// URLs: origins, what may be shown of one, what may follow on one. Pure; any thread. Opens nothing.
#include "pull/url.h"

#include <assert.h>
#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static CURLU *parse(const char *url) {
  CURLU *parsed = curl_url();
  if (parsed == NULL) return NULL;
  if (curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK) return parsed;
  curl_url_cleanup(parsed);
  return NULL;
}

static bool take(CURLU *parsed, CURLUPart part, unsigned flags, char *out, size_t size) {
  char *text = NULL;
  out[0] = '\0';
  if (curl_url_get(parsed, part, &text, flags) != CURLUE_OK || text == NULL) return false;
  bool fits = rh_text_copy(out, size, text);
  curl_free(text);
  return fits;
}

bool rh_url_origin(const char *url, char *out, size_t size) {
  assert(url != NULL && size > 0);
  out[0] = '\0';
  CURLU *parsed = parse(url);
  if (parsed == NULL) return false;
  char scheme[16], host[256], port[8];
  bool fine = take(parsed, CURLUPART_SCHEME, 0, scheme, sizeof scheme) &&
              take(parsed, CURLUPART_HOST, 0, host, sizeof host) &&
              take(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof port);
  curl_url_cleanup(parsed);
  if (!fine || (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)) return false;
  for (char *c = host; *c != '\0'; c++) *c = (char)tolower((unsigned char)*c);
  int length = snprintf(out, size, "%s://%s:%s", scheme, host, port);
  if (length > 0 && (size_t)length < size) return true;
  out[0] = '\0';
  return false;
}

void rh_url_public(const char *url, char *out, size_t size) {
  CURLU *parsed = parse(url);
  bool shown = false;
  if (parsed != NULL) {
    (void)curl_url_set(parsed, CURLUPART_USER, NULL, 0);
    (void)curl_url_set(parsed, CURLUPART_PASSWORD, NULL, 0);
    (void)curl_url_set(parsed, CURLUPART_QUERY, NULL, 0);
    (void)curl_url_set(parsed, CURLUPART_FRAGMENT, NULL, 0);
    char *text = NULL;
    if (curl_url_get(parsed, CURLUPART_URL, &text, 0) == CURLUE_OK && text != NULL) {
      (void)rh_text_copy(out, size, text);
      curl_free(text);
      shown = true;
    }
    curl_url_cleanup(parsed);
  }
  if (!shown) (void)rh_text_copy(out, size, "a URL that cannot be read");
}

void rh_url_file_name(const char *url, char *out, size_t size) {
  out[0] = '\0';
  CURLU *parsed = parse(url);
  if (parsed == NULL) return;
  char *path = NULL;
  if (curl_url_get(parsed, CURLUPART_PATH, &path, CURLU_URLDECODE) == CURLUE_OK && path != NULL) {
    const char *slash = strrchr(path, '/');
    (void)rh_text_copy(out, size, slash == NULL ? path : slash + 1);
    curl_free(path);
  }
  curl_url_cleanup(parsed);
}

bool rh_url_has_credentials(const char *url) {
  CURLU *parsed = parse(url);
  if (parsed == NULL) return false;
  char text[8];
  (void)take(parsed, CURLUPART_USER, 0, text, sizeof text);
  bool found = text[0] != '\0';
  (void)take(parsed, CURLUPART_PASSWORD, 0, text, sizeof text);
  found = found || text[0] != '\0';
  curl_url_cleanup(parsed);
  return found;
}

rh_status rh_url_check_redirect(const char *from, const char *to, rh_error *error) {
  char old_origin[320], new_origin[320], shown[256];
  rh_url_public(to, shown, sizeof shown);
  if (!rh_url_origin(from, old_origin, sizeof old_origin) || !rh_url_origin(to, new_origin, sizeof new_origin))
    return rh_fail(error, RH_UNAVAILABLE, "the server redirects to %s, which is neither http nor https", shown);
  if (rh_text_starts_with(old_origin, "https:") && rh_text_starts_with(new_origin, "http:"))
    return rh_fail(error, RH_UNAVAILABLE,
                   "the server redirects from https to %s, which anybody on the way could change", shown);
  return RH_OK;
}

rh_status rh_url_append_encoded(rh_dynbuf *out, const char *text, bool keep_slash) {
  static const char digits[] = "0123456789ABCDEF";
  for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
    bool plain = (*c < 0x80 && isalnum(*c)) || strchr("-._~", *c) != NULL || (keep_slash && *c == '/');
    char coded[3] = {'%', digits[*c >> 4], digits[*c & 15]};
    (void)rh_dynbuf_append(out, plain ? (const char *)c : coded, plain ? 1 : 3);
  }
  return out->failed ? RH_TOO_LARGE : RH_OK;
}
