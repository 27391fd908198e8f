// SPDX-License-Identifier: Apache-2.0
#ifndef RH_BASE_VERSION_H
#define RH_BASE_VERSION_H

#define RH_VERSION "0.1.0"

#endif
