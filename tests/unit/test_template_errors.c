// SPDX-License-Identifier: Apache-2.0
//
// What a template is refused for, at once or while it is rendered: each says the line and what.
#include "template_fixture.h"

static void syntax_says_the_line(void **state) {
  (void)state;
  assert_refused("a\n\n{% if x %}", RH_INVALID, "line 3 of the template: the template ends where 'elif' is missing");
  assert_refused("{{ 1 + }}", RH_INVALID, "an expression is missing");
  assert_refused("\n{{ 'open }}", RH_INVALID, "line 2 of the template: a string without its end");
  assert_refused("{% nonsense %}", RH_INVALID, "there is no tag 'nonsense'");
  assert_refused("{{ x|nonsense }}", RH_INVALID, "there is no filter named 'nonsense'");
  assert_refused("{{ x is nonsense }}", RH_INVALID, "there is no test named 'nonsense'");
  assert_refused("{# open", RH_INVALID, "a comment without its end");
  assert_refused("{% raw %}open", RH_INVALID, "a raw block without its end");
  assert_refused("{{ (1] }}", RH_INVALID, "a closing bracket of the wrong kind");
  assert_refused("{{ 99999999999999999999 }}", RH_INVALID, "more than 64 bits");
  assert_refused("{% break %}", RH_INVALID, "outside of a loop");
  assert_refused("\xff", RH_INVALID, "not UTF-8");
}

static void parts_unknown_here_are_unsupported(void **state) {
  (void)state;
  assert_refused("{% include 'x' %}", RH_UNSUPPORTED, "the tag include");
  assert_refused("{% extends 'x' %}", RH_UNSUPPORTED, "the tag extends");
  assert_refused("{{ x|pprint }}", RH_UNSUPPORTED, "the filter pprint");
}

// In a branch a filter that does not exist is an error only when it is met.
static void unknown_filters_in_branches(void **state) {
  (void)state;
  assert_renders("{% if false %}{{ x|nonsense }}{% endif %}ok", NULL, "ok");
  assert_renders("{{ (x|nonsense) if false else 'ok' }}", NULL, "ok");
  assert_refused("\n{% if true %}{{ x|nonsense }}{% endif %}", RH_INVALID,
                 "line 2 of the chat template: there is no filter named");
}

static void undefined_is_an_error_where_it_is_used(void **state) {
  (void)state;
  assert_refused("{{ x.y }}", RH_INVALID, "'x' is undefined");
  assert_refused("{% set d = {} %}{{ d.a.b }}", RH_INVALID, "'dict object' has no attribute 'a'");
  assert_refused("{{ x + 1 }}", RH_INVALID, "'x' is undefined");
  assert_refused("{{ f() }}", RH_INVALID, "'f' is undefined");
}

static void python_errors(void **state) {
  (void)state;
  assert_refused("{{ 'a' + 1 }}", RH_INVALID, "can only concatenate str (not \"int\") to str");
  assert_refused("{{ 1 / 0 }}", RH_INVALID, "division by zero");
  assert_refused("{{ 1 < 'a' }}", RH_INVALID, "'<' not supported between instances of 'int' and 'str'");
  assert_refused("{{ 9223372036854775807 + 1 }}", RH_INVALID, "more than 64 bits");
  assert_refused("{{ -9223372036854775807 - 2 }}", RH_INVALID, "more than 64 bits");
  assert_refused("{{ (-9223372036854775807 - 1) // -1 }}", RH_INVALID, "more than 64 bits");
  assert_refused("{{ namespace()|tojson }}", RH_INVALID, "not JSON serializable");
}

static void the_sandbox_keeps_lists_as_they_are(void **state) {
  (void)state;
  assert_refused("{% set l = [1] %}{{ l.append(2) }}", RH_INVALID,
                 "access to attribute 'append' of 'list' object is unsafe");
  assert_refused("{% set d = {} %}{{ d.update({}) }}", RH_INVALID,
                 "access to attribute 'update' of 'dict' object is unsafe");
}

static void raised_words_stand_alone(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_error error;
  assert_int_equal(render_with("text{{ raise_exception('Roles must alternate: ' ~ 1) }}", NULL, &out, &error),
                   RH_INVALID);
  assert_string_equal(error.message, "Roles must alternate: 1");
  rh_dynbuf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(syntax_says_the_line),
      cmocka_unit_test(parts_unknown_here_are_unsupported),
      cmocka_unit_test(unknown_filters_in_branches),
      cmocka_unit_test(undefined_is_an_error_where_it_is_used),
      cmocka_unit_test(python_errors),
      cmocka_unit_test(the_sandbox_keeps_lists_as_they_are),
      cmocka_unit_test(raised_words_stand_alone),
  };
  return cmocka_run_group_tests_name("template_errors", tests, NULL, NULL);
}
