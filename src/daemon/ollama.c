// SPDX-License-Identifier: Apache-2.0
//
// Ollama's model calls, in the shapes that its clients want. Owns nothing. Loop thread only.
#include "daemon/admin.h"

const rh_operation_route rh_routes_ollama[] = {
    {.path = NULL},
};
