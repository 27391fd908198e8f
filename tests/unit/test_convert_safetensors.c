// SPDX-License-Identifier: Apache-2.0
//
// The safetensors header: what it finds, and that no lie in it reaches past the file.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "convert/safetensors.h"

// A file with this header and `data` bytes behind it, in an exact allocation.
static uint8_t *make(const char *header, uint64_t claimed, size_t data, size_t *length) {
  size_t header_bytes = strlen(header);
  *length = 8 + header_bytes + data;
  uint8_t *bytes = calloc(*length, 1);
  assert_non_null(bytes);
  for (unsigned i = 0; i < 8; i++) bytes[i] = (uint8_t)(claimed >> (8 * i));
  memcpy(bytes + 8, header, header_bytes);
  return bytes;
}

static rh_status parse(const char *header, size_t data, rh_safetensors *out, rh_error *error) {
  size_t length;
  uint8_t *bytes = make(header, strlen(header), data, &length);
  rh_status status = rh_safetensors_parse(bytes, length, out, error);
  free(bytes);
  return status;
}

static void test_finds_tensors(void **state) {
  (void)state;
  static const char header[] =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
      "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},"
      "\"scalar\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[32,34]},"
      "\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[34,42]},"
      "\"none\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[42,42]}}";
  rh_safetensors found;
  rh_error error = {0};
  assert_int_equal(parse(header, 42, &found, &error), RH_OK);
  assert_int_equal(found.count, 5);
  const rh_safetensor *a = &found.tensors[0];
  assert_string_equal(a->name, "a");
  assert_int_equal(a->dtype, RH_DTYPE_F32);
  assert_int_equal(a->dims, 2);
  assert_int_equal(a->shape[0], 2);
  assert_int_equal(a->shape[1], 3);
  assert_int_equal(a->elements, 6);
  assert_int_equal(a->offset, 8 + sizeof header - 1);
  assert_int_equal(found.tensors[1].dtype, RH_DTYPE_BF16);
  assert_int_equal(found.tensors[1].offset, a->offset + 24);
  assert_int_equal(found.tensors[2].elements, 1);
  assert_int_equal(found.tensors[3].dtype, RH_DTYPE_OTHER);
  assert_string_equal(found.tensors[3].dtype_name, "I64");
  assert_int_equal(found.tensors[4].elements, 0);
  rh_safetensors_close(&found);
}

static void test_refuses_lies(void **state) {
  (void)state;
  static const struct {
    const char *header;
    const char *word;  // of the message
  } cases[] = {
      {"[]", "not a JSON object"},
      {"{\"a\":", "not a JSON object"},
      {"{\"a\":1}", "dtype"},
      {"{\"a\":{\"dtype\":\"F32\"}}", "shape"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "pair"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9.5]}}", "pair"},
      // Beyond the end, backwards, negative.
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}", "not fetched whole"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}", "bytes"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", "bytes"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", "bytes"},
      // A shape that is not what lies there, also by overflow: 2^62 * 4 * 4 is 0.
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "does not fit"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", "sizes"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", "does not fit"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,0]}}", "sizes"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", "at most"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":\"x\",\"data_offsets\":[0,4]}}", "shape"},
      // The same name twice.
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{}}", "JSON"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rh_safetensors found;
    rh_error error = {0};
    assert_int_equal(parse(cases[i].header, 16, &found, &error), RH_INVALID);
    if (strstr(error.message, cases[i].word) == NULL) fail_msg("%s: %s", cases[i].header, error.message);
    assert_null(found.tensors);
  }
}

static void test_refuses_wrong_lengths(void **state) {
  (void)state;
  static const uint64_t claims[] = {3, 1000, RH_SAFETENSORS_HEADER_MAX + 1, UINT64_MAX, UINT64_MAX - 7};
  for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
    size_t length;
    uint8_t *bytes = make("{\"a\":1}", claims[i], 0, &length);
    rh_safetensors found;
    rh_error error = {0};
    assert_int_equal(rh_safetensors_parse(bytes, length, &found, &error), RH_INVALID);
    free(bytes);
  }
  // Every prefix of a good file.
  static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
  size_t length;
  uint8_t *bytes = make(header, sizeof header - 1, 8, &length);
  for (size_t part = 0; part <= length; part++) {
    uint8_t *exact = malloc(part + 1);
    memcpy(exact, bytes, part);
    rh_safetensors found;
    rh_error error = {0};
    assert_int_equal(rh_safetensors_parse(exact, part, &found, &error), part == length ? RH_OK : RH_INVALID);
    rh_safetensors_close(&found);
    free(exact);
  }
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_finds_tensors),
      cmocka_unit_test(test_refuses_lies),
      cmocka_unit_test(test_refuses_wrong_lengths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
