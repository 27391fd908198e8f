// SPDX-License-Identifier: Apache-2.0
//
// The listening socket: "host:port" to a bound, listening, non-blocking descriptor, and errors that say what to do. We
// make the socket instead of the library because the library reports every failure as "cannot start".
//
// Owns nothing between calls. It may ask the resolver for a name such as "localhost", so it runs before the loop does.
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "http/internal.h"

// Bytes that the kernel may hold unsent for one connection before it calls the socket full. Without it the send buffer
// grows to megabytes and a slow reader is noticed much too late.
#define UNSENT_BYTES_MAX (128 * 1024)

#define HOST_SIZE 256u
#define PORT_SIZE 8u

static rh_status fail_address(rh_error *error, const char *address, const char *why) {
  return rh_fail_param(error, RH_INVALID, "listen",
                       "\"%s\" is not an address to listen on: %s. Write HOST:PORT, for example 127.0.0.1:8080 or "
                       "[::1]:8080; port 0 takes any free port.",
                       address, why);
}

// Take "host:port" or "[host]:port" apart.
static rh_status split(const char *address, char host[HOST_SIZE], char port[PORT_SIZE], rh_error *error) {
  const char *colon = strrchr(address, ':');
  if (colon == NULL) return fail_address(error, address, "the port is missing");
  const char *begin = address;
  const char *end = colon;
  if (*begin == '[') {
    begin++;
    if (end - begin < 1 || end[-1] != ']') return fail_address(error, address, "the brackets do not match");
    end--;
  } else if (memchr(begin, ':', (size_t)(end - begin)) != NULL) {
    return fail_address(error, address, "an IPv6 address needs brackets");
  }
  size_t length = (size_t)(end - begin);
  if (length == 0) return fail_address(error, address, "the host is missing (0.0.0.0 is every IPv4 address)");
  if (length >= HOST_SIZE) return fail_address(error, address, "the host is too long");
  memcpy(host, begin, length);
  host[length] = '\0';

  const char *digits = colon + 1;
  size_t count = strspn(digits, "0123456789");
  unsigned value = 0;
  for (size_t i = 0; i < count && value <= 65535; i++) value = value * 10 + (unsigned)(digits[i] - '0');
  if (count == 0 || digits[count] != '\0' || value > 65535) {
    return fail_address(error, address, "the port is not a number from 0 to 65535");
  }
  (void)snprintf(port, PORT_SIZE, "%u", value);
  return RH_OK;
}

static rh_status fail_bind(rh_error *error, const char *address, int reason) {
  switch (reason) {
    case EADDRINUSE:
      return rh_fail(error, RH_UNAVAILABLE,
                     "address already in use: another program listens on %s. Stop it, or choose another port "
                     "(--listen HOST:PORT; port 0 takes any free one).",
                     address);
    case EACCES:
    case EPERM:
      return rh_fail(error, RH_IO,
                     "no permission to listen on %s. Ports below 1024 need a privilege; choose a higher one "
                     "(--listen HOST:PORT).",
                     address);
    case EADDRNOTAVAIL:
      return rh_fail(error, RH_INVALID,
                     "this machine has no such address: %s. Choose one of its own (--listen HOST:PORT), or 0.0.0.0 for "
                     "all IPv4 addresses.",
                     address);
    default: return rh_fail(error, RH_IO, "cannot listen on %s: %s.", address, strerror(reason));
  }
}

// The address a socket is really bound to, as people write it.
static void describe(int fd, char *out, size_t size) {
  struct sockaddr_storage storage;
  memset(&storage, 0, sizeof storage);
  socklen_t length = sizeof storage;
  char text[INET6_ADDRSTRLEN] = "?";
  (void)snprintf(out, size, "?");
  if (getsockname(fd, (struct sockaddr *)&storage, &length) != 0) return;
  if (storage.ss_family == AF_INET6) {
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)&storage;
    (void)inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
    (void)snprintf(out, size, "[%s]:%u", text, (unsigned)ntohs(six->sin6_port));
  } else {
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)&storage;
    (void)inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
    (void)snprintf(out, size, "%s:%u", text, (unsigned)ntohs(four->sin_port));
  }
}

// One candidate address to a listening socket; -1 with errno set when it does not work.
static int open_socket(const struct addrinfo *candidate) {
  int fd = socket(candidate->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int one = 1;
  int unsent = UNSENT_BYTES_MAX;
  // A restart must not wait for connections of the last run to time out. Accepted sockets inherit the bound on unsent
  // bytes; a kernel without it serves as well, only with more memory per slow reader.
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
  if (bind(fd, candidate->ai_addr, candidate->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  int reason = errno;
  (void)close(fd);
  errno = reason;
  return -1;
}

rh_status rh_http_listen(const char *address, int *fd, char *real_address, size_t size, rh_error *error) {
  char host[HOST_SIZE];
  char port[PORT_SIZE];
  rh_status status = split(address, host, port, error);
  if (status != RH_OK) return status;

  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
  struct addrinfo *candidates = NULL;
  int resolved = getaddrinfo(host, port, &hints, &candidates);
  if (resolved != 0) {
    char why[160];
    (void)snprintf(why, sizeof why, "its host is neither an IP address nor a known name (%s)", gai_strerror(resolved));
    return fail_address(error, address, why);
  }
  int reason = 0;
  int opened = -1;
  for (const struct addrinfo *candidate = candidates; candidate != NULL && opened < 0; candidate = candidate->ai_next) {
    opened = open_socket(candidate);
    if (opened < 0 && reason == 0) reason = errno;  // the first one is the one people meant
  }
  freeaddrinfo(candidates);
  if (opened < 0) return fail_bind(error, address, reason);
  describe(opened, real_address, size);
  *fd = opened;
  return RH_OK;
}
