// SPDX-License-Identifier: Apache-2.0
//
// hf: a Hugging Face hub. Its listing of a repository (with sizes, digests, licence and the commit) makes the plan; files
// are then fetched from that very commit, so that a branch may move meanwhile. The token is told to the hub's own origin
// and nobody else: fetch.c sees to it. The pull's thread.
//
// The shape of the answer is that of GET /api/models/REPO/revision/REV?blobs=true as the huggingface_hub package reads it.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "pull/backends.h"
#include "pull/hub_select.h"
#include "pull/url.h"

#define HUB_FILES_MAX 20000

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value == NULL || value[0] == '\0' ? NULL : value;
}

static const char *endpoint(void) {
  const char *own = variable("HF_ENDPOINT");
  return own == NULL ? "https://huggingface.co" : own;
}

// A token is one printable word; anything else would break the header it goes into.
static char *clean_token(const char *text) {
  size_t start = strspn(text, " \t\r\n");
  size_t length = strcspn(text + start, " \t\r\n");
  for (size_t i = 0; i < length; i++) {
    if (text[start + i] <= 0x20 || text[start + i] == 0x7f) return NULL;
  }
  return length == 0 || length > 4096 ? NULL : strndup(text + start, length);
}

static char *token_from_file(void) {
  char path[1024];
  const char *own = variable("HF_TOKEN_PATH"), *home = variable("HF_HOME");
  if (own != NULL)
    (void)snprintf(path, sizeof path, "%s", own);
  else if (home != NULL)
    (void)snprintf(path, sizeof path, "%s/token", home);
  else if (variable("HOME") != NULL)
    (void)snprintf(path, sizeof path, "%s/.cache/huggingface/token", variable("HOME"));
  else
    return NULL;
  rh_dynbuf text;
  rh_dynbuf_init(&text, 8192);
  char *token = rh_file_read(path, &text, NULL) == RH_OK ? clean_token(rh_dynbuf_data(&text)) : NULL;
  if (text.data != NULL) explicit_bzero(text.data, text.capacity);
  rh_dynbuf_free(&text);
  return token;
}

static void take_token(rh_pull_auth *auth) {
  const char *own = variable("HF_TOKEN");
  if (own == NULL) own = variable("HUGGING_FACE_HUB_TOKEN");
  auth->bearer = own != NULL ? clean_token(own) : token_from_file();
  (void)rh_url_origin(endpoint(), auth->origin, sizeof auth->origin);
}

static rh_status explain(rh_pulling *pull, const rh_fetch *answer, rh_error *error) {
  const char *repository = pull->source.location, *code = answer->head.error_code;
  const char *revision = pull->source.revision[0] == '\0' ? "main" : pull->source.revision;
  char shown[256];
  rh_url_public(endpoint(), shown, sizeof shown);
  long http = answer->head.status;
  bool with_token = pull->plan.auth.bearer != NULL;
  bool gated = pull->plan.gated || strcmp(code, "GatedRepo") == 0 || strstr(answer->complaint, "gated") != NULL;
  if ((http == 401 || http == 403) && gated)
    return rh_fail(error, RH_UNAVAILABLE,
                   "%s is gated: its licence must be accepted at %s%s%s while signed in, then set HF_TOKEN to a token "
                   "of that account (HTTP %ld%s)",
                   repository, shown, rh_text_ends_with(shown, "/") ? "" : "/", repository, http,
                   with_token ? "; the token that is set may not read it" : "; no token is set");
  // A hub does not tell strangers whether a private repository exists.
  if (http == 401 || http == 403)
    return rh_fail(error, RH_NOT_FOUND, "there is no repository %s, or it is private (HTTP %ld from %s). %s",
                   repository, http, shown,
                   with_token ? "The token that is set may not read it" : "If it is private, set HF_TOKEN");
  if (http == 404 && strcmp(code, "RevisionNotFound") == 0)
    return rh_fail(error, RH_NOT_FOUND, "%s has no revision \"%s\"", repository, revision);
  if (http == 404 && strcmp(code, "EntryNotFound") == 0)
    return rh_fail(error, RH_NOT_FOUND, "a file of %s is not there any more", repository);
  if (http == 404) return rh_fail(error, RH_NOT_FOUND, "%s has no repository %s (HTTP 404)", shown, repository);
  return RH_OK;
}

static rh_status fetch_listing(rh_pulling *pull, json_t **out, rh_error *error) {
  rh_dynbuf url, body;
  rh_fetch fetch = {0};
  rh_dynbuf_init(&url, RH_PULL_URL_MAX);
  rh_dynbuf_init(&body, RH_PULL_ANSWER_BYTES_MAX);
  const char *base = endpoint(), *revision = pull->source.revision;
  size_t length = strlen(base);
  while (length > 0 && base[length - 1] == '/') length--;
  rh_status status = rh_dynbuf_printf(&url, "%.*s/api/models/%s/revision/", (int)length, base, pull->source.location);
  if (status == RH_OK) status = rh_url_append_encoded(&url, revision[0] == '\0' ? "main" : revision, false);
  if (status == RH_OK) status = rh_dynbuf_append_text(&url, "?blobs=true");
  if (status != RH_OK) (void)rh_fail(error, status, "the address of the repository is too long");
  if (status == RH_OK) status = rh_fetch_init(&fetch, error);
  if (status == RH_OK) status = rh_fetch_document(pull, rh_dynbuf_data(&url), "the repository", &fetch, &body, error);
  if (status == RH_OK && fetch.head.status != 200) {
    char reason[300];
    rh_fetch_describe(&fetch, CURLE_OK, reason, sizeof reason);
    status = rh_pull_explain(pull, &fetch, "the repository", reason, error);
  }
  if (status == RH_OK) {
    rh_error broken = {0};
    *out = rh_json_parse(rh_dynbuf_data(&body), body.length, &broken);
    if (!json_is_object(*out)) {
      json_decref(*out);
      *out = NULL;
      char shown[256];
      rh_url_public(base, shown, sizeof shown);
      status = rh_fail(error, RH_UNAVAILABLE, "%s does not answer like a Hugging Face hub (%s)", shown,
                       broken.message[0] == '\0' ? "no object" : broken.message);
    }
  }
  rh_fetch_release(&fetch);
  rh_dynbuf_free(&url);
  rh_dynbuf_free(&body);
  return status;
}

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text == NULL ? "" : text;
}

static bool is_hex(const char *text, size_t length) {
  return strlen(text) == length && strspn(text, "0123456789abcdef") == length;
}

static void take_facts(rh_plan *plan, const json_t *root) {
  const json_t *card = json_object_get(root, "cardData");
  const json_t *gated = json_object_get(root, "gated");
  plan->gated = json_is_string(gated) || json_is_true(gated);
  const json_t *licence = json_object_get(card, "license");
  if (json_is_array(licence)) licence = json_array_get(licence, 0);
  const char *name = json_is_string(licence) ? json_string_value(licence) : "";
  // "other" says nothing; then license_name does.
  if (strcmp(name, "other") == 0 && text_of(card, "license_name")[0] != '\0') name = text_of(card, "license_name");
  (void)rh_text_copy(plan->licence, sizeof plan->licence, name);
  const char *link = text_of(card, "license_link");
  if (link[0] != '\0' || plan->gated)
    (void)snprintf(plan->licence_note, sizeof plan->licence_note, "%s%s%.180s",
                   plan->gated ? "gated: the terms must be accepted at the hub" : "",
                   plan->gated && link[0] != '\0' ? "; " : "", link);
  (void)rh_text_copy(plan->revision, sizeof plan->revision, text_of(root, "sha"));
  (void)rh_text_copy(plan->task, sizeof plan->task, text_of(root, "pipeline_tag"));
}

// The file's place at the commit that was listed.
static rh_status add_chosen(rh_pulling *pull, const rh_hub_entry *entry, const json_t *sibling, rh_error *error) {
  rh_plan *plan = &pull->plan;
  const json_t *lfs = json_object_get(sibling, "lfs");
  const char *sha256 = text_of(lfs, "sha256"), *blob = text_of(sibling, "blobId");
  const char *base = endpoint();
  size_t length = strlen(base);
  while (length > 0 && base[length - 1] == '/') length--;
  rh_dynbuf url;
  rh_dynbuf_init(&url, RH_PULL_URL_MAX);
  rh_status status = rh_dynbuf_printf(&url, "%.*s/%s/resolve/", (int)length, base, pull->source.location);
  if (status == RH_OK) status = rh_url_append_encoded(&url, plan->revision, false);
  if (status == RH_OK) status = rh_dynbuf_append_char(&url, '/');
  if (status == RH_OK) status = rh_url_append_encoded(&url, entry->path, true);
  if (status != RH_OK)
    (void)rh_fail(error, status, "the address of a file is too long");
  else
    status = rh_plan_add_file(plan, entry->as, rh_dynbuf_data(&url), NULL, entry->bytes,
                              is_hex(sha256, 64) ? sha256 : "", error);
  rh_dynbuf_free(&url);
  if (status != RH_OK || sha256[0] != '\0' || !is_hex(blob, 40)) return status;
  rh_pull_file *file = &plan->files[plan->count - 1];
  (void)rh_text_copy(file->git_sha1, sizeof file->git_sha1, blob);
  (void)snprintf(file->validator, sizeof file->validator, "id:git:%s", blob);
  return RH_OK;
}

static rh_status select_files(rh_pulling *pull, const json_t *siblings, rh_hub_entry *entries, size_t count,
                              rh_error *error) {
  rh_hub_choice choice;
  rh_plan *plan = &pull->plan;
  bool by_catalogue = pull->known != NULL && pull->known->file_count > 0;
  rh_status status = by_catalogue ? rh_hub_select_known(entries, count, pull->known, &choice, error)
                                  : rh_hub_select(entries, count, pull->source.selection, &choice, error);
  for (size_t i = 0; status == RH_OK && i < count; i++) {
    if (entries[i].chosen) status = add_chosen(pull, &entries[i], json_array_get(siblings, i), error);
  }
  if (status != RH_OK) return status;
  plan->format = choice.format;
  (void)rh_text_copy(plan->quantization, sizeof plan->quantization, choice.quantization);
  (void)rh_text_copy(plan->choice, sizeof plan->choice, choice.note);
  return RH_OK;
}

static rh_status read_listing(rh_pulling *pull, const json_t *root, rh_error *error) {
  take_facts(&pull->plan, root);
  const json_t *siblings = json_object_get(root, "siblings");
  size_t count = json_array_size(siblings);
  if (count == 0 || count > HUB_FILES_MAX)
    return rh_fail(error, count == 0 ? RH_NOT_FOUND : RH_TOO_LARGE, "the repository %s has %zu files",
                   pull->source.location, count);
  if (pull->plan.revision[0] == '\0')
    (void)rh_text_copy(pull->plan.revision, sizeof pull->plan.revision,
                       pull->source.revision[0] == '\0' ? "main" : pull->source.revision);
  rh_hub_entry *entries = calloc(count, sizeof *entries);
  if (entries == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the list of a repository");
  for (size_t i = 0; i < count; i++) {
    const json_t *sibling = json_array_get(siblings, i);
    const json_t *size = json_object_get(json_object_get(sibling, "lfs"), "size");
    if (!json_is_integer(size)) size = json_object_get(sibling, "size");
    entries[i].path = text_of(sibling, "rfilename");
    entries[i].bytes = json_is_integer(size) && json_integer_value(size) >= 0 ? json_integer_value(size) : -1;
  }
  rh_status status = select_files(pull, siblings, entries, count, error);
  free(entries);
  return status;
}

static rh_status resolve(rh_pulling *pull, rh_error *error) {
  char origin[320];
  if (!rh_url_origin(endpoint(), origin, sizeof origin) || rh_url_has_credentials(endpoint()))
    return rh_fail(error, RH_INVALID, "HF_ENDPOINT is no http or https address without credentials");
  take_token(&pull->plan.auth);
  json_t *root = NULL;
  rh_status status = fetch_listing(pull, &root, error);
  if (status == RH_OK) status = read_listing(pull, root, error);
  json_decref(root);
  return status;
}

const rh_pull_backend rh_pull_hub = {.kind = RH_SOURCE_HUB, .network = true, .resolve = resolve, .explain = explain};
