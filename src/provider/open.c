// SPDX-License-Identifier: Apache-2.0
//
// Where the transport meets the protocols; in a file of its own, so that a test of the transport links no protocol.
#include "provider/transport.h"

rh_status rh_providers_new(rh_loop *loop, const rh_provider_spec *specs, size_t count, rh_providers **out,
                           rh_error *error) {
  return rh_providers_new_with(loop, specs, count, rh_protocol_find, out, error);
}
