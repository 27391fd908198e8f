// SPDX-License-Identifier: Apache-2.0
//
// Between unicode.c and unicode_forms.c, while the tables are filled.
#ifndef RH_TEXT_UNICODE_PRIVATE_H
#define RH_TEXT_UNICODE_PRIVATE_H

#include <stdint.h>

void rh_unicode_add_flags(uint32_t code, unsigned flags);
void rh_unicode_prepare_forms(void);

#endif
