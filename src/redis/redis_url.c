// SPDX-License-Identifier: Apache-2.0
//
// Where a Redis is, from its URL. Messages quote nothing of it: a badly written URL may have its password anywhere.
// Owns the strings of the place. Pure but for numeric getaddrinfo, which looks nothing up. Any thread.
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/text.h"
#include "redis/redis_private.h"

#define SECRET_MAX 1024
#define DEFAULT_PORT "6379"
#define DATABASE_MAX 99999

#define FORM "redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] or unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE]"

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "%40" and the like; NULL: badly written, or no memory.
static char *decode(const char *text, size_t length) {
  if (length > SECRET_MAX) return NULL;
  char *out = malloc(length + 1);
  if (out == NULL) return NULL;
  size_t used = 0;
  for (size_t i = 0; i < length; i++) {
    char c = text[i];
    if (c == '%') {
      bool whole = i + 2 < length;
      int high = whole ? hex_digit(text[i + 1]) : -1;
      int low = whole ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0 || high + low == 0) {
        free(out);
        return NULL;
      }
      c = (char)(high * 16 + low);
      i += 2;
    }
    out[used++] = c;
  }
  out[used] = '\0';
  return out;
}

static rh_status parse_secrets(const char *text, size_t length, rh_redis_place *place, rh_error *error) {
  const char *colon = memchr(text, ':', length);
  if (colon == NULL)
    return rh_fail(error, RH_INVALID,
                   "The Redis URL has a name before '@' and no password: write redis://:PASSWORD@HOST, or "
                   "redis://USER:PASSWORD@HOST for a user of Redis' access lists.");
  size_t user_length = (size_t)(colon - text);
  if (user_length > 0) place->user = decode(text, user_length);
  place->password = decode(colon + 1, length - user_length - 1);
  if (place->password == NULL || (user_length > 0 && place->user == NULL))
    return rh_fail(error, RH_INVALID,
                   "The Redis URL's user or password is badly written: '%%' stands before two hexadecimal digits "
                   "('%%25' is a percent sign), and each has at most %d bytes.",
                   SECRET_MAX);
  return RH_OK;
}

static rh_status parse_database(const char *text, size_t length, rh_redis_place *place, rh_error *error) {
  unsigned value = 0;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9' || i >= 5)
      return rh_fail(error, RH_INVALID, "The Redis URL's database is not a number from 0 to %d. The form is " FORM ".",
                     DATABASE_MAX);
    value = value * 10 + (unsigned)(text[i] - '0');
  }
  place->database = value;
  return RH_OK;
}

// "?db=2"; `text` is "" or begins with '?'.
static rh_status parse_query(const char *text, rh_redis_place *place, rh_error *error) {
  if (*text == '\0') return RH_OK;
  if (!rh_text_starts_with(text, "?db="))
    return rh_fail(error, RH_INVALID, "The Redis URL has something other than \"db=NUMBER\" behind '?'.");
  return parse_database(text + 4, strlen(text + 4), place, error);
}

static rh_status parse_unix(const char *path, rh_redis_place *place, rh_error *error) {
  size_t length = strcspn(path, "?");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (length == 0 || path[0] != '/' || length >= sizeof address.sun_path)
    return rh_fail(error, RH_INVALID,
                   "The Redis URL needs an absolute path of at most %zu bytes to a socket. The form is " FORM ".",
                   sizeof address.sun_path - 1);
  memcpy(address.sun_path, path, length);
  memcpy(&place->sockets[0].address, &address, sizeof address);
  place->sockets[0].length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
  place->socket_count = 1;
  place->fixed = true;
  (void)snprintf(place->label, sizeof place->label, "%.*s", (int)length, path);
  return parse_query(path + length, place, error);
}

// Splits "host:port", "[::1]:port", "host".
static rh_status parse_host(const char *text, size_t length, rh_redis_place *place, rh_error *error) {
  const char *host = text;
  size_t host_length = length;
  const char *port = NULL;
  if (length > 0 && text[0] == '[') {
    const char *end = memchr(text, ']', length);
    host = text + 1;
    host_length = end == NULL ? 0 : (size_t)(end - host);
    if (end != NULL && end + 1 < text + length) port = end + 1;
    if (port != NULL && *port != ':') host_length = 0;
  } else {
    port = memchr(text, ':', length);
    if (port != NULL) host_length = (size_t)(port - text);
  }
  if (host_length == 0 || host_length >= sizeof place->host)
    return rh_fail(error, RH_INVALID, "The Redis URL has no host, or one that is too long. The form is " FORM ".");
  memcpy(place->host, host, host_length);
  place->host[host_length] = '\0';

  size_t port_length = port == NULL ? 0 : (size_t)(text + length - port) - 1;
  unsigned number = 0;
  for (size_t i = 0; i < port_length; i++) {
    char c = port[1 + i];
    if (c < '0' || c > '9' || i >= 5) number = 100000;
    if (number < 100000) number = number * 10 + (unsigned)(c - '0');
  }
  if (port != NULL && (number == 0 || number > 65535))
    return rh_fail(
        error, RH_INVALID,
        "The Redis URL's port is not a number from 1 to 65535. A password that contains '@', '/', '?', '#', ':' "
        "or '%%' is written with %%40, %%2F, %%3F, %%23, %%3A or %%25.");
  if (port == NULL)
    (void)rh_text_copy(place->port, sizeof place->port, DEFAULT_PORT);
  else
    (void)snprintf(place->port, sizeof place->port, "%u", number);
  return RH_OK;
}

void rh_redis_place_take(rh_redis_place *place, const struct addrinfo *found) {
  place->socket_count = 0;
  for (; found != NULL && place->socket_count < RH_REDIS_ADDRESSES_MAX; found = found->ai_next) {
    rh_redis_socket *socket = &place->sockets[place->socket_count++];
    memcpy(&socket->address, found->ai_addr, found->ai_addrlen);
    socket->length = found->ai_addrlen;
  }
}

static rh_status parse_network(const char *rest, rh_redis_place *place, rh_error *error) {
  size_t authority = strcspn(rest, "/?#");
  rh_status status = parse_host(rest, authority, place, error);
  if (status != RH_OK) return status;
  const char *path = rest + authority;
  if (*path == '/') {
    size_t length = strcspn(++path, "?");
    status = parse_database(path, length, place, error);
    path += length;
  }
  if (status == RH_OK) status = parse_query(path, place, error);
  if (status != RH_OK) return status;
  bool colons = strchr(place->host, ':') != NULL;
  (void)snprintf(place->label, sizeof place->label, colons ? "[%s]:%s" : "%s:%s", place->host, place->port);

  struct addrinfo hints = {
      .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
  struct addrinfo *found = NULL;
  if (getaddrinfo(place->host, place->port, &hints, &found) == 0) {
    rh_redis_place_take(place, found);
    freeaddrinfo(found);
    place->fixed = true;
  }
  return RH_OK;
}

static rh_status parse(const char *url, rh_redis_place *place, rh_error *error) {
  if (rh_text_starts_with(url, "rediss://"))
    return rh_fail(error, RH_UNSUPPORTED,
                   "\"rediss://\" (TLS) is not supported: use redis:// over a network you trust, a unix socket, or a "
                   "TLS tunnel that ends on this machine.");
  bool network = rh_text_starts_with(url, "redis://");
  if (!network && !rh_text_starts_with(url, "unix://"))
    return rh_fail(error, RH_INVALID,
                   "The Redis URL begins with neither \"redis://\" nor \"unix://\". The form is " FORM ".");
  const char *rest = strstr(url, "://") + 3;
  size_t authority = strcspn(rest, "/?#");
  const char *at = memrchr(rest, '@', authority);
  if (at != NULL) {
    rh_status status = parse_secrets(rest, (size_t)(at - rest), place, error);
    if (status != RH_OK) return status;
    rest = at + 1;
  }
  return network ? parse_network(rest, place, error) : parse_unix(rest, place, error);
}

rh_status rh_redis_place_parse(const char *url, rh_redis_place *place, rh_error *error) {
  memset(place, 0, sizeof *place);
  rh_status status = parse(url, place, error);
  if (status != RH_OK) rh_redis_place_release(place);
  return status;
}

static void wipe(char *secret) {
  if (secret != NULL) explicit_bzero(secret, strlen(secret));
  free(secret);
}

void rh_redis_place_release(rh_redis_place *place) {
  wipe(place->user);
  wipe(place->password);
  place->user = NULL;
  place->password = NULL;
}
