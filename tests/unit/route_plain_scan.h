// SPDX-License-Identifier: Apache-2.0
//
// The pass of src/route/scan.c written plainly, byte by byte, with no care for time: what test_route_scan.c compares it with.
#ifndef RH_TESTS_ROUTE_PLAIN_SCAN_H
#define RH_TESTS_ROUTE_PLAIN_SCAN_H

#include <string.h>

#include "route/scan.h"

#define WORD_BYTES_MAX 16u

// Tokens a character, by script; letters of Latin words are counted in word_tokens().
static const double char_tokens[RH_SCRIPT_COUNT] = {
    [RH_SCRIPT_CYRILLIC] = 0.34,   [RH_SCRIPT_GREEK] = 0.55, [RH_SCRIPT_HEBREW] = 0.60, [RH_SCRIPT_ARABIC] = 0.50,
    [RH_SCRIPT_DEVANAGARI] = 0.60, [RH_SCRIPT_THAI] = 0.60,  [RH_SCRIPT_HAN] = 0.75,    [RH_SCRIPT_KANA] = 0.70,
    [RH_SCRIPT_HANGUL] = 0.75,     [RH_SCRIPT_OTHER] = 1.50,
};

typedef struct reader {
  rh_scan *scan;
  const unsigned char *text;
  size_t length, at;
  unsigned char last;  // of the line, not a space; 0 = none yet
} reader;

static unsigned char peek(const reader *in, size_t ahead) {
  return in->at + ahead < in->length ? in->text[in->at + ahead] : 0;
}

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

static double word_tokens(size_t letters, size_t accents) {
  double tokens = letters <= 8 ? 1.0 : 1.0 + ((double)letters - 8.0) * 0.2;
  return tokens + 0.6 * (double)accents;
}

static void count_word(rh_scan *scan, rh_word_key key) {
  const rh_word_lanes *says = rh_words_find(key);
  for (unsigned i = 0; i < RH_LATIN_LANGUAGES; i++)
    scan->language_words[i] = (uint16_t)(scan->language_words[i] + rh_word_lane(says, i));
  scan->question_words += rh_word_lane(says, RH_WORD_LANE_QUESTION);
  scan->constraint_words += rh_word_lane(says, RH_WORD_LANE_CONSTRAINT);
  scan->code_words += rh_word_lane(says, RH_WORD_LANE_CODE);
  scan->math_words += rh_word_lane(says, RH_WORD_LANE_MATH);
}

static void read_word(reader *in) {
  const unsigned char *at = in->text + in->at;
  const unsigned char *end = in->text + in->length;
  const unsigned char *begin = at;
  uint64_t high = 0;
  uint64_t low = 0;
  size_t accents = 0;
  for (; at < end; at++) {
    unsigned char c = *at;
    if (is_letter(c)) {
      high = high << 8 | low >> 56;
      low = low << 8 | (c | 0x20);
    } else if (c >= 0xc3 && end - at > 1 && is_latin_pair(c, at[1])) {
      uint32_t point = lower_latin((uint32_t)(c & 0x1f) << 6 | (at[1] & 0x3f));
      high = high << 16 | low >> 48;
      low = low << 16 | (0xc0 | point >> 6) << 8 | (0x80 | (point & 0x3f));
      accents++;
      at++;
    } else {
      break;
    }
  }
  size_t bytes = (size_t)(at - begin);
  size_t letters = bytes - accents;
  in->scan->words++;
  in->scan->letters[RH_SCRIPT_LATIN] += (uint32_t)letters;
  in->scan->tokens += word_tokens(letters, accents);
  if (bytes <= WORD_BYTES_MAX) count_word(in->scan, (rh_word_key){high, low});
  in->at += bytes;
  in->last = 'a';
}

static bool joins_numbers(unsigned char c) { return c == '+' || c == '*' || c == '=' || c == '^'; }

static void read_number(reader *in) {
  size_t begin = in->at;
  while (is_digit(peek(in, 0))) in->at++;
  in->scan->tokens += (double)((in->at - begin + 2) / 3);
  in->scan->sums += joins_numbers(in->last);
  size_t ahead = peek(in, 0) == ' ' ? 1 : 0;
  in->scan->sums += joins_numbers(peek(in, ahead)) && peek(in, ahead + 1) != peek(in, ahead);
  in->last = '0';
}

static bool ends_code(unsigned char c) { return c == ';' || c == '{' || c == '}'; }

// "- ", "* " and "1. " at a line's beginning: what a list of wishes looks like.
static bool begins_item(const reader *in) {
  size_t ahead = 0;
  while (ahead < 3 && is_digit(peek(in, ahead))) ahead++;
  unsigned char c = peek(in, ahead);
  bool marked = ahead > 0 ? c == '.' || c == ')' : c == '-' || c == '*';
  return marked && peek(in, ahead + 1) == ' ';
}

static void end_line(reader *in) {
  if (in->last == 0) return;
  in->scan->lines++;
  in->scan->code_lines += ends_code(in->last);
  in->last = 0;
}

static void read_spaces(reader *in) {
  size_t begin = in->at;
  bool line = false;
  for (unsigned char c = peek(in, 0); c != 0 && c <= ' '; c = peek(in, 0)) {
    if (c == '\n') {
      end_line(in);
      line = true;
    }
    in->at++;
  }
  if (in->at == begin) in->at++;  // a zero byte
  // One space belongs to the word after it; line breaks with the indentation after them are one token.
  if (line || in->at - begin > 1) in->scan->tokens += 1.0;
  if (line || begin == 0) in->scan->list_items += begins_item(in);
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

static void read_signs(reader *in) {
  size_t begin = in->at;
  for (unsigned char c = peek(in, 0); c > ' ' && c < 0x80 && !is_letter(c) && !is_digit(c); c = peek(in, 0)) {
    unsigned char next = peek(in, 1);
    in->last = c;
    if (c == '`' && next == '`' && peek(in, 2) == '`') {
      in->scan->fences++;
      in->at += 2;
    } else if (c == '\\' && is_letter(next) && is_letter(peek(in, 2))) {
      in->scan->math_signs++;
    } else if (is_operator(c, next)) {
      in->scan->operators++;
      in->last = next == '=' ? '>' : next;  // "x == 5" is no sum
      in->at++;
    }
    in->at++;
  }
  in->scan->tokens += (double)((in->at - begin + 2) / 3);
}

static rh_script script_of(uint32_t point) {
  static const struct {
    uint32_t first, last;
    rh_script script;
  } ranges[] = {
      {0x370, 0x3ff, RH_SCRIPT_GREEK},    {0x400, 0x52f, RH_SCRIPT_CYRILLIC},   {0x590, 0x5ff, RH_SCRIPT_HEBREW},
      {0x600, 0x77f, RH_SCRIPT_ARABIC},   {0x900, 0x97f, RH_SCRIPT_DEVANAGARI}, {0xe00, 0xe7f, RH_SCRIPT_THAI},
      {0x1100, 0x11ff, RH_SCRIPT_HANGUL}, {0x1e00, 0x1eff, RH_SCRIPT_LATIN},    {0x1f00, 0x1fff, RH_SCRIPT_GREEK},
      {0x3040, 0x30ff, RH_SCRIPT_KANA},   {0x3400, 0x4dbf, RH_SCRIPT_HAN},      {0x4e00, 0x9fff, RH_SCRIPT_HAN},
      {0xac00, 0xd7af, RH_SCRIPT_HANGUL}, {0xf900, 0xfaff, RH_SCRIPT_HAN},      {0xfb50, 0xfdff, RH_SCRIPT_ARABIC},
      {0x20000, 0x3134f, RH_SCRIPT_HAN},
  };
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges && point >= ranges[i].first; i++) {
    if (point <= ranges[i].last) return ranges[i].script;
  }
  return RH_SCRIPT_OTHER;
}

// × ÷ √ ∞ and the blocks of operators and arrows of mathematics.
static bool is_math_sign(uint32_t point) {
  return point == 0xd7 || point == 0xf7 || (point >= 0x2200 && point <= 0x22ff) ||
         (point >= 0x2a00 && point <= 0x2aff) || point == 0xb2 || point == 0xb3;
}

static uint32_t decode(reader *in) {
  unsigned char c = peek(in, 0);
  size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
  uint32_t point = length == 1 ? 0xfffd : c & (0x7fu >> length);
  in->at++;
  for (size_t i = 1; i < length; i++) {
    if (!is_tail(peek(in, 0))) return 0xfffd;  // cut, or no UTF-8
    point = point << 6 | (peek(in, 0) & 0x3fu);
    in->at++;
  }
  return point;
}

static void read_character(reader *in) {
  uint32_t point = decode(in);
  in->last = 0x80;
  if (point >= 0x2000 && point <= 0x206f) {  // dashes and quotes
    in->scan->tokens += 0.5;
    return;
  }
  if (point >= 0x3000 && point <= 0x303f) {  // their punctuation
    in->scan->tokens += 0.8;
    return;
  }
  rh_script script = script_of(point);
  in->scan->letters[script]++;
  in->scan->tokens += char_tokens[script];
  in->scan->math_signs += is_math_sign(point);
  if (script == RH_SCRIPT_CYRILLIC)
    in->scan->ukrainian += point == 0x456 || point == 0x457 || point == 0x454 || point == 0x491 || point == 0x404;
  if (script == RH_SCRIPT_ARABIC)
    in->scan->persian += point == 0x67e || point == 0x686 || point == 0x698 || point == 0x6af || point == 0x6cc;
}

static void plain_scan(rh_scan *scan, const char *text, size_t length) {
  reader in = {.scan = scan, .text = (const unsigned char *)text, .length = length};
  rh_words_prepare();
  scan->list_items += begins_item(&in);
  while (in.at < length) {
    unsigned char c = in.text[in.at];
    if (is_letter(c) || is_latin_pair(c, peek(&in, 1)))
      read_word(&in);
    else if (c <= ' ')
      read_spaces(&in);
    else if (is_digit(c))
      read_number(&in);
    else if (c < 0x80)
      read_signs(&in);
    else
      read_character(&in);
  }
  end_line(&in);
  scan->bytes += length;
}

#endif
