// SPDX-License-Identifier: Apache-2.0
//
// What templates make of variables; white space around tags. tests/e2e/test_templates.py compares far more with jinja2.
#include "template_fixture.h"

static void white_space_around_tags(void **state) {
  (void)state;
  assert_renders("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", NULL, "a\n  b\nc");
  assert_renders("a {%- if true -%}  b  {%- endif -%} c", NULL, "abc");
  assert_renders("  {%+ if true +%}\nb{% endif %}", NULL, "  \nb");
  assert_renders("a  {{- 1 -}}  b\n{{ 2 }}\nc", NULL, "a1b\n2\nc");
  assert_renders("x\n  {# gone #}\ny {#- and -#} z", NULL, "x\nyz");
  assert_renders("{% raw %}{{ a }}{% endraw %}", NULL, "{{ a }}");
  assert_renders("a\r\nb\rc\r\n", NULL, "a\nb\nc");
  assert_renders("a\n\n", NULL, "a\n");
}

static void python_is_visible(void **state) {
  (void)state;
  assert_renders("{{ [1, 2.0, true, none, 'a\\'b', (1,), {'k': []}] }}", NULL,
                 "[1, 2.0, True, None, \"a'b\", (1,), {'k': []}]");
  assert_renders("{{ 7 // -2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 1 / 4 }} {{ 1e16 }}", NULL, "-4 2 1024 0.25 1e+16");
  assert_renders("{{ 'héllo'[1] }}{{ 'héllo'[-2:] }}{{ 'abc'[::-1] }}", NULL, "élocba");
  assert_renders("{{ x is defined }}{{ x }}{{ x|length }}", NULL, "False0");
}

static void scopes_and_namespaces(void **state) {
  (void)state;
  assert_renders("{% set x = 1 %}{% for i in [5, 6] %}{% set x = i %}{% endfor %}{{ x }}", NULL, "1");
  assert_renders("{% set n = namespace(x=1) %}{% for i in [5, 6] %}{% set n.x = i %}{% endfor %}{{ n.x }}", NULL, "6");
  assert_renders("{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{% call m(1) %}!{% endcall %}", NULL,
                 "12!");
}

// The filter of a loop sees what its body has set, as in jinja2, which asks item by item.
static void loops_ask_item_by_item(void **state) {
  (void)state;
  assert_renders(
      "{% set n = namespace(x=0) %}{% for i in range(6) if i != n.x %}{{ i }}{% set n.x = i + 1 %}{% endfor %}", NULL,
      "135");
  assert_renders("{% for i in [1, 2, 3] if i > 1 %}{{ loop.index }}{{ loop.length }}{{ loop.last }}{% endfor %}", NULL,
                 "12False22True");
}

static void variables_are_json(void **state) {
  (void)state;
  assert_renders("{{ a|tojson }} {{ a.b[1] }} {{ a.c is none }} {{ t }}",
                 "{\"a\":{\"b\":[1,2.5],\"c\":null,\"d\":\"<\\u00e9\\n\"},\"t\":true}",
                 "{\"b\": [1, 2.5], \"c\": null, \"d\": \"<é\\n\"} 2.5 True True");
  assert_renders("{{ range }}{{ namespace }}", "{\"range\":1,\"namespace\":2}", "12");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(white_space_around_tags), cmocka_unit_test(python_is_visible),
      cmocka_unit_test(scopes_and_namespaces),   cmocka_unit_test(loops_ask_item_by_item),
      cmocka_unit_test(variables_are_json),
  };
  return cmocka_run_group_tests_name("template_render", tests, NULL, NULL);
}
