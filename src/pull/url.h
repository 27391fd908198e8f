// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: what we need to know of URLs. Pure functions over libcurl's URL parser.
#ifndef RH_PULL_URL_H
#define RH_PULL_URL_H

#include <stddef.h>

#include "base/dynbuf.h"
#include "base/status.h"

// "https://host:port" (the port always named, the host in lower case) into `out`; false: no http or https URL.
bool rh_url_origin(const char *url, char *out, size_t size);
// For people and manifests: without user, password, query and fragment, which may hold secrets.
void rh_url_public(const char *url, char *out, size_t size);
// The last part of its path, decoded; "" when there is none.
void rh_url_file_name(const char *url, char *out, size_t size);
bool rh_url_has_credentials(const char *url);
// May a request to `from` be sent on to `to`? RH_UNAVAILABLE with the reason: another scheme than http(s), or https
// left for http.
rh_status rh_url_check_redirect(const char *from, const char *to, rh_error *error) RH_MUST_CHECK;
// Append `text` percent-encoded as AWS and RFC 3986 have it (unreserved characters stay); '/' stays when `keep_slash`.
rh_status rh_url_append_encoded(rh_dynbuf *out, const char *text, bool keep_slash) RH_MUST_CHECK;

#endif
