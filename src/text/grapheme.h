// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: extended grapheme clusters, what a reader takes for one character (Unicode's UAX 29).
#ifndef RH_TEXT_GRAPHEME_H
#define RH_TEXT_GRAPHEME_H

#include <stddef.h>

// How many bytes the cluster at the front takes. Needs rh_unicode_prepare; not for an empty text.
size_t rh_grapheme_length(const char *text, size_t length);

#endif
