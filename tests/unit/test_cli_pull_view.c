// SPDX-License-Identifier: Apache-2.0
//
// The sentences for a pull's events.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/pull_view.h"

static const char *say(const char *json) {
  static char text[1024];
  json_t *event = json_loads(json, 0, NULL);
  assert_non_null(event);
  rh_pull_view_sentence(event, text, sizeof text);
  json_decref(event);
  return text;
}

static void test_resolved(void **state) {
  (void)state;
  assert_string_equal(say("{\"event\":\"resolved\",\"source\":\"hf:a/b\",\"name\":\"b\",\"version\":\"q4\",\"licence\":"
                          "\"MIT\",\"bytes\":2097152,\"missing_bytes\":2097152,\"files\":[{},{}]}"),
                      "pulling b:q4 from hf:a/b: 2 files, 2 MiB, licence MIT");
  assert_string_equal(say("{\"event\":\"resolved\",\"source\":\"hf:a/b\",\"name\":\"b\",\"version\":\"q4\",\"licence\":"
                          "\"MIT\",\"bytes\":2097152,\"missing_bytes\":1048576,\"files\":[{}]}"),
                      "pulling b:q4 from hf:a/b: 1 file, 2 MiB, 1 MiB of it missing, licence MIT");
  assert_string_equal(say("{\"event\":\"resolved\",\"name\":\"b\",\"version\":\"q4\",\"already\":true}"),
                      "b:q4 is there already");
}

// A package's content is not known before it is here, and nobody should be told that it has no files.
static void test_resolved_without_sizes(void **state) {
  (void)state;
  assert_string_equal(
      say("{\"event\":\"resolved\",\"source\":\"pypi:x==1\",\"name\":\"x\",\"version\":\"1\",\"licence\":"
          "\"\",\"bytes\":0,\"missing_bytes\":0,\"files\":[]}"),
      "pulling x:1 from pypi:x==1: its files and size are seen when it is here, licence not stated yet");
  assert_non_null(strstr(say("{\"event\":\"resolved\",\"name\":\"x\",\"version\":\"1\",\"bytes\":0,\"files\":[{}]}"),
                         "1 file, size unknown until it is here"));
}

static void test_others(void **state) {
  (void)state;
  assert_string_equal(say("{\"event\":\"waiting\",\"for\":\"another pull of the same model (pid 7)\"}"),
                      "waiting for another pull of the same model (pid 7)");
  assert_string_equal(
      say("{\"event\":\"retry\",\"file\":\"m.gguf\",\"attempt\":2,\"wait_s\":3.2,\"reason\":\"HTTP 503\"}"),
      "m.gguf: HTTP 503; trying again in 3s (attempt 2)");
  assert_string_equal(say("{\"event\":\"unpacking\",\"file\":\"x.whl\"}"), "unpacking x.whl");
}

// What a newer program tells is not shown as nonsense.
static void test_unknown_events_say_nothing(void **state) {
  (void)state;
  assert_string_equal(say("{\"event\":\"something new\",\"a\":1}"), "");
  assert_string_equal(say("{}"), "");
  assert_string_equal(say("[]"), "");
  assert_string_equal(say("{\"event\":7}"), "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resolved),
      cmocka_unit_test(test_resolved_without_sizes),
      cmocka_unit_test(test_others),
      cmocka_unit_test(test_unknown_events_say_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
