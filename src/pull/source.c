// SPDX-License-Identifier: Apache-2.0
//
// Sources as people type them, and the name a model gets from where it comes. Pure; any thread. Looks at no disk and no
// network; whether a thing is there, the backends find out.
#include "pull/source.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "model/known.h"
#include "model/names.h"
#include "pull/internal.h"
#include "pull/url.h"

static rh_status put(char *out, size_t size, const char *text, size_t length, const char *what, rh_error *error) {
  if (length >= size)
    return rh_fail_param(error, RH_TOO_LARGE, "source", "the %s is longer than %zu bytes", what, size - 1);
  memcpy(out, text, length);
  out[length] = '\0';
  return RH_OK;
}

static bool is_repository_part(const char *text, size_t length) {
  if (length == 0 || length > 96 || text[0] == '.' || text[0] == '-') return false;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c >= 0x80 || (!isalnum(c) && c != '.' && c != '_' && c != '-')) return false;
  }
  return true;
}

static rh_status parse_hub(const char *rest, rh_source *out, rh_error *error) {
  out->kind = RH_SOURCE_HUB;
  const char *colon = strchrnul(rest, ':');
  const char *at = memchr(rest, '@', (size_t)(colon - rest));
  const char *end = at == NULL ? colon : at;
  const char *slash = memchr(rest, '/', (size_t)(end - rest));
  bool fine = slash == NULL ? is_repository_part(rest, (size_t)(end - rest))
                            : is_repository_part(rest, (size_t)(slash - rest)) &&
                                  is_repository_part(slash + 1, (size_t)(end - slash - 1));
  if (!fine)
    return rh_fail_param(error, RH_INVALID, "source",
                         "\"%.100s\" names no repository: write hf:ORG/REPO[@REVISION][:FILE or QUANTIZATION]", rest);
  rh_status status = put(out->location, sizeof out->location, rest, (size_t)(end - rest), "repository", error);
  if (status == RH_OK && at != NULL) {
    if (at + 1 == colon) return rh_fail_param(error, RH_INVALID, "source", "there is no revision after the @");
    status = put(out->revision, sizeof out->revision, at + 1, (size_t)(colon - at - 1), "revision", error);
  }
  if (status == RH_OK && *colon == ':') {
    if (colon[1] == '\0')
      return rh_fail_param(error, RH_INVALID, "source", "there is no file or quantization after the colon");
    status = put(out->selection, sizeof out->selection, colon + 1, strlen(colon + 1), "file name", error);
  }
  if (status == RH_OK && out->selection[0] != '\0' && !rh_pull_path_is_safe(out->selection))
    return rh_fail_param(error, RH_INVALID, "source", "\"%.100s\" is no path inside a repository", out->selection);
  return status;
}

static rh_status parse_digest(const char *fragment, rh_source *out, rh_error *error) {
  if (!rh_text_starts_with(fragment, "sha256="))
    return rh_fail_param(error, RH_INVALID, "source", "after # only sha256=HEX is known, not \"%.60s\"", fragment);
  const char *hex = fragment + strlen("sha256=");
  bool fine = strlen(hex) == RH_SHA256_HEX - 1 && strspn(hex, "0123456789abcdefABCDEF") == RH_SHA256_HEX - 1;
  if (!fine) return rh_fail_param(error, RH_INVALID, "source", "#sha256= wants 64 hexadecimal digits");
  for (size_t i = 0; i < RH_SHA256_HEX; i++) out->sha256[i] = (char)tolower((unsigned char)hex[i]);
  return RH_OK;
}

static rh_status parse_http(const char *text, rh_source *out, rh_error *error) {
  out->kind = RH_SOURCE_HTTP;
  const char *hash = strchrnul(text, '#');
  rh_status status = put(out->location, sizeof out->location, text, (size_t)(hash - text), "URL", error);
  if (status == RH_OK && *hash == '#') status = parse_digest(hash + 1, out, error);
  if (status != RH_OK) return status;
  char origin[320], file[256];
  if (!rh_url_origin(out->location, origin, sizeof origin))
    return rh_fail_param(error, RH_INVALID, "source", "this is no URL that can be read: write https://HOST/PATH/FILE");
  if (rh_url_has_credentials(out->location))
    return rh_fail_param(error, RH_INVALID, "source",
                         "the URL holds a user or password, which would be remembered with the model: fetch it with "
                         "another program and pull file:PATH");
  rh_url_file_name(out->location, file, sizeof file);
  if (file[0] == '\0')
    return rh_fail_param(error, RH_INVALID, "source", "the URL names no file (it ends with a slash)");
  return RH_OK;
}

static rh_status parse_s3(const char *rest, rh_source *out, rh_error *error) {
  out->kind = RH_SOURCE_S3;
  const char *hash = strstr(rest, "#sha256=");
  size_t length = hash == NULL ? strlen(rest) : (size_t)(hash - rest);
  rh_status status = put(out->location, sizeof out->location, rest, length, "bucket and key", error);
  if (status == RH_OK && hash != NULL) status = parse_digest(hash + 1, out, error);
  if (status != RH_OK) return status;
  const char *slash = strchr(out->location, '/');
  size_t bucket = slash == NULL ? 0 : (size_t)(slash - out->location);
  // Names of buckets: 3 to 63 of a-z 0-9 . - (older ones also A-Z and _).
  if (bucket < 3 || bucket > 255 || !is_repository_part(out->location, bucket < 96 ? bucket : 0) || slash[1] == '\0')
    return rh_fail_param(error, RH_INVALID, "source", "write s3://BUCKET/KEY, or s3://BUCKET/FOLDER/ for all below it");
  return RH_OK;
}

static rh_status parse_file(const char *rest, rh_source *out, rh_error *error) {
  out->kind = RH_SOURCE_FILE;
  if (rh_text_starts_with(rest, "///")) rest += 2;
  if (rest[0] == '\0') return rh_fail_param(error, RH_INVALID, "source", "there is no path after file:");
  return put(out->location, sizeof out->location, rest, strlen(rest), "path", error);
}

// pypi:NAME[==VERSION][#PATH] and npm:[@SCOPE/]NAME[@VERSION][#PATH]
static rh_status parse_package(rh_source_kind kind, const char *rest, rh_source *out, rh_error *error) {
  out->kind = kind;
  const char *hash = strchrnul(rest, '#');
  const char *version = kind == RH_SOURCE_PYPI ? strstr(rest, "==") : rest[0] == '\0' ? NULL : strchr(rest + 1, '@');
  if (version != NULL && version > hash) version = NULL;
  const char *end = version == NULL ? hash : version;
  size_t mark = kind == RH_SOURCE_PYPI ? 2 : 1;
  size_t allowed =
      strspn(rest, kind == RH_SOURCE_PYPI ? "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
                                          : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@/");
  // A leading '-' would be an option to pip or npm.
  if (end == rest || rest[0] == '-' || rest + allowed < end)
    return rh_fail_param(
        error, RH_INVALID, "source", "\"%.100s\" names no package: write %s", rest,
        kind == RH_SOURCE_PYPI ? "pypi:NAME[==VERSION][#PATH/IN/WHEEL]" : "npm:NAME[@VERSION][#PATH/IN/PACKAGE]");
  rh_status status = put(out->location, sizeof out->location, rest, (size_t)(end - rest), "package", error);
  if (status == RH_OK && version != NULL) {
    const char *from = version + mark;
    size_t length = (size_t)(hash - from);
    size_t plain = strspn(from, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+!-");
    if (length == 0 || plain < length)
      return rh_fail_param(error, RH_INVALID, "source", "the package's version is missing or no plain version");
    status = put(out->revision, sizeof out->revision, from, length, "version", error);
  }
  if (status == RH_OK && *hash == '#')
    status = put(out->selection, sizeof out->selection, hash + 1, strlen(hash + 1), "path in the package", error);
  if (status == RH_OK && out->selection[0] != '\0' && !rh_pull_path_is_safe(out->selection))
    return rh_fail_param(error, RH_INVALID, "source", "\"%.100s\" is no path inside a package", out->selection);
  return status;
}

// A bare name: the catalogue's, or ORG/REPO of a hub.
static rh_status parse_bare(const char *text, rh_source *out, rh_error *error) {
  if (text[0] == '/' || text[0] == '.' || text[0] == '~')
    return rh_fail_param(error, RH_INVALID, "source", "to take a file of this machine, write file:%.200s", text);
  if (strstr(text, "://") != NULL)
    return rh_fail_param(error, RH_INVALID, "source",
                         "\"%.100s\": known are hf:, https://, s3://, file:, pypi:, npm: and names of the catalogue "
                         "(`roundhouse list --known`)",
                         text);
  const char *end = text + strcspn(text, ":@");
  if (memchr(text, '/', (size_t)(end - text)) != NULL && rh_known_find(text) == NULL)
    return parse_hub(text, out, error);
  rh_model_ref ref;
  rh_status status = rh_model_ref_parse(text, &ref, error);
  if (status != RH_OK) return status;
  out->kind = RH_SOURCE_CATALOGUE;
  return put(out->location, sizeof out->location, text, strlen(text), "name", error);
}

rh_status rh_source_parse(const char *text, rh_source *out, rh_error *error) {
  assert(text != NULL && out != NULL);
  *out = (rh_source){0};
  for (const char *c = text; *c != '\0'; c++) {
    if ((unsigned char)*c < 0x20 || *c == 0x7f)
      return rh_fail_param(error, RH_INVALID, "source", "the source holds a control character");
  }
  if (text[0] == '\0') return rh_fail_param(error, RH_INVALID, "source", "there is no source: say what to pull");
  if (strncasecmp(text, "https://", 8) == 0 || strncasecmp(text, "http://", 7) == 0)
    return parse_http(text, out, error);
  if (rh_text_starts_with(text, "hf:")) return parse_hub(text + 3, out, error);
  if (rh_text_starts_with(text, "s3://")) return parse_s3(text + 5, out, error);
  if (rh_text_starts_with(text, "file:")) return parse_file(text + 5, out, error);
  if (rh_text_starts_with(text, "pypi:")) return parse_package(RH_SOURCE_PYPI, text + 5, out, error);
  if (rh_text_starts_with(text, "npm:")) return parse_package(RH_SOURCE_NPM, text + 4, out, error);
  return parse_bare(text, out, error);
}

void rh_source_public(const rh_source *source, char *out, size_t size) {
  const char *revision = source->revision, *selection = source->selection;
  const char *mark = selection[0] == '\0' ? "" : "#";
  switch (source->kind) {
    case RH_SOURCE_HTTP: rh_url_public(source->location, out, size); return;
    case RH_SOURCE_HUB:
      (void)snprintf(out, size, "hf:%s%s%s%s%s", source->location, revision[0] == '\0' ? "" : "@", revision,
                     selection[0] == '\0' ? "" : ":", selection);
      return;
    case RH_SOURCE_S3: (void)snprintf(out, size, "s3://%s", source->location); return;
    case RH_SOURCE_FILE: (void)snprintf(out, size, "file:%s", source->location); return;
    case RH_SOURCE_PYPI:
      (void)snprintf(out, size, "pypi:%s%s%s%s%s", source->location, revision[0] == '\0' ? "" : "==", revision, mark,
                     selection);
      return;
    case RH_SOURCE_NPM:
      (void)snprintf(out, size, "npm:%s%s%s%s%s", source->location, revision[0] == '\0' ? "" : "@", revision, mark,
                     selection);
      return;
    case RH_SOURCE_CATALOGUE: (void)rh_text_copy(out, size, source->location); return;
  }
}

// --- names ---------------------------------------------------------------------------------------------------------

static void drop_suffix(char *name, const char *suffix) {
  size_t length = strlen(name), size = strlen(suffix);
  if (length > size && strcasecmp(name + length - size, suffix) == 0) name[length - size] = '\0';
}

// The part of the location that says most: the repository without its owner, the file, the package.
static void essence(const rh_source *source, char *out, size_t size) {
  char text[256];
  bool is_path = source->kind == RH_SOURCE_HTTP || source->kind == RH_SOURCE_S3 || source->kind == RH_SOURCE_FILE;
  bool package = source->kind == RH_SOURCE_PYPI || source->kind == RH_SOURCE_NPM;
  const char *from = package && source->selection[0] != '\0' ? source->selection : source->location;
  char copy[sizeof source->location];
  (void)rh_text_copy(copy, sizeof copy, from);
  for (size_t length = strlen(copy); length > 1 && copy[length - 1] == '/'; length--) copy[length - 1] = '\0';
  if (source->kind == RH_SOURCE_HTTP) {
    rh_url_file_name(source->location, text, sizeof text);
  } else {
    const char *slash = strrchr(copy, '/');
    (void)rh_text_copy(text, sizeof text, slash == NULL ? copy : slash + 1);
  }
  if (is_path || (package && source->selection[0] != '\0')) {
    static const char *const suffixes[] = {".gguf", ".onnx", ".safetensors", ".engine", ".plan"};
    size_t stem;
    long number, count;
    if (rh_part_of(text, &stem, &number, &count)) text[stem] = '\0';
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) drop_suffix(text, suffixes[i]);
  }
  drop_suffix(text, "-GGUF");
  drop_suffix(text, "_GGUF");
  (void)rh_text_copy(out, size, text);
}

void rh_source_name(const rh_source *source, const char *quantization, rh_model_ref *out) {
  assert(source != NULL && out != NULL);
  *out = (rh_model_ref){0};
  if (source->kind == RH_SOURCE_CATALOGUE) {
    rh_error ignored;
    if (rh_model_ref_parse(source->location, out, &ignored) != RH_OK) *out = (rh_model_ref){0};
    return;
  }
  char text[256], found[RH_QUANTIZATION_MAX] = "";
  essence(source, text, sizeof text);
  size_t start = 0;
  // "name-Q4_K_M": the quantization becomes the version, so that several stand side by side.
  if (rh_quantization_find(text, strlen(text), &start, found) && start > 1 && start + strlen(found) == strlen(text) &&
      strchr("-._", text[start - 1]) != NULL)
    text[start - 1] = '\0';
  else
    found[0] = '\0';
  rh_model_ref_clean(text, out->name, sizeof out->name);
  if (out->name[0] == '\0') (void)rh_text_copy(out->name, sizeof out->name, "model");
  const char *version = quantization != NULL && quantization[0] != '\0' ? quantization : found;
  if (version[0] == '\0' && source->kind != RH_SOURCE_HTTP) version = source->revision;
  rh_model_ref_clean(version[0] == '\0' ? RH_VERSION_LATEST : version, out->version, sizeof out->version);
  for (char *c = out->version; *c != '\0'; c++) {
    if (*c == ':' || *c == '/') *c = '-';
  }
  // Both together must fit where a name fits.
  size_t room = RH_MODEL_NAME_MAX - 1 - strlen(out->version);
  if (strlen(out->version) > RH_MODEL_NAME_MAX / 2) {
    out->version[RH_MODEL_NAME_MAX / 2] = '\0';
    room = RH_MODEL_NAME_MAX - 1 - RH_MODEL_NAME_MAX / 2;
  }
  if (strlen(out->name) > room) out->name[room] = '\0';
}
