// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: what an unpacked package says of its licence.
#ifndef RH_PULL_PACKAGE_LICENCE_H
#define RH_PULL_PACKAGE_LICENCE_H

#include <stddef.h>

// From a wheel's METADATA or an npm package.json below `folder`; "" when neither says.
void rh_package_licence(const char *folder, char *out, size_t size);

#endif
