// SPDX-License-Identifier: Apache-2.0
//
// base/utf8: every code point, every kind of broken sequence, and every way to cut a text in two.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/utf8.h"

// A plain encoder, so that the checker is tested against the definition and not against itself.
static size_t encode(uint32_t point, char out[4]) {
  if (point < 0x80) {
    out[0] = (char)point;
    return 1;
  }
  if (point < 0x800) {
    out[0] = (char)(0xC0 | (point >> 6));
    out[1] = (char)(0x80 | (point & 0x3F));
    return 2;
  }
  if (point < 0x10000) {
    out[0] = (char)(0xE0 | (point >> 12));
    out[1] = (char)(0x80 | ((point >> 6) & 0x3F));
    out[2] = (char)(0x80 | (point & 0x3F));
    return 3;
  }
  out[0] = (char)(0xF0 | (point >> 18));
  out[1] = (char)(0x80 | ((point >> 12) & 0x3F));
  out[2] = (char)(0x80 | ((point >> 6) & 0x3F));
  out[3] = (char)(0x80 | (point & 0x3F));
  return 4;
}

static void test_every_code_point(void **state) {
  (void)state;
  for (uint32_t point = 0; point < 0x120000; point++) {
    char bytes[4];
    size_t length = encode(point, bytes);
    bool good = point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
    if (rh_utf8_valid(bytes, length) != good) fail_msg("U+%04X", point);
    if (rh_utf8_char_length(bytes, length) != (good ? length : 0)) fail_msg("length of U+%04X", point);
    if (!good) continue;
    for (size_t cut = 1; cut < length; cut++) {
      if (rh_utf8_valid(bytes, cut)) fail_msg("U+%04X cut to %zu", point, cut);
      if (rh_utf8_complete_prefix(bytes, cut) != 0) fail_msg("U+%04X cut to %zu is not held back", point, cut);
    }
    if (rh_utf8_complete_prefix(bytes, length) != length) fail_msg("U+%04X is held back", point);
  }
}

// All strings of two and three bytes against a check by the definition: decode, then look for overlong forms.
static void test_every_short_string(void **state) {
  (void)state;
  for (uint32_t bits = 0; bits < 0x1000000; bits += 1) {
    if ((bits & 0xFF) > 0x01 && (bits & 0xFF) != 0x7F && (bits & 0xFF) != 0x80 && (bits & 0xFF) != 0xBF &&
        (bits & 0xFF) != 0xC0) {
      continue;  // the last byte only needs its borders
    }
    unsigned char bytes[3] = {(unsigned char)(bits >> 16), (unsigned char)(bits >> 8), (unsigned char)bits};
    bool good = true;
    for (size_t i = 0; i < 3 && good;) {
      unsigned char byte = bytes[i];
      size_t need = byte < 0x80 ? 1 : byte >= 0xC0 && byte < 0xE0 ? 2 : byte >= 0xE0 && byte < 0xF0 ? 3 : 9;
      if (i + need > 3) {
        good = false;
        break;
      }
      uint32_t point = need == 1 ? byte : need == 2 ? byte & 0x1Fu : byte & 0x0Fu;
      for (size_t j = 1; j < need; j++) {
        good = good && (bytes[i + j] & 0xC0) == 0x80;
        point = (point << 6) | (bytes[i + j] & 0x3Fu);
      }
      char again[4];
      good = good && encode(point, again) == need && (point < 0xD800 || point > 0xDFFF);
      i += need;
    }
    if (rh_utf8_valid((const char *)bytes, 3) != good) fail_msg("%06x", bits);
  }
}

static void test_long_ascii_takes_the_fast_way(void **state) {
  (void)state;
  char text[64];
  memset(text, 'a', sizeof text);
  for (size_t length = 0; length <= sizeof text; length++) assert_true(rh_utf8_valid(text, length));
  for (size_t bad = 0; bad < sizeof text; bad++) {
    text[bad] = (char)0xFF;
    assert_false(rh_utf8_valid(text, sizeof text));
    assert_true(rh_utf8_valid(text, bad));
    text[bad] = 'a';
  }
}

static void test_a_text_cut_anywhere_comes_out_whole(void **state) {
  (void)state;
  const char text[] = "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF";
  size_t length = sizeof text - 1;
  for (size_t cut = 0; cut <= length; cut++) {
    size_t whole = rh_utf8_complete_prefix(text, cut);
    assert_true(whole <= cut && cut - whole <= 3);
    assert_true(rh_utf8_valid(text, whole));
    // Nothing more could have been given out: the rest is the beginning of one character.
    if (whole < cut) assert_int_equal(rh_utf8_char_length(text + whole, cut - whole), 0);
  }
}

static void test_garbage_is_not_held_back(void **state) {
  (void)state;
  const char *garbage[] = {"\xFF",         "\x80",         "\x80\x80\x80",    "\xC0",     "\xC1",
                           "\xF5",         "\xE0\x80",     "\xED\xA0",        "\xF0\x80", "\xF4\x90",
                           "\xF0\x9F\x41", "\xC3\xA4\x80", "\xE2\x82\xAC\x80"};
  for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
    size_t length = strlen(garbage[i]);
    assert_int_equal(rh_utf8_complete_prefix(garbage[i], length), length);
  }
  assert_int_equal(rh_utf8_complete_prefix("", 0), 0);
  assert_int_equal(rh_utf8_char_length("", 0), 0);
  assert_true(rh_utf8_valid("", 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_code_point),
      cmocka_unit_test(test_every_short_string),
      cmocka_unit_test(test_long_ascii_takes_the_fast_way),
      cmocka_unit_test(test_a_text_cut_anywhere_comes_out_whole),
      cmocka_unit_test(test_garbage_is_not_held_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
