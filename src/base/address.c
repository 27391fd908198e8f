// SPDX-License-Identifier: Apache-2.0
//
// Which hosts are this machine's own, from their words alone. Pure; any thread.
#include "base/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>
#include <strings.h>

bool rh_host_is_loopback(const char *host) {
  assert(host != NULL);
  unsigned char bytes[16];
  if (strcasecmp(host, "localhost") == 0) return true;
  // Only whole addresses: "127.0.0.1.example.com" is somebody's name, and short forms are read differently by others.
  if (inet_pton(AF_INET, host, bytes) == 1) return bytes[0] == 127;
  if (inet_pton(AF_INET6, host, bytes) == 1) {
    static const unsigned char one[16] = {[15] = 1};
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(bytes, one, 16) == 0 || (memcmp(bytes, mapped, 12) == 0 && bytes[12] == 127);
  }
  return false;
}
