// SPDX-License-Identifier: Apache-2.0
//
// One template, made and rendered, for the unit tests of src/template.
#ifndef RH_TESTS_TEMPLATE_FIXTURE_H
#define RH_TESTS_TEMPLATE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "template/template.h"

#define NOW 1750000000

static inline rh_status render_with(const char *source, const char *variables, rh_dynbuf *out, rh_error *error) {
  rh_template *tmpl;
  memset(error, 0, sizeof *error);
  rh_dynbuf_init(out, (size_t)1 << 28);
  rh_status status = rh_template_new(source, strlen(source), &tmpl, error);
  if (status != RH_OK) {
    assert_null(tmpl);
    return status;
  }
  json_t *json = variables != NULL ? json_loads(variables, 0, NULL) : NULL;
  assert_true(variables == NULL || json != NULL);
  status = rh_template_render(tmpl, json, NOW, out, error);
  json_decref(json);
  rh_template_free(tmpl);
  return status;
}

static inline void assert_renders(const char *source, const char *variables, const char *expected) {
  rh_dynbuf out;
  rh_error error;
  rh_status status = render_with(source, variables, &out, &error);
  if (status != RH_OK) print_error("%s: %s\n", source, error.message);
  assert_int_equal(status, RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), expected);
  rh_dynbuf_free(&out);
}

// `words` stand in the message.
static inline void assert_refused(const char *source, rh_status status, const char *words) {
  rh_dynbuf out;
  rh_error error;
  assert_int_equal(render_with(source, NULL, &out, &error), status);
  assert_int_equal(error.status, status);
  if (strstr(error.message, words) == NULL) print_error("%s: %s\n", source, error.message);
  assert_non_null(strstr(error.message, words));
  rh_dynbuf_free(&out);
}

#endif
