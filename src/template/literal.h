// SPDX-License-Identifier: Apache-2.0
//
// Numbers and strings as a template writes them. Nobody outside includes this.
#ifndef RH_TEMPLATE_LITERAL_H
#define RH_TEMPLATE_LITERAL_H

#include "base/arena.h"
#include "template/value.h"

// The inside of a quoted string, with its escapes. NULL, or what is wrong.
const char *rh_tpl_literal_text(rh_arena *arena, const char *text, size_t length, tpl_value *out);
// The number at the front of `text` and how many bytes it takes. NULL, or what is wrong. `after_dot`: no fraction.
const char *rh_tpl_literal_number(const char *text, size_t length, bool after_dot, tpl_value *out, size_t *used);

#endif
