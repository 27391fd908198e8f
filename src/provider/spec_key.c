// SPDX-License-Identifier: Apache-2.0
//
// Where a provider lives and the key it wants: from the configuration, a file or the environment. Owns nothing but what it puts
// into the spec. Runs once at the start. A key's text never gets into a message.
#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/address.h"
#include "base/dynbuf.h"
#include "base/file.h"
#include "base/text.h"
#include "provider/spec.h"

#define KEY_BYTES_MAX 8192
#define URL_BYTES_MAX 2048
#define EXPANDED_BYTES_MAX (64u * 1024u)

const char *rh_spec_variable(const rh_spec_parse *parse, const char *name) {
  size_t length = strlen(name);
  for (char *const *entry = parse->environment; entry != NULL && *entry != NULL; entry++) {
    if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
  }
  return NULL;
}

rh_status rh_spec_expand(const rh_spec_parse *parse, const char *text, char **out, char missing[static 64]) {
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, EXPANDED_BYTES_MAX);
  rh_status status = RH_OK;
  while (*text != '\0' && status == RH_OK) {
    const char *start = strstr(text, "${");
    size_t plain = start == NULL ? strlen(text) : (size_t)(start - text);
    status = rh_dynbuf_append(&buf, text, plain);
    text += plain;
    if (start == NULL) continue;
    const char *end = strchr(start, '}');
    size_t length = end == NULL ? 0 : (size_t)(end - start) - 2;
    if (length == 0 || length >= 64) {
      status = RH_INVALID;
      break;
    }
    memcpy(missing, start + 2, length);
    missing[length] = '\0';
    const char *value = rh_spec_variable(parse, missing);
    if (value == NULL || value[0] == '\0')
      status = RH_NOT_FOUND;
    else if (status == RH_OK)
      status = rh_dynbuf_append_text(&buf, value);
    text = end + 1;
  }
  *out = status == RH_OK ? rh_dynbuf_take(&buf, NULL) : NULL;
  if (status == RH_OK && *out == NULL) *out = strdup("");
  if (status == RH_OK && *out == NULL) status = RH_NO_MEMORY;
  rh_dynbuf_free(&buf);
  return status;
}

// --- the address ---------------------------------------------------------------------------------------------------

// The host of "http://host:port/path", without brackets. False: no such form.
static bool host_of(const char *url, char *out, size_t size) {
  const char *start = strstr(url, "://");
  if (start == NULL) return false;
  start += 3;
  size_t length;
  if (*start == '[') {
    start++;
    length = strcspn(start, "]/");
    if (start[length] != ']') return false;
  } else {
    length = strcspn(start, ":/?#");
  }
  if (length == 0 || length >= size) return false;
  memcpy(out, start, length);
  out[length] = '\0';
  return true;
}

bool rh_spec_address_is_loopback(const char *url) {
  char host[256];
  return host_of(url, host, sizeof host) && rh_host_is_loopback(host);
}

static bool is_plain_http(const char *url) { return strncasecmp(url, "http://", 7) == 0; }

rh_status rh_spec_set_address(rh_spec_parse *parse, const char *text) {
  static const char *const field = "baseUrl";
  char host[256];
  size_t length = strlen(text);
  bool http = is_plain_http(text) || strncasecmp(text, "https://", 8) == 0;
  if (!http) return rh_spec_refuse(parse, field, "must begin with https:// (or http:// for this machine)");
  if (length > URL_BYTES_MAX) return rh_spec_refuse(parse, field, "is longer than %d bytes", URL_BYTES_MAX);
  for (size_t i = 0; i < length; i++) {
    if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
      return rh_spec_refuse(parse, field, "has blanks or control characters in it");
  }
  size_t authority = strcspn(strstr(text, "://") + 3, "/?#");
  if (memchr(strstr(text, "://") + 3, '@', authority) != NULL) {
    return rh_spec_refuse(parse, field, "has a user's name or password in it; use \"apiKey\" or \"headers\"");
  }
  if (strpbrk(text, "?#") != NULL)
    return rh_spec_refuse(parse, field, "must end with its path, without \"?\" and \"#\"");
  if (!host_of(text, host, sizeof host)) return rh_spec_refuse(parse, field, "names no machine");
  while (length > 0 && text[length - 1] == '/') length--;
  free(parse->spec->base_url);
  parse->spec->base_url = strndup(text, length);
  if (parse->spec->base_url == NULL) return rh_fail(parse->error, RH_NO_MEMORY, "no memory for \"%s\"", parse->path);
  return RH_OK;
}

// --- the key -------------------------------------------------------------------------------------------------------

static rh_status RH_PRINTF(2, 3) say_key_error(rh_spec_parse *parse, const char *format, ...) {
  char words[256];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(words, sizeof words, format, args);
  va_end(args);
  free(parse->spec->key_error);
  parse->spec->key_error = strdup(words);
  return parse->spec->key_error != NULL ? RH_OK
                                        : rh_fail(parse->error, RH_NO_MEMORY, "no memory for \"%s\"", parse->path);
}

// Without the blanks around it, which files and copied text have.
static rh_status set_key(rh_spec_parse *parse, const char *text, const char *where) {
  while (isspace((unsigned char)*text)) text++;
  size_t length = strlen(text);
  while (length > 0 && isspace((unsigned char)text[length - 1])) length--;
  if (length == 0) return say_key_error(parse, "%s is empty", where);
  if (length > KEY_BYTES_MAX) return say_key_error(parse, "%s is too long for a key", where);
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)text[i];
    if (byte <= ' ' || byte >= 0x7f) return say_key_error(parse, "%s has characters that no key has", where);
  }
  parse->spec->key = strndup(text, length);
  return parse->spec->key != NULL ? RH_OK : rh_fail(parse->error, RH_NO_MEMORY, "no memory for \"%s\"", parse->path);
}

static rh_status key_from_file(rh_spec_parse *parse) {
  char *path = NULL;
  bool relative = parse->key_file[0] != '/' && parse->folder != NULL;
  if (asprintf(&path, "%s%s%s", relative ? parse->folder : "", relative ? "/" : "", parse->key_file) < 0) {
    return rh_fail(parse->error, RH_NO_MEMORY, "no memory for \"%s\"", parse->path);
  }
  rh_dynbuf content;
  rh_dynbuf_init(&content, KEY_BYTES_MAX);
  rh_error error = {0};
  rh_status status = rh_file_read(path, &content, &error);
  char where[160];
  (void)snprintf(where, sizeof where, "the key file %.120s", path);
  if (status != RH_OK)
    status = say_key_error(parse, "%s cannot be read", where);
  else
    status = set_key(parse, rh_dynbuf_data(&content), where);
  if (content.data != NULL) explicit_bzero(content.data, content.capacity);
  rh_dynbuf_free(&content);
  free(path);
  return status;
}

static rh_status key_from_text(rh_spec_parse *parse) {
  char missing[64], *text = NULL;
  rh_status status = rh_spec_expand(parse, parse->key_text, &text, missing);
  if (status == RH_NOT_FOUND) return say_key_error(parse, "the variable %s is not set", missing);
  if (status != RH_OK) return say_key_error(parse, "%s cannot be read: write \"${NAME}\" or the key itself", "apiKey");
  status = set_key(parse, text, "apiKey");
  explicit_bzero(text, strlen(text));
  free(text);
  return status;
}

// "my-proxy" to "MY_PROXY_API_KEY".
static void own_variable(const char *name, char *out, size_t size) {
  size_t used = 0;
  for (; *name != '\0' && used + 10 < size; name++) {
    out[used++] = isalnum((unsigned char)*name) ? (char)toupper((unsigned char)*name) : '_';
  }
  (void)snprintf(out + used, size - used, "_API_KEY");
}

static rh_status key_from_environment(rh_spec_parse *parse) {
  char own[RH_PROVIDER_NAME_MAX + 16];
  own_variable(parse->spec->name, own, sizeof own);
  const char *value = rh_spec_variable(parse, own), *from = own;
  // The kind's usual variable is for the kind's usual address: a key must not go to somebody else's.
  for (size_t i = 0; value == NULL && !parse->base_url_given && i < 3 && parse->known->key_variables[i] != NULL; i++) {
    from = parse->known->key_variables[i];
    value = rh_spec_variable(parse, from);
  }
  if (value != NULL && value[0] != '\0') return set_key(parse, value, from);
  if ((parse->known->quirks & RH_QUIRK_NEEDS_KEY) == 0 || parse->base_url_given) return RH_OK;
  return say_key_error(parse, "the variable %s is not set", parse->known->key_variables[0]);
}

rh_status rh_spec_find_key(rh_spec_parse *parse) {
  rh_provider_spec *spec = parse->spec;
  int said = (parse->key_text != NULL) + (parse->key_variable != NULL) + (parse->key_file != NULL);
  if (said > 1) return rh_spec_refuse(parse, "apiKey", "and \"apiKeyEnv\" or \"apiKeyFile\" are both there; keep one");
  rh_status status;
  if (parse->key_text != NULL) {
    status = key_from_text(parse);
  } else if (parse->key_file != NULL) {
    status = key_from_file(parse);
  } else if (parse->key_variable != NULL) {
    const char *value = rh_spec_variable(parse, parse->key_variable);
    if (value == NULL)
      status = say_key_error(parse, "the variable %.64s is not set", parse->key_variable);
    else
      status = set_key(parse, value, parse->key_variable);
  } else {
    status = key_from_environment(parse);
  }
  if (status != RH_OK) return status;
  bool loopback = rh_spec_address_is_loopback(spec->base_url);
  if (!parse->local_given) spec->local = loopback;
  if (is_plain_http(spec->base_url) && !loopback && !spec->insecure_http &&
      (spec->key != NULL || spec->headers != NULL)) {
    return rh_spec_refuse(parse, "baseUrl",
                          "is http://, so the %s would go to another machine for all to read; use https://, "
                          "or set \"insecureHttp\": true where you trust the network",
                          spec->key != NULL ? "key" : "headers");
  }
  return RH_OK;
}
