// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: a stranger's chat template, and variables. Before the first NUL stands the template, after it the JSON of the
// variables; without it there is a small conversation. What is made must render or refuse with words, give UTF-8, and give the
// same twice.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "template/template.h"

#define OUTPUT_MAX ((size_t)1 << 26)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char usual[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"a\\n b\"},{\"role\":\"user\",\"content\":\"\\u00e9\\u65e5 "
    "<x>\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2."
    "5,true]}}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{\"type\":"
    "\"string\"}}}}}],"
    "\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"n\":7,\"f\":-2.5,\"s\":\"Hello, World\"}";

// `late`: the clock stopped it; another time it may come further.
static rh_status render(const rh_template *tmpl, const json_t *variables, rh_dynbuf *out, bool *late) {
  rh_error error = {0};
  rh_dynbuf_init(out, OUTPUT_MAX);
  rh_status status = rh_template_render(tmpl, variables, 1750000000, out, &error);
  if (status != RH_OK && error.status != status) abort();
  if (status != RH_OK && status != RH_INVALID && status != RH_TOO_LARGE && status != RH_NO_MEMORY) abort();
  if (!rh_utf8_valid(error.message, strlen(error.message))) abort();
  if (!rh_utf8_valid(rh_dynbuf_data(out), out->length)) abort();
  if (strstr(error.message, " seconds") != NULL) *late = true;
  return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = (const char *)data;
  size_t length = strnlen(text, size);
  rh_error error = {0};
  rh_template *tmpl;
  rh_status status = rh_template_new(text, length, &tmpl, &error);
  if (status != RH_OK) {
    if (error.status != status || error.message[0] == '\0' || tmpl != NULL) abort();
    if (!rh_utf8_valid(error.message, strlen(error.message))) abort();
    return 0;
  }
  bool given = length < size;
  json_t *variables =
      rh_json_parse(given ? text + length + 1 : usual, given ? size - length - 1 : sizeof usual - 1, NULL);
  rh_dynbuf one, two;
  bool late = false;
  rh_status first = render(tmpl, variables, &one, &late), second = render(tmpl, variables, &two, &late);
  if (!late && (first != second || one.length != two.length ||
                memcmp(rh_dynbuf_data(&one), rh_dynbuf_data(&two), one.length) != 0))
    abort();
  rh_dynbuf_free(&one);
  rh_dynbuf_free(&two);
  json_decref(variables);
  rh_template_free(tmpl);
  return 0;
}
