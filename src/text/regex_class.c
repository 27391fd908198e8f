// SPDX-License-Identifier: Apache-2.0
//
// Classes of characters as Oniguruma understands them (Unicode 16), in PCRE2's words. PCRE2's own tables may be older:
// what it takes for unassigned and is not is found once, by asking it, and named code point by code point. Read-only after
// that, any thread.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/regex_private.h"
#include "text/unicode.h"

typedef struct range {
  uint32_t first, last;
  uint32_t category;
} range;

#define NEWER_MAX 1024
static range newer[NEWER_MAX];  // assigned, but not to this PCRE2
static size_t newer_count;
static bool scripts_by_prefix;  // \p{sc:Han}: where \p{Han} would mean the script's extensions too
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void add_newer(uint32_t code) {
  uint32_t category = rh_char_of(code)->category;
  range *last = newer_count > 0 ? &newer[newer_count - 1] : NULL;
  if (last != NULL && last->category == category && last->last + 1 == code) {
    last->last = code;
  } else if (newer_count < NEWER_MAX) {
    newer[newer_count++] = (range){code, code, category};
  }
}

// All assigned code points as one text, and PCRE2 says which are not.
static void find_newer(void) {
  int problem;
  PCRE2_SIZE where;
  pcre2_code *unassigned =
      pcre2_compile((PCRE2_SPTR) "\\p{Cn}", PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &problem, &where, NULL);
  pcre2_match_data *match = pcre2_match_data_create(1, NULL);
  char *text = malloc(4 * (size_t)(RH_CODE_MAX + 1));
  size_t length = 0, at = 0;
  uint32_t skipped = RH_CATEGORY_UNASSIGNED | 1u << 2 | 1u << 3;     // private use, surrogates
  if (unassigned == NULL || match == NULL || text == NULL) abort();  // as libutf8proc and others do at start
  pcre2_jit_compile(unassigned, PCRE2_JIT_COMPLETE);
  for (uint32_t code = 0x80; code <= RH_CODE_MAX; code++) {
    if (code - 0xD800 >= 0x800 && (rh_char_of(code)->category & skipped) == 0)
      length += rh_char_write(code, text + length);
  }
  while (pcre2_match(unassigned, (PCRE2_SPTR)text, length, at, PCRE2_NO_UTF_CHECK, match, NULL) > 0) {
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
    uint32_t code;
    rh_char_read(text + found[0], text + length, &code);
    add_newer(code);
    at = found[1];
  }
  free(text);
  pcre2_match_data_free(match);
  pcre2_code_free(unassigned);
}

static void prepare(void) {
  rh_unicode_prepare();
  scripts_by_prefix = rh_regex_compiles("\\p{sc:Han}");
  find_newer();
}

static void put_range(rh_dynbuf *out, uint32_t first, uint32_t last) {
  (void)rh_dynbuf_printf(out, "\\x{%X}", first);
  if (last != first) (void)rh_dynbuf_printf(out, "-\\x{%X}", last);
}

static void put_newer(rh_dynbuf *out, uint32_t categories) {
  for (size_t i = 0; i < newer_count; i++) {
    if ((newer[i].category & categories) != 0) put_range(out, newer[i].first, newer[i].last);
  }
}

static void put_category(rh_dynbuf *out, const char *name, uint32_t categories) {
  (void)rh_dynbuf_printf(out, "\\p{%s}", name);
  put_newer(out, categories);
}

void rh_regex_put_space(rh_dynbuf *out) {
  // Not PCRE2's \s, which has U+180E too.
  (void)rh_dynbuf_append_text(
      out, "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}");
}

void rh_regex_put_digit(rh_dynbuf *out) {
  pthread_once(&once, prepare);
  put_category(out, "Nd", 1u << 12);
}

void rh_regex_put_hex(rh_dynbuf *out) { (void)rh_dynbuf_append_text(out, "0-9a-fA-F"); }

void rh_regex_put_word(rh_dynbuf *out) {
  pthread_once(&once, prepare);
  uint32_t covered = RH_CATEGORY_LETTER | RH_CATEGORY_MARK | 1u << 12 | 1u << 13 | 1u << 15;
  (void)rh_dynbuf_append_text(out, "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}");
  put_newer(out, covered);
  // The rest of the alphabetic ones: letters in circles.
  for (uint32_t code = 0x80; code <= 0x2FFFF; code++) {
    uint32_t first = code;
    while (rh_char_is(code, RH_CHAR_WORD_ONIG) && (rh_char_of(code)->category & covered) == 0) code++;
    if (code != first) put_range(out, first, code - 1);
  }
}

// Runs of the table, where PCRE2 has no word that fits: what is unassigned changes with every version.
static void put_categories(rh_dynbuf *out, uint32_t categories, unsigned without) {
  for (uint32_t code = 0; code <= RH_CODE_MAX; code++) {
    uint32_t first = code;
    while (code <= RH_CODE_MAX && (rh_char_of(code)->category & categories) != 0 && !rh_char_is(code, without)) code++;
    if (code == first) continue;
    uint32_t last = code - 1;
    // Surrogates are in no text, and PCRE2 takes none in a pattern.
    if (first <= 0xD7FF) put_range(out, first, last < 0xD7FF ? last : 0xD7FF);
    if (last >= 0xE000) put_range(out, first > 0xE000 ? first : 0xE000, last);
  }
}

// --- names ---------------------------------------------------------------------------------------------------------

static const struct {
  const char *name;  // as simplify leaves it
  const char *short_name;
} long_names[] = {
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
    {"surrogate", "Cs"},
};

// What gained these properties after Unicode 14, the oldest that a PCRE2 of ours has.
#define ALPHABETIC_SINCE                                                                                             \
  "\\x{363}-\\x{36F}\\x{897}\\x{C04}\\x{CF3}\\x{F82}\\x{F83}\\x{1DD3}-\\x{1DE6}\\x{10D69}\\x{10EFC}\\x{11080}\\x{"   \
  "11081}\\x{11241}"                                                                                                 \
  "\\x{113B8}-\\x{113C0}\\x{113C2}\\x{113C5}\\x{113C7}-\\x{113CA}\\x{113CC}\\x{113CD}\\x{11F00}\\x{11F01}\\x{11F03}" \
  "\\x{11F34}-\\x{11F3A}\\x{11F3E}-\\x{11F40}\\x{1611E}-\\x{1612E}\\x{1E08F}"
#define LOWERCASE_SINCE "\\x{10FC}\\x{A7F2}-\\x{A7F4}\\x{AB69}\\x{1E030}-\\x{1E06D}"

static const struct {
  const char *name, *items;
  uint32_t categories;  // of newer code points
} posix_names[] = {
    {"alpha", "\\p{Alphabetic}" ALPHABETIC_SINCE, RH_CATEGORY_LETTER | 1u << 13},
    {"alnum", "\\p{Alphabetic}\\p{Nd}" ALPHABETIC_SINCE, RH_CATEGORY_LETTER | 1u << 12 | 1u << 13},
    {"upper", "\\p{Uppercase}", 1u << 8},
    {"lower", "\\p{Lowercase}" LOWERCASE_SINCE, 1u << 4},
    {"punct", "\\p{P}\\p{S}", 127u << 15 | 15u << 22},
    {"cntrl", "\\p{Cc}", 0},
    {"ascii", "\\x00-\\x7F", 0},
    {"any", "\\x00-\\x{10FFFF}", 0},
    {"blank", "\\t\\p{Zs}", 0},
};

// Lower case without spaces, hyphens and underscores, as names are compared.
static void simplify(char *out, size_t size, const char *name, size_t length) {
  size_t used = 0;
  for (size_t i = 0; i < length && used + 1 < size; i++) {
    if (name[i] == ' ' || name[i] == '-' || name[i] == '_') continue;
    out[used++] = (char)tolower((unsigned char)name[i]);
  }
  out[used] = '\0';
}

static uint32_t categories_of(const char *short_name) {
  uint32_t found = 0;
  for (unsigned i = 0; i < 30; i++) {
    bool fits = tolower((unsigned char)rh_category_names[i][0]) == tolower((unsigned char)short_name[0]);
    if (fits && (short_name[1] == '\0' || rh_category_names[i][1] == tolower((unsigned char)short_name[1])))
      found |= 1u << i;
  }
  return found;
}

// A category by its short name in any case.
static bool put_short(rh_dynbuf *out, const char *name) {
  char short_name[3] = {(char)toupper((unsigned char)name[0]), name[1], '\0'};
  uint32_t categories = categories_of(short_name);
  if (categories == 0) return false;
  if ((categories & RH_CATEGORY_UNASSIGNED) != 0)
    put_categories(out, categories, 0);
  else
    put_category(out, short_name, categories);
  return true;
}

static bool put_posix(rh_dynbuf *out, const char *plain) {
  for (size_t i = 0; i < sizeof posix_names / sizeof *posix_names; i++) {
    if (strcmp(plain, posix_names[i].name) != 0) continue;
    (void)rh_dynbuf_append_text(out, posix_names[i].items);
    put_newer(out, posix_names[i].categories);
    return true;
  }
  return false;
}

static bool put_native(rh_dynbuf *out, const char *prefix, const char *name) {
  char words[80];
  snprintf(words, sizeof words, "\\p{%s%s}", prefix, name);
  if (!rh_regex_compiles(words)) return false;
  (void)rh_dynbuf_append_text(out, words);
  return true;
}

bool rh_regex_put_property(rh_dynbuf *out, const char *name, size_t length) {
  char plain[48];
  pthread_once(&once, prepare);
  if (length == 0 || length >= sizeof plain ||
      strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _-") < length) {
    return false;
  }
  simplify(plain, sizeof plain, name, length);
  if (strlen(plain) <= 2 && strlen(plain) > 0 && put_short(out, plain)) return true;
  for (size_t i = 0; i < sizeof long_names / sizeof *long_names; i++) {
    if (strcmp(plain, long_names[i].name) == 0) return put_short(out, long_names[i].short_name);
  }
  if (strcmp(plain, "word") == 0) return rh_regex_put_word(out), true;
  if (strcmp(plain, "space") == 0 || strcmp(plain, "whitespace") == 0) return rh_regex_put_space(out), true;
  if (strcmp(plain, "digit") == 0) return rh_regex_put_digit(out), true;
  if (strcmp(plain, "xdigit") == 0) return rh_regex_put_hex(out), true;
  uint32_t invisible = 1u << 0 | 1u << 3 | RH_CATEGORY_UNASSIGNED;
  if (strcmp(plain, "graph") == 0) return put_categories(out, ~invisible, RH_CHAR_SPACE), true;
  if (strcmp(plain, "print") == 0) return put_categories(out, ~(invisible | 3u << 26), 0), true;
  if (put_posix(out, plain)) return true;
  bool put = (scripts_by_prefix && put_native(out, "sc:", plain)) || put_native(out, "", plain);
  if (put && strcmp(plain, "han") == 0) {
    for (size_t i = 0; i < newer_count; i++) {  // blocks of ideographs are the only long runs of other letters
      if (newer[i].category == 1u << 6 && newer[i].first >= 0x20000) put_range(out, newer[i].first, newer[i].last);
    }
  }
  return put;
}
