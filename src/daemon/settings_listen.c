// SPDX-License-Identifier: Apache-2.0
//
// Who can reach the listener, from its address alone. Owns nothing; any thread.
#include <string.h>

#include "base/address.h"
#include "daemon/settings.h"

#define HOST_SIZE 256u

bool rh_settings_listens_here(const rh_settings *settings) {
  char host[HOST_SIZE];
  const char *begin = settings->listen, *end = strrchr(begin, ':');
  if (end == NULL) end = begin + strlen(begin);  // the port is missing, which is the listener's to say
  if (*begin == '[' && end - begin > 2 && end[-1] == ']') {
    begin++;
    end--;
  }
  size_t length = (size_t)(end - begin);
  if (length >= sizeof host) return false;
  memcpy(host, begin, length);
  host[length] = '\0';
  return rh_host_is_loopback(host);
}
