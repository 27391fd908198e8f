// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one pass over a text that counts what the features are made of: tokens by script, words that mean something, signs of
// code and of mathematics. Two to four nanoseconds a byte.
// Data owned: none. Threads: any.
// Not here: what the counts mean (language.c, complexity.c) and which parts of a prompt are read at all (features.c).
//
// Tokens are estimated as byte-pair vocabularies of 50 to 200 thousand entries cut text: short words are one token, long ones one
// more for every few letters, three digits or three signs are one; other scripts cost a part of a token, or more than one, a letter.
// They are counted in hundredths, for whole numbers add up exactly and at once.
//
// Words are read eight letters at a time, in a copy of the text with zeros behind it, so that nobody need ask for its end.
// test_route_scan.c has the same pass byte by byte and compares the two.
#include <assert.h>
#include <string.h>

#include "route/scan.h"

#define WORD_BYTES_MAX 16u
#define COPY_ZEROS 16u  // more than anything below looks ahead

// Hundredths of a token a character, by script; letters of Latin words are counted in word_cents().
static const unsigned char char_cents[RH_SCRIPT_COUNT] = {
    [RH_SCRIPT_CYRILLIC] = 34,   [RH_SCRIPT_GREEK] = 55,  [RH_SCRIPT_HEBREW] = 60, [RH_SCRIPT_ARABIC] = 50,
    [RH_SCRIPT_DEVANAGARI] = 60, [RH_SCRIPT_THAI] = 60,   [RH_SCRIPT_HAN] = 75,    [RH_SCRIPT_KANA] = 70,
    [RH_SCRIPT_HANGUL] = 75,     [RH_SCRIPT_OTHER] = 150,
};

typedef struct range {
  uint32_t first, last;
  rh_script script;
} range;

// The functions below take where they begin and return where they ended.
typedef struct reader {
  rh_scan *scan;
  const unsigned char *begin;
  size_t cents;         // hundredths of tokens
  rh_word_lanes words;  // that mean something
  const range *script;  // of the last character: the next one's is mostly the same
  unsigned char last;   // of the line, not a space; 0 = none yet
} reader;

static bool is_letter(unsigned char c) { return (unsigned char)((c | 0x20) - 'a') < 26; }
static bool is_digit(unsigned char c) { return (unsigned char)(c - '0') < 10; }
static bool is_tail(unsigned char c) { return (c & 0xc0) == 0x80; }

// U+00C0 to U+024F but for the two signs among them.
static bool is_latin_pair(unsigned char c, unsigned char next) {
  return c >= 0xc3 && c <= 0xc9 && is_tail(next) && !(c == 0xc3 && (next == 0x97 || next == 0xb7));
}

static uint32_t lower_latin(uint32_t point) {
  if (point >= 0xc0 && point <= 0xde) return point + 0x20;
  if ((point >= 0x100 && point <= 0x137) || (point >= 0x14a && point <= 0x177)) return point | 1;
  if ((point >= 0x139 && point <= 0x148) || (point >= 0x179 && point <= 0x17e)) return point + (point & 1);
  return point;
}

// --- words ---------------------------------------------------------------------------------------------------------

#define EACH_BYTE UINT64_C(0x0101010101010101)

// The next eight bytes, the first one highest.
static uint64_t load_bytes(const unsigned char *at) {
  uint64_t bytes;
  memcpy(&bytes, at, sizeof bytes);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  bytes = __builtin_bswap64(bytes);
#endif
  return bytes;
}

// How many of the eight bytes, in lower case but for those above 0x7f, are letters, from the first one on. A byte's highest bit
// tells, after additions that reach it from 'a' on and from behind 'z' on.
static size_t count_letters(uint64_t bytes) {
  uint64_t low = bytes & 0x7f * EACH_BYTE;
  uint64_t from_a = low + (0x80 - 'a') * EACH_BYTE;
  uint64_t behind_z = low + (0x80 - 'z' - 1) * EACH_BYTE;
  uint64_t others = ~(from_a & ~behind_z & ~bytes) & 0x80 * EACH_BYTE;
  return others == 0 ? 8 : (size_t)__builtin_clzll(others) / 8;
}

// The first `count` of eight bytes go to the key's end.
static void append_to_key(rh_word_key *key, uint64_t bytes, size_t count) {
  if (count == 8) {
    *key = (rh_word_key){key->low, bytes};
    return;
  }
  size_t bits = 8 * count;  // in two steps, for a shift by 64 means nothing
  key->high = key->high << bits | key->low >> 8 >> (56 - bits);
  key->low = key->low << bits | bytes >> 8 >> (56 - bits);
}

static void append_accented(rh_word_key *key, const unsigned char *at) {
  uint32_t point = lower_latin((uint32_t)(at[0] & 0x1f) << 6 | (at[1] & 0x3f));
  append_to_key(key, (uint64_t)(0xc0 | point >> 6) << 56 | (uint64_t)(0x80 | (point & 0x3f)) << 48, 2);
}

static size_t word_cents(size_t letters, size_t accents) {
  return 100 + (letters > 8 ? (letters - 8) * 20 : 0) + 60 * accents;
}

static const unsigned char *read_word(reader *in, const unsigned char *at) {
  const unsigned char *begin = at;
  rh_word_key key = {0};
  size_t accents = 0;
  for (;;) {
    uint64_t bytes = load_bytes(at) | 0x20 * EACH_BYTE;
    size_t count = count_letters(bytes);
    append_to_key(&key, bytes, count);
    at += count;
    if (count == 8) continue;
    if (!is_latin_pair(*at, at[1])) break;
    append_accented(&key, at);
    accents++;
    at += 2;
  }
  size_t bytes = (size_t)(at - begin);
  size_t letters = bytes - accents;
  in->scan->words++;
  in->scan->letters[RH_SCRIPT_LATIN] += (uint32_t)letters;
  in->cents += word_cents(letters, accents);
  if (bytes <= WORD_BYTES_MAX) rh_word_lanes_add(&in->words, rh_words_find(key));
  in->last = 'a';
  return at;
}

// Words with a space between them: what most texts are made of.
static const unsigned char *read_words(reader *in, const unsigned char *at) {
  for (;;) {
    at = read_word(in, at);
    if (*at != ' ' || !is_letter(at[1])) return at;
    at++;
  }
}

// --- numbers, lines, signs -----------------------------------------------------------------------------------------

static size_t group_cents(const unsigned char *begin, const unsigned char *at) {
  return ((size_t)(at - begin) + 2) / 3 * 100;
}

static bool joins_numbers(unsigned char c) { return c == '+' || c == '*' || c == '=' || c == '^'; }

static const unsigned char *read_number(reader *in, const unsigned char *at) {
  const unsigned char *begin = at;
  while (is_digit(*at)) at++;
  in->cents += group_cents(begin, at);
  in->scan->sums += joins_numbers(in->last);
  size_t ahead = *at == ' ' ? 1 : 0;
  in->scan->sums += joins_numbers(at[ahead]) && at[ahead + 1] != at[ahead];
  in->last = '0';
  return at;
}

static bool ends_code(unsigned char c) { return c == ';' || c == '{' || c == '}'; }

// "- ", "* " and "1. " at a line's beginning: what a list of wishes looks like.
static bool begins_item(const unsigned char *at) {
  size_t ahead = 0;
  while (ahead < 3 && is_digit(at[ahead])) ahead++;
  unsigned char c = at[ahead];
  bool marked = ahead > 0 ? c == '.' || c == ')' : c == '-' || c == '*';
  return marked && at[ahead + 1] == ' ';
}

static void end_line(reader *in) {
  if (in->last == 0) return;
  in->scan->lines++;
  in->scan->code_lines += ends_code(in->last);
  in->last = 0;
}

static const unsigned char *read_spaces(reader *in, const unsigned char *at) {
  const unsigned char *begin = at;
  bool line = false;
  for (unsigned char c = *at; c != 0 && c <= ' '; c = *at) {
    if (c == '\n') {
      end_line(in);
      line = true;
    }
    at++;
  }
  if (at == begin) at++;  // a zero byte
  // One space belongs to the word after it; line breaks with the indentation after them are one token.
  if (line || at - begin > 1) in->cents += 100;
  if (line || begin == in->begin) in->scan->list_items += begins_item(at);
  return at;
}

static bool is_operator(unsigned char c, unsigned char next) {
  switch (c) {
    case '=': return next == '=' || next == '>';
    case '!': return next == '=';
    case '-': return next == '>';
    case '(': return next == ')';
    case '<': return next == '/';
    case '+': return next == '=' || next == '+';
    case '&':
    case '|':
    case ':': return next == c;
    default: return false;
  }
}

static const unsigned char *read_signs(reader *in, const unsigned char *at) {
  const unsigned char *begin = at;
  for (unsigned char c = *at; c > ' ' && c < 0x80 && !is_letter(c) && !is_digit(c); c = *at) {
    unsigned char next = at[1];
    in->last = c;
    if (c == '`' && next == '`' && at[2] == '`') {
      in->scan->fences++;
      at += 2;
    } else if (c == '\\' && is_letter(next) && is_letter(at[2])) {
      in->scan->math_signs++;
    } else if (is_operator(c, next)) {
      in->scan->operators++;
      in->last = next == '=' ? '>' : next;  // "x == 5" is no sum
      at++;
    }
    at++;
  }
  in->cents += group_cents(begin, at);
  return at;
}

// --- other scripts -------------------------------------------------------------------------------------------------

static const range ranges[] = {
    {0x370, 0x3ff, RH_SCRIPT_GREEK},    {0x400, 0x52f, RH_SCRIPT_CYRILLIC},   {0x590, 0x5ff, RH_SCRIPT_HEBREW},
    {0x600, 0x77f, RH_SCRIPT_ARABIC},   {0x900, 0x97f, RH_SCRIPT_DEVANAGARI}, {0xe00, 0xe7f, RH_SCRIPT_THAI},
    {0x1100, 0x11ff, RH_SCRIPT_HANGUL}, {0x1e00, 0x1eff, RH_SCRIPT_LATIN},    {0x1f00, 0x1fff, RH_SCRIPT_GREEK},
    {0x3040, 0x30ff, RH_SCRIPT_KANA},   {0x3400, 0x4dbf, RH_SCRIPT_HAN},      {0x4e00, 0x9fff, RH_SCRIPT_HAN},
    {0xac00, 0xd7af, RH_SCRIPT_HANGUL}, {0xf900, 0xfaff, RH_SCRIPT_HAN},      {0xfb50, 0xfdff, RH_SCRIPT_ARABIC},
    {0x20000, 0x3134f, RH_SCRIPT_HAN},
};

static rh_script script_of(reader *in, uint32_t point) {
  if (point >= in->script->first && point <= in->script->last) return in->script->script;
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges && point >= ranges[i].first; i++) {
    if (point > ranges[i].last) continue;
    in->script = &ranges[i];
    return ranges[i].script;
  }
  return RH_SCRIPT_OTHER;
}

// × ÷ √ ∞ and the blocks of operators and arrows of mathematics.
static bool is_math_sign(uint32_t point) {
  return point == 0xd7 || point == 0xf7 || (point >= 0x2200 && point <= 0x22ff) ||
         (point >= 0x2a00 && point <= 0x2aff) || point == 0xb2 || point == 0xb3;
}

static const unsigned char *decode(const unsigned char *at, uint32_t *point) {
  unsigned char c = *at++;
  size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
  uint32_t bits = length == 1 ? 0xfffd : c & (0x7fu >> length);
  *point = 0xfffd;
  for (size_t i = 1; i < length; i++) {
    unsigned char tail = *at;
    if (!is_tail(tail)) return at;  // cut, or no UTF-8
    bits = bits << 6 | (tail & 0x3fu);
    at++;
  }
  *point = bits;
  return at;
}

static const unsigned char *read_character(reader *in, const unsigned char *at) {
  uint32_t point;
  at = decode(at, &point);
  in->last = 0x80;
  if (point >= 0x2000 && point <= 0x206f) {  // dashes and quotes
    in->cents += 50;
    return at;
  }
  if (point >= 0x3000 && point <= 0x303f) {  // their punctuation
    in->cents += 80;
    return at;
  }
  rh_script script = script_of(in, point);
  in->scan->letters[script]++;
  in->cents += char_cents[script];
  in->scan->math_signs += is_math_sign(point);
  if (script == RH_SCRIPT_CYRILLIC)
    in->scan->ukrainian += point == 0x456 || point == 0x457 || point == 0x454 || point == 0x491 || point == 0x404;
  if (script == RH_SCRIPT_ARABIC)
    in->scan->persian += point == 0x67e || point == 0x686 || point == 0x698 || point == 0x6af || point == 0x6cc;
  return at;
}

// --- the pass ------------------------------------------------------------------------------------------------------

static void add_words(rh_scan *scan, const rh_word_lanes *words) {
  for (unsigned i = 0; i < RH_LATIN_LANGUAGES; i++)
    scan->language_words[i] = (uint16_t)(scan->language_words[i] + rh_word_lane(words, i));
  scan->question_words += rh_word_lane(words, RH_WORD_LANE_QUESTION);
  scan->constraint_words += rh_word_lane(words, RH_WORD_LANE_CONSTRAINT);
  scan->code_words += rh_word_lane(words, RH_WORD_LANE_CODE);
  scan->math_words += rh_word_lane(words, RH_WORD_LANE_MATH);
}

void rh_scan_text(rh_scan *scan, const char *text, size_t length) {
  unsigned char copy[RH_SCAN_BYTES_MAX + COPY_ZEROS];
  const unsigned char *at = copy;
  const unsigned char *end = copy + length;
  reader in = {.scan = scan, .begin = copy, .script = ranges};
  assert(length <= RH_SCAN_BYTES_MAX);
  memcpy(copy, text, length);
  memset(copy + length, 0, COPY_ZEROS);
  rh_words_prepare();
  scan->list_items += begins_item(at);
  while (at < end) {
    unsigned char c = *at;
    if (is_letter(c) || is_latin_pair(c, at[1]))
      at = read_words(&in, at);
    else if (c == ' ' && at[1] > ' ' && at > copy)
      at++;  // belongs to what follows
    else if (c <= ' ')
      at = read_spaces(&in, at);
    else if (is_digit(c))
      at = read_number(&in, at);
    else if (c < 0x80)
      at = read_signs(&in, at);
    else
      at = read_character(&in, at);
  }
  end_line(&in);
  scan->tokens += (double)in.cents / 100.0;
  add_words(scan, &in.words);
  scan->bytes += length;
}
