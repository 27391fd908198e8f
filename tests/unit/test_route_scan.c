// SPDX-License-Identifier: Apache-2.0
//
// route/scan against the same pass written plainly, byte by byte, with no care for time: on hundreds of thousands of random texts
// both must count the same, but for the rounding of tokens.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "route_plain_scan.h"

#define ROUNDS 60000

// --- texts ---------------------------------------------------------------------------------------------------------

static uint32_t below(uint32_t limit) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 33) % limit;
}

static const char *const pieces[] = {
    " ",
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\n    ",
    "\t",
    "\r\n",
    "the",
    "why",
    "must",
    "function",
    "integral",
    "eigenvalues",
    "reasoning",
    "tradeoffs",
    "internationally",
    "characteristics",
    "straightforwardly",
    "größer",
    "für",
    "être",
    "comó",
    "ÉCRIS",
    "łódź",
    "Ğ",
    "ı",
    "×",
    "÷",
    "√",
    "∞",
    "x²",
    "0",
    "7",
    "42",
    "1234567",
    "1. ",
    "12) ",
    "- ",
    "* ",
    "-",
    "*",
    "+",
    "=",
    "==",
    "!=",
    "=>",
    "->",
    "()",
    "</",
    "+=",
    "++",
    "&&",
    "||",
    "::",
    ";",
    "{",
    "}",
    "```",
    "``",
    "\\frac",
    "\\x",
    "\\",
    "a = b + 7;",
    "3 + 4",
    "2^10",
    "数据",
    "。",
    "カタカナ",
    "ひらがな",
    "한국어",
    "привет",
    "їжак",
    "سلام",
    "پ",
    "שלום",
    "γεια",
    "ἀ",
    "नमस्ते",
    "ไทย",
    "ẞ",
    "🙂",
    "—",
    "“",
    "\xc3",
    "\xe2\x88",
    "\xff",
    "\x80",
    "\x7f",
    "@",
    "[",
    "`",
    "z{",
    "Z[",
};

static size_t random_text(char *text, size_t room) {
  size_t length = 0;
  size_t wanted = below(4) == 0 ? below((uint32_t)room + 1) : below(60);
  bool wild = below(8) == 0;  // any bytes, zeros too
  while (length < wanted) {
    const char *piece = pieces[below(sizeof pieces / sizeof *pieces)];
    char letter[2] = {(char)(wild ? below(256) : 'A' + below(58)), '\0'};
    bool single = wild || below(6) == 0;
    size_t bytes = single ? 1 : strlen(piece);
    if (bytes > wanted - length) bytes = wanted - length;  // characters are cut too
    memcpy(text + length, single ? letter : piece, bytes);
    length += bytes;
  }
  return length;
}

static void expect_same(const rh_scan *fast, const rh_scan *plain) {
  rh_scan copy;
  memcpy(&copy, fast, sizeof copy);  // with what lies between its fields
  assert_true(fabs(fast->tokens - plain->tokens) < 1e-6);
  copy.tokens = plain->tokens;
  assert_memory_equal(&copy, plain, sizeof copy);
}

// The text lies at the very end of its memory, so that a sanitizer sees every byte that is read beyond.
static void counts_what_the_plain_pass_counts(void **state) {
  (void)state;
  static char room[RH_SCAN_BYTES_MAX];
  rh_scan fast, plain, sum = {0};
  for (int i = 0; i < ROUNDS; i++) {
    char text[RH_SCAN_BYTES_MAX];
    size_t length = random_text(text, sizeof text);
    char *end = room + sizeof room - length;
    memcpy(end, text, length);
    memset(&fast, 0, sizeof fast);
    memset(&plain, 0, sizeof plain);
    for (int times = 1 + (i % 16 == 0); times > 0; times--) {  // it adds to what is there
      rh_scan_text(&fast, end, length);
      plain_scan(&plain, end, length);
    }
    expect_same(&fast, &plain);
    sum.words += fast.words, sum.fences += fast.fences, sum.sums += fast.sums, sum.ukrainian += fast.ukrainian;
    sum.persian += fast.persian, sum.question_words += fast.question_words, sum.list_items += fast.list_items;
    sum.code_lines += fast.code_lines, sum.math_words += fast.math_words;
    for (size_t k = 0; k < RH_SCRIPT_COUNT; k++) sum.letters[k] += fast.letters[k];
  }
  // Or the test would say nothing.
  assert_true(sum.words > ROUNDS && sum.fences > 0 && sum.sums > 0 && sum.ukrainian > 0 && sum.persian > 0);
  assert_true(sum.question_words > 0 && sum.list_items > 0 && sum.code_lines > 0 && sum.math_words > 0);
  for (size_t k = 0; k < RH_SCRIPT_COUNT; k++) assert_true(sum.letters[k] > 0);
}

// Every length around the eight bytes that are read at once, every letter beside what is none.
static void words_of_every_length_are_seen(void **state) {
  (void)state;
  for (size_t length = 0; length <= 40; length++) {
    for (int c = 0; c < 256; c++) {
      char text[48];
      rh_scan fast, plain;
      memset(&fast, 0, sizeof fast);
      memset(&plain, 0, sizeof plain);
      memset(text, length % 2 == 0 ? 'q' : 'Z', length);
      text[length] = (char)c;
      rh_scan_text(&fast, text, length + 1);
      plain_scan(&plain, text, length + 1);
      expect_same(&fast, &plain);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(counts_what_the_plain_pass_counts),
                                     cmocka_unit_test(words_of_every_length_are_seen)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
