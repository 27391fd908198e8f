// SPDX-License-Identifier: Apache-2.0
//
// Who can reach the listener, from its address alone. Owns nothing; any thread. It resolves no names: one that is not known to be
// this machine's own may be anything.
#include <string.h>
#include <strings.h>

#include "daemon/settings.h"

bool rh_settings_listens_here(const rh_settings *settings) {
  static const char *const own[] = {"127.", "[::1]", "localhost:", "unix:"};
  for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
    if (strncasecmp(settings->listen, own[i], strlen(own[i])) == 0) return true;
  }
  return false;
}
