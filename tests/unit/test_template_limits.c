// SPDX-License-Identifier: Apache-2.0
//
// A template that wants too much is stopped: steps, memory, output, depth, size.
#include <time.h>

#include "base/clock.h"
#include "template/render.h"
#include "template_fixture.h"

static char *repeated(const char *begin, const char *middle, size_t times, const char *end) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, (size_t)1 << 26);
  (void)rh_dynbuf_append_text(&text, begin);
  for (size_t i = 0; i < times; i++) (void)rh_dynbuf_append_text(&text, middle);
  (void)rh_dynbuf_append_text(&text, end);
  return rh_dynbuf_take(&text, NULL);
}

static void steps(void **state) {
  (void)state;
  assert_refused(
      "{% set r = range(1000) %}{% for a in range(100000) %}{% for b in r %}{% if b %}{% endif %}{% endfor %}{% endfor "
      "%}",
      RH_TOO_LARGE, "it takes more than");
  assert_refused("{{ range(100001) }}", RH_INVALID, "Range too big");
}

static void memory(void **state) {
  (void)state;
  assert_refused(
      "{% set n = namespace(s='0123456789') %}{% for i in range(100) %}{% set n.s = n.s + n.s %}{% endfor %}",
      RH_TOO_LARGE, "memory");
  assert_refused("{% set n = namespace(l=[1, 2]) %}{% for i in range(100) %}{% set n.l = n.l + n.l %}{% endfor %}",
                 RH_TOO_LARGE, "");
  assert_refused("{{ 'ab' * 9000000000000000000 }}", RH_TOO_LARGE, "memory");
  assert_refused("{{ [1] * 4000000000000000000 }}", RH_TOO_LARGE, "memory");
  assert_refused("{{ 'a'.center(9000000000000000000) }}", RH_TOO_LARGE, "memory");
}

// A search that is quadratic in the worst case costs steps, not minutes.
static void slow_searches(void **state) {
  (void)state;
  clock_t begin = clock();
  assert_refused("{% set a = 'a' * 20000000 %}{% set b = 'b' ~ 'a' * 10000000 %}{{ a.rfind(b) }}", RH_TOO_LARGE,
                 "steps");
  assert_refused("{% set a = 'a' * 20000000 %}{% set b = 'b' ~ 'a' * 10000000 %}{{ a.rsplit(b) }}", RH_TOO_LARGE,
                 "steps");
  assert_true((clock() - begin) / CLOCKS_PER_SEC < 30);
}

// What walks over a long text or list costs steps too: a loop around it ends soon. Many of the steps are burnt first,
// for a quick test; without the work in it, the loop would come to its end.
static void long_values(void **state) {
  (void)state;
#define TEXT "a = 'a' * 50000000"
#define LISTS "l = [0] * 1000000 %}{% set m = [0] * 1000000"
  const struct {
    const char *set, *work;
  } rows[] = {
      {TEXT, "a is lower"},
      {TEXT, "a.isupper()"},
      {TEXT, "a.startswith((a, a, a))"},
      {TEXT, "a.endswith(a, 1)"},
      {TEXT, "a.removeprefix(a)"},
      {TEXT, "a|wordcount"},
      {TEXT, "a|center(1)"},
      {TEXT, "a|truncate(60000000)"},
      {TEXT, "a.count('')"},
      {TEXT, "a.count('a')"},
      {TEXT, "a.find('b', 20000000)"},
      {TEXT, "a.replace('a', '')"},
      {TEXT, "a.replace('', '', 0)"},
      {TEXT, "('{:1}' * 100000).format(*([a] * 100000))"},
      {LISTS, "l == m"},
      {LISTS, "l < m"},
      {LISTS, "l|max"},
      {LISTS, "l|sum"},
      {"s = ' ' * 50000000", "s|int"},
      {"s = ' ' * 10000000", "s.strip('b' * 4000 ~ ' ')"},
      {"p = 'a.' * 500000", "[1]|map(attribute=p, default=1)|list"},
      {"f = '%(a).300f' * 1000000", "f % {'a': 1e300}"},
      {"l = [1.1e300] * 100000", "l|tojson"},
      {"n = namespace(l=[0] * 10000) %}{% for i in range(700) %}{% set n.l = [n.l] %}{% endfor %}{% set l = n.l",
       "l|tojson(indent=0)"},
  };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const size_t stride = 6;  // what all of them take there is minutes, and shows nothing new
#else
  const size_t stride = 1;
#endif
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i += stride) {
    char text[1024];
    (void)snprintf(
        text, sizeof text,
        "{%% set burnt = [0] * 4000000 %%}{%% set %s %%}{%% for i in range(100000) %%}{%% if %s %%}{%% endif %%}{%% "
        "endfor %%}",
        rows[i].set, rows[i].work);
    uint64_t begin = rh_clock_now_ns();
    assert_refused(text, RH_TOO_LARGE, "line 1 of the chat template: it ");
    print_message("%6.0f ms: %s\n", rh_ns_to_ms(rh_clock_now_ns() - begin), rows[i].work);
    assert_true(rh_clock_now_ns() - begin < 60 * RH_NS_PER_S);
  }
#undef TEXT
#undef LISTS
  assert_renders(
      "{% set burnt = [0] * 4000000 %}{% set a = 'a' * 50000000 %}{% for i in range(100000) %}{% if a %}{% endif "
      "%}{% endfor %}",
      NULL, "");
  // A list is the same as itself without a look at its items.
  assert_renders("{% set a = [0] * 2000000 %}{% for i in range(100000) %}{% if a != a %}x{% endif %}{% endfor %}", NULL,
                 "");
}

// The clock is looked at once in many steps.
static void seconds(void **state) {
  (void)state;
  rh_error error = {0};
  tpl_render render = {.line = 7, .deadline_ns = UINT64_MAX, .error = &error};
  assert_true(rh_tpl_spend(&render, 1));
  render.deadline_ns = rh_clock_now_ns() - 1;
  assert_true(rh_tpl_spend(&render, TPL_STEPS_LOOK - 1));
  assert_false(rh_tpl_spend(&render, 1));
  assert_int_equal(render.status, RH_TOO_LARGE);
  assert_string_equal(error.message, "line 7 of the chat template: it takes more than 5 seconds");
}

static void output(void **state) {
  (void)state;
  assert_refused("{% set s = 'x' * 60000000 %}{{ s }}{{ s }}", RH_TOO_LARGE, "");
}

static void depth_of_the_text(void **state) {
  (void)state;
  const struct {
    const char *begin, *middle, *end;
  } rows[] = {{"{{ ", "(", " }}"},          {"{{ ", "[", " }}"},
              {"{{ ", "not ", "1 }}"},      {"{{ ", "-", "1 }}"},
              {"{{ ", "{1:", " }}"},        {"{{ ", "a[", " }}"},
              {"{{ ", "f(", " }}"},         {"", "{% if 1 %}", ""},
              {"", "{% for a in b %}", ""}, {"{% for ", "(", " in b %}{% endfor %}"}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    char *text = repeated(rows[i].begin, rows[i].middle, 100000, rows[i].end);
    rh_template *tmpl;
    rh_error error = {0};
    assert_int_equal(rh_template_new(text, strlen(text), &tmpl, &error),
                     strlen(text) > RH_TEMPLATE_SOURCE_MAX ? RH_TOO_LARGE : RH_INVALID);
    free(text);
  }
}

// Chains need no depth to read, but to compute.
static void depth_of_chains(void **state) {
  (void)state;
  const char *const links[] = {"+1", "|string", ".a", "[0]", " and 1", " ** 1", "()"};
  for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
    char *text = repeated("{{ 1", links[i], 50000, " }}");
    assert_refused(text, RH_TOO_LARGE, "nested deeper");
    free(text);
  }
  char *text = repeated("{{ 1", " ~ 1", 50000, " }}");
  rh_dynbuf out;
  rh_error error;
  assert_int_equal(render_with(text, NULL, &out, &error), RH_OK);
  assert_int_equal(out.length, 50001);
  rh_dynbuf_free(&out);
  free(text);
}

static void depth_of_calls_and_values(void **state) {
  (void)state;
  assert_refused("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", RH_TOO_LARGE, "nested deeper");
  assert_refused("{{ ['a']|map(*(['map'] * 400000)) }}", RH_TOO_LARGE, "nested deeper");
  assert_refused("{% for x in [[]] recursive %}{{ loop([x]) }}{% endfor %}", RH_TOO_LARGE, "nested deeper");
  const char *const uses[] = {"{{ n.a }}", "{{ n.a|tojson }}", "{{ n.a == n.b }}", "{{ n.a < n.b }}"};
  for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
    char text[512];
    (void)snprintf(text, sizeof text,
                   "{%% set n = namespace(a=[], b=[]) %%}{%% for i in range(5000) %%}{%% set n.a = [n.a] %%}{%% set "
                   "n.b = [n.b] %%}{%% endfor %%}%s",
                   uses[i]);
    assert_refused(text, RH_TOO_LARGE, "nested deeper");
  }
  assert_refused("{% set n = namespace() %}{% set n.n = n %}{{ n }}", RH_TOO_LARGE, "nested deeper");
}

// At the ends of 64 bits.
static void whole_numbers(void **state) {
  (void)state;
  assert_refused("{{ '%*d' % (-9223372036854775807 - 1, 5) }}", RH_INVALID, "width");
  assert_refused("{{ '%.*f' % (-9223372036854775807 - 1, 5) }}", RH_INVALID, "width");
  assert_refused("{{ range(0, 9223372036854775807, 4611686018427387904)[2:] }}", RH_INVALID, "64 bits");
  assert_refused("{{ range(0, 10, 4)[::9223372036854775807] }}", RH_INVALID, "64 bits");
  assert_renders("{{ range(-9000000000000000000, 9000000000000000000, 6000000000000000000)|list }}", NULL,
                 "[-9000000000000000000, -3000000000000000000, 3000000000000000000]");
  assert_renders("{{ range(0, 9223372036854775807, 4611686018427387904)[:1] }}", NULL,
                 "range(0, 4611686018427387904, 4611686018427387904)");
  assert_renders("{{ '-a'.zfill(-9223372036854775807 - 1) }}{{ 'abc'[1000000000] }}{{ 'abc'[-1000000000] }}", NULL,
                 "-a");
  assert_renders("{{ 'abc'[9223372036854775807] is defined }} {{ 'abc'[2] }}{{ 'abc'[-3] }}{{ 'abc'[3] }}", NULL,
                 "False ca");
}

static void size_of_the_text(void **state) {
  (void)state;
  char *text = repeated("", "x", RH_TEMPLATE_SOURCE_MAX + 1, "");
  assert_refused(text, RH_TOO_LARGE, "1048577 bytes");
  free(text);
}

// The caller's buffer has a limit of its own.
static void the_callers_buffer(void **state) {
  (void)state;
  rh_template *tmpl;
  rh_dynbuf out;
  rh_error error = {0};
  assert_int_equal(rh_template_new("12345", 5, &tmpl, &error), RH_OK);
  rh_dynbuf_init(&out, 4);
  assert_int_equal(rh_template_render(tmpl, NULL, NOW, &out, &error), RH_TOO_LARGE);
  rh_dynbuf_free(&out);
  rh_template_free(tmpl);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps),
      cmocka_unit_test(memory),
      cmocka_unit_test(slow_searches),
      cmocka_unit_test(long_values),
      cmocka_unit_test(seconds),
      cmocka_unit_test(output),
      cmocka_unit_test(depth_of_the_text),
      cmocka_unit_test(depth_of_chains),
      cmocka_unit_test(depth_of_calls_and_values),
      cmocka_unit_test(whole_numbers),
      cmocka_unit_test(size_of_the_text),
      cmocka_unit_test(the_callers_buffer),
  };
  return cmocka_run_group_tests_name("template_limits", tests, NULL, NULL);
}
