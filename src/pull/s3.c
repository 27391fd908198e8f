// SPDX-License-Identifier: Apache-2.0
//
// s3://BUCKET/KEY: one object, or all below KEY/. Requests are signed by libcurl (SigV4) with the AWS_* variables, or not
// signed when there are none. libcurl 7.88 signs path and query as they stand, so both are written here the way AWS
// counts them: percent-encoded, parameters sorted by name. The pull's thread.
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "pull/backends.h"
#include "pull/s3_list.h"
#include "pull/source.h"
#include "pull/url.h"

#define PAGES_MAX 16  // of 1000 keys each; the plan's own limit is lower

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value == NULL || value[0] == '\0' ? NULL : value;
}

static const char *region(void) {
  const char *name = variable("AWS_REGION");
  if (name == NULL) name = variable("AWS_DEFAULT_REGION");
  return name == NULL ? "us-east-1" : name;
}

// https://BUCKET.s3.REGION.amazonaws.com, or ENDPOINT/BUCKET; then /KEY. A bucket with dots does not match the
// certificate, so there the path style is used as well.
static rh_status base_url(const char *bucket, rh_dynbuf *out, rh_error *error) {
  const char *endpoint = variable("AWS_ENDPOINT_URL_S3");
  if (endpoint == NULL) endpoint = variable("AWS_ENDPOINT_URL");
  rh_status status;
  if (endpoint != NULL) {
    char origin[320];
    if (!rh_url_origin(endpoint, origin, sizeof origin) || rh_url_has_credentials(endpoint))
      return rh_fail(error, RH_INVALID, "AWS_ENDPOINT_URL is no http or https address without credentials");
    size_t length = strlen(endpoint);
    while (length > 0 && endpoint[length - 1] == '/') length--;
    status = rh_dynbuf_printf(out, "%.*s/%s", (int)length, endpoint, bucket);
  } else if (strchr(bucket, '.') != NULL) {
    status = rh_dynbuf_printf(out, "https://s3.%s.amazonaws.com/%s", region(), bucket);
  } else {
    status = rh_dynbuf_printf(out, "https://%s.s3.%s.amazonaws.com", bucket, region());
  }
  return status == RH_OK ? RH_OK : rh_fail(error, status, "the address of the bucket is too long");
}

static rh_status take_credentials(rh_pull_auth *auth, const char *url, rh_error *error) {
  const char *key = variable("AWS_ACCESS_KEY_ID"), *secret = variable("AWS_SECRET_ACCESS_KEY");
  const char *token = variable("AWS_SESSION_TOKEN");
  if ((key == NULL) != (secret == NULL))
    return rh_fail(error, RH_INVALID, "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set");
  if (key == NULL) return RH_OK;
  if (!rh_text_copy(auth->aws_region, sizeof auth->aws_region, region()) || strlen(key) > 200 ||
      strchr(key, ':') != NULL)
    return rh_fail(error, RH_INVALID, "AWS_ACCESS_KEY_ID or AWS_REGION is not of a form that AWS gives out");
  if (asprintf(&auth->aws_key, "%s:%s", key, secret) < 0) auth->aws_key = NULL;
  if (token != NULL) auth->aws_token = strdup(token);
  if (auth->aws_key == NULL || (token != NULL && auth->aws_token == NULL))
    return rh_fail(error, RH_NO_MEMORY, "no memory for credentials");
  (void)rh_url_origin(url, auth->origin, sizeof auth->origin);
  return RH_OK;
}

static rh_status add_key(rh_pulling *pull, const char *base, const char *key, size_t prefix, int64_t bytes,
                         const char *sha256, const char *validator, rh_error *error) {
  rh_dynbuf url;
  rh_dynbuf_init(&url, RH_PULL_URL_MAX);
  rh_status status = rh_dynbuf_printf(&url, "%s/", base);
  if (status == RH_OK) status = rh_url_append_encoded(&url, key, true);
  if (status == RH_OK)
    status = rh_plan_add_file(&pull->plan, key + prefix, rh_dynbuf_data(&url), NULL, bytes, sha256, error);
  else
    (void)rh_fail(error, status, "the key %.80s is too long", key);
  rh_dynbuf_free(&url);
  if (status != RH_OK) return status;
  rh_pull_file *file = &pull->plan.files[pull->plan.count - 1];
  (void)rh_text_copy(file->validator, sizeof file->validator, validator);
  if (pull->plan.quantization[0] == '\0') (void)rh_quantization_of(key, pull->plan.quantization);
  return RH_OK;
}

static rh_status explain(rh_pulling *pull, const rh_fetch *answer, rh_error *error) {
  char code[64] = "", shown[300];
  (void)rh_s3_error_code(answer->complaint, code, sizeof code);
  rh_source_public(&pull->source, shown, sizeof shown);
  long http = answer->head.status;
  const char *why = code[0] == '\0' ? "no reason was given" : code;
  bool with_key = pull->plan.auth.aws_key != NULL;
  if (answer->head.region[0] != '\0' && strcmp(answer->head.region, region()) != 0 && http != 404)
    return rh_fail(error, RH_INVALID, "the bucket of %s lies in the region %s: set AWS_REGION=%s", shown,
                   answer->head.region, answer->head.region);
  if (strcmp(code, "SignatureDoesNotMatch") == 0)
    return rh_fail(error, RH_INVALID,
                   "%s: the signature does not match (HTTP %ld): AWS_SECRET_ACCESS_KEY does not belong to "
                   "AWS_ACCESS_KEY_ID, or this machine's clock is wrong",
                   shown, http);
  if (strcmp(code, "InvalidAccessKeyId") == 0)
    return rh_fail(error, RH_INVALID, "%s: the server does not know this AWS_ACCESS_KEY_ID (HTTP %ld)", shown, http);
  if (http == 401 || http == 403)
    return rh_fail(error, RH_UNAVAILABLE, "%s: access was denied (HTTP %ld, %s). %s", shown, http, why,
                   with_key ? "These credentials may not read it, or it does not exist"
                            : "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  if (http == 404) return rh_fail(error, RH_NOT_FOUND, "%s is not there (HTTP 404, %s)", shown, why);
  return rh_fail(error, RH_UNAVAILABLE, "%s could not be fetched (HTTP %ld, %s)", shown, http, why);
}

static rh_status one_object(rh_pulling *pull, const char *base, const char *key, rh_fetch *fetch, rh_error *error) {
  const char *slash = strrchr(key, '/');
  size_t prefix = slash == NULL ? 0 : (size_t)(slash + 1 - key);
  rh_status status = add_key(pull, base, key, prefix, -1, pull->source.sha256, "", error);
  if (status != RH_OK) return status;
  rh_pull_file *file = &pull->plan.files[0];
  // A head request would say less when it fails: its answer has no body.
  status = rh_fetch_probe(pull, file->url, file->path, fetch, error);
  if (status != RH_OK) return status;
  const rh_fetch_head *head = &fetch->head;
  bool empty = head->status == 416;
  if (head->status != 200 && head->status != 206 && !empty) return rh_pull_explain(pull, fetch, file->path, "", error);
  file->bytes = empty ? 0 : head->status == 200 ? head->length : head->total;
  (void)rh_text_copy(file->validator, sizeof file->validator, rh_fetch_validator(head));
  return RH_OK;
}

typedef struct folder {
  rh_pulling *pull;
  const char *base, *prefix;
} folder;

static rh_status add_listed(void *ctx, const char *key, int64_t bytes, const char *etag, rh_error *error) {
  const folder *below = ctx;
  size_t prefix = strlen(below->prefix);
  if (strncmp(key, below->prefix, prefix) != 0)
    return rh_fail(error, RH_INVALID, "the server lists a key that was not asked for: %.80s", key);
  // "folder/" itself is a marker that consoles make.
  if (key[prefix] == '\0' || rh_text_ends_with(key, "/")) return RH_OK;
  return add_key(below->pull, below->base, key, prefix, bytes, NULL, etag, error);
}

static rh_status list_page(folder *below, rh_fetch *fetch, rh_dynbuf *body, char *token, size_t token_size,
                           rh_error *error) {
  rh_dynbuf url;
  rh_dynbuf_init(&url, RH_PULL_URL_MAX);
  rh_status status = rh_dynbuf_printf(&url, "%s/?", below->base);
  if (status == RH_OK && token[0] != '\0') {
    (void)rh_dynbuf_append_text(&url, "continuation-token=");
    status = rh_url_append_encoded(&url, token, false);
    (void)rh_dynbuf_append_char(&url, '&');
  }
  (void)rh_dynbuf_append_text(&url, "list-type=2&prefix=");
  if (status == RH_OK) status = rh_url_append_encoded(&url, below->prefix, false);
  if (status == RH_OK)
    status = rh_fetch_document(below->pull, rh_dynbuf_data(&url), "the list of the bucket", fetch, body, error);
  else
    (void)rh_fail(error, status, "the address of the list is too long");
  rh_dynbuf_free(&url);
  if (status != RH_OK) return status;
  if (fetch->head.status != 200) return rh_pull_explain(below->pull, fetch, "the list of the bucket", "", error);
  return rh_s3_list_parse(rh_dynbuf_data(body), body->length, add_listed, below, token, token_size, error);
}

static rh_status all_below(rh_pulling *pull, const char *base, const char *prefix, rh_fetch *fetch, rh_error *error) {
  folder below = {.pull = pull, .base = base, .prefix = prefix};
  rh_dynbuf body;
  rh_dynbuf_init(&body, RH_PULL_ANSWER_BYTES_MAX);
  char token[1025] = "";
  rh_status status = RH_OK;
  int pages = 0;
  do {
    status = list_page(&below, fetch, &body, token, sizeof token, error);
  } while (status == RH_OK && token[0] != '\0' && ++pages < PAGES_MAX);
  rh_dynbuf_free(&body);
  if (status != RH_OK) return status;
  if (token[0] != '\0') return rh_fail(error, RH_TOO_LARGE, "there are too many objects below %s", prefix);
  if (pull->plan.count == 0)
    return rh_fail_param(error, RH_NOT_FOUND, "source", "there is nothing below s3://%s", pull->source.location);
  return RH_OK;
}

static rh_status resolve(rh_pulling *pull, rh_error *error) {
  char bucket[256];
  const char *key = strchr(pull->source.location, '/') + 1;
  size_t length = (size_t)(key - pull->source.location) - 1;
  assert(length < sizeof bucket);
  memcpy(bucket, pull->source.location, length);
  bucket[length] = '\0';
  rh_fetch fetch = {0};
  rh_dynbuf base;
  rh_dynbuf_init(&base, 1024);
  rh_status status = base_url(bucket, &base, error);
  if (status == RH_OK) status = take_credentials(&pull->plan.auth, rh_dynbuf_data(&base), error);
  if (status == RH_OK) status = rh_fetch_init(&fetch, error);
  if (status == RH_OK)
    status = rh_text_ends_with(key, "/") ? all_below(pull, rh_dynbuf_data(&base), key, &fetch, error)
                                         : one_object(pull, rh_dynbuf_data(&base), key, &fetch, error);
  rh_fetch_release(&fetch);
  rh_dynbuf_free(&base);
  return status;
}

const rh_pull_backend rh_pull_s3 = {.kind = RH_SOURCE_S3, .network = true, .resolve = resolve, .explain = explain};
