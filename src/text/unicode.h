// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: what each code point is, as the `tokenizers` package sees it, and normal forms. The classes come
// from unicode.txt (see scripts/make_unicode_table.py); decompositions and compositions from libutf8proc, kept to the
// code points that the package's older tables know. rh_unicode_prepare fills the tables once; all else only reads them.
#ifndef RH_TEXT_UNICODE_H
#define RH_TEXT_UNICODE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RH_CODE_MAX 0x10FFFF
#define RH_REPLACEMENT_CODE 0xFFFD
#define RH_DECOMPOSED_MAX 32  // code points of one; Unicode's longest has 18

enum {
  RH_CHAR_WORD = 1 << 0,         // \w of Rust's regular expressions
  RH_CHAR_NUMERIC = 1 << 1,      // Rust's char::is_numeric
  RH_CHAR_PUNCTUATION = 1 << 2,  // punctuation, or ASCII that is neither letter, digit, space nor control
  RH_CHAR_SPACE = 1 << 3,        // White_Space
  RH_CHAR_CONTROL = 1 << 4,      // what BertNormalizer removes as unclean
  RH_CHAR_ACCENT = 1 << 5,       // what BertNormalizer removes as an accent
  RH_CHAR_MARK = 1 << 6,         // what StripAccents removes
  RH_CHAR_DECOMPOSES = 1 << 7,   // has a decomposition or a combining class
  RH_CHAR_WORD_ONIG = 1 << 8,    // \w of Oniguruma
  RH_CHAR_PICTURE = 1 << 9,      // Extended_Pictographic
  RH_CHAR_CONSONANT = 1 << 10,   // Indic_Conjunct_Break
  RH_CHAR_LINKER = 1 << 11,
  RH_CHAR_EXTENDER = 1 << 12,
  RH_CHAR_UNSAFE_NFC = 1 << 13,   // NFC may change it or join it with what stands before
  RH_CHAR_UNSAFE_NFKC = 1 << 14,  // the same for NFKC
  RH_CHAR_LOWERS = 1 << 15,       // lower case is something else
};

// General categories as bits, in the order of unicode.c's names.
#define RH_CATEGORY_LETTER (31u << 4)
#define RH_CATEGORY_MARK (7u << 9)
#define RH_CATEGORY_NUMBER (7u << 12)
#define RH_CATEGORY_UNASSIGNED (1u << 29)
extern const char rh_category_names[30][3];

typedef enum rh_grapheme {
  RH_GRAPHEME_OTHER,
  RH_GRAPHEME_CR,
  RH_GRAPHEME_LF,
  RH_GRAPHEME_CONTROL,
  RH_GRAPHEME_EXTEND,
  RH_GRAPHEME_ZWJ,
  RH_GRAPHEME_REGIONAL,
  RH_GRAPHEME_PREPEND,
  RH_GRAPHEME_SPACING,
  RH_GRAPHEME_L,
  RH_GRAPHEME_V,
  RH_GRAPHEME_T,
  RH_GRAPHEME_LV,
  RH_GRAPHEME_LVT,
} rh_grapheme;

typedef struct rh_char {
  uint32_t category;  // one bit
  uint16_t flags;
  uint8_t script;    // a number; 0 goes with every script
  uint8_t grapheme;  // rh_grapheme
} rh_char;

void rh_unicode_prepare(void);  // any thread, any number of times; everything below needs it

#define RH_CHAR_PAGE_BITS 7
#define RH_CHAR_PAGES_MAX 1024
#define RH_CHAR_KINDS_MAX 1024
extern uint16_t rh_char_stage[(RH_CODE_MAX + 1) >> RH_CHAR_PAGE_BITS];
extern uint16_t rh_char_pages[RH_CHAR_PAGES_MAX][1 << RH_CHAR_PAGE_BITS];
extern rh_char rh_char_kinds[RH_CHAR_KINDS_MAX];

static inline const rh_char *rh_char_of(uint32_t code) {
  const uint16_t *page = rh_char_pages[rh_char_stage[code >> RH_CHAR_PAGE_BITS]];
  return &rh_char_kinds[page[code & ((1u << RH_CHAR_PAGE_BITS) - 1)]];
}

static inline bool rh_char_is(uint32_t code, unsigned flags) { return (rh_char_of(code)->flags & flags) != 0; }

// Lower case as Rust's char::to_lowercase: 1 to 3 code points.
size_t rh_char_lower(uint32_t code, uint32_t out[3]);
// Full decomposition, without reordering. 1 to RH_DECOMPOSED_MAX code points.
size_t rh_char_decompose(uint32_t code, bool compatible, uint32_t out[RH_DECOMPOSED_MAX]);
uint8_t rh_char_combining_class(uint32_t code);
uint32_t rh_char_compose(uint32_t first, uint32_t second);  // 0 = they do not join

// The character at the front of bytes that are not empty. Bytes that are no UTF-8 are U+FFFD, one by one. Returns how many
// bytes it takes.
static inline size_t rh_char_read(const char *text, const char *end, uint32_t *code) {
  const uint8_t *at = (const uint8_t *)text;
  size_t room = (size_t)(end - text);
  assert(room > 0);
  if (at[0] < 0x80) {
    *code = at[0];
    return 1;
  }
  if (at[0] >= 0xC2 && at[0] < 0xE0 && room >= 2) {
    *code = (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu);
    return 2;
  }
  if (at[0] >= 0xE0 && at[0] < 0xF0 && room >= 3) {
    *code = (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
    return 3;
  }
  if (at[0] >= 0xF0 && at[0] < 0xF5 && room >= 4) {
    uint32_t wide = (at[0] & 0x07u) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu);
    *code = wide <= RH_CODE_MAX ? wide : RH_REPLACEMENT_CODE;
    return 4;
  }
  *code = RH_REPLACEMENT_CODE;
  return 1;
}

// Up to 4 bytes; returns how many.
static inline size_t rh_char_write(uint32_t code, char out[4]) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  if (code < 0x800) {
    out[0] = (char)(0xC0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3F));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = (char)(0xE0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 0x3F));
    out[2] = (char)(0x80 | (code & 0x3F));
    return 3;
  }
  out[0] = (char)(0xF0 | code >> 18);
  out[1] = (char)(0x80 | (code >> 12 & 0x3F));
  out[2] = (char)(0x80 | (code >> 6 & 0x3F));
  out[3] = (char)(0x80 | (code & 0x3F));
  return 4;
}

static inline bool rh_char_is_upper_ascii(unsigned code) { return code >= 'A' && code <= 'Z'; }
static inline bool rh_char_is_digit_ascii(unsigned code) { return code >= '0' && code <= '9'; }
static inline bool rh_char_is_letter_ascii(unsigned code) { return rh_char_is_upper_ascii(code & ~0x20u); }

static inline bool rh_char_is_ascii(const char *text, size_t length) {
  uint8_t seen = 0;
  for (size_t i = 0; i < length; i++) seen |= (uint8_t)text[i];
  return seen < 0x80;
}

#endif
