// SPDX-License-Identifier: Apache-2.0
//
// Chats through a template, and the template in a model's folder.
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "template_fixture.h"

static const rh_message messages[] = {{.role = "system", .content = "Be brief."},
                                      {.role = "user", .content = "Hi \xc3\xa9"}};

static void assert_chat(const rh_template *tmpl, const rh_chat_tokens *tokens, const char *expected) {
  rh_dynbuf out;
  rh_error error = {0};
  rh_dynbuf_init(&out, 1 << 20);
  assert_int_equal(rh_chat_render(tmpl, messages, 2, tokens, &out, &error), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), expected);
  rh_dynbuf_free(&out);
}

static void chat(void **state) {
  (void)state;
  static const char source[] =
      "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}{{ tools is defined }}{{ tools is none }}{{ documents is "
      "none }}"
      "{{ pad_token is defined }}";
  rh_template *tmpl;
  rh_error error = {0};
  assert_int_equal(rh_template_new(source, strlen(source), &tmpl, &error), RH_OK);
  const rh_chat_tokens tokens = {.bos = "<s>", .eos = "</s>"};
  assert_chat(tmpl, &tokens, "<s><system>Be brief.</s><user>Hi \xc3\xa9</s><assistant>TrueTrueTrueFalse");
  assert_chat(tmpl, NULL, "<system>Be brief.<user>Hi \xc3\xa9<assistant>TrueTrueTrueFalse");
  rh_template_free(tmpl);
}

static char folder[64];

static void put(const char *name, const char *text) {
  char path[128];
  rh_error error = {0};
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(rh_file_write_atomic(path, text, strlen(text), 0600, &error), RH_OK);
}

static rh_status open_folder(const char *expected, rh_error *error) {
  rh_template *tmpl;
  memset(error, 0, sizeof *error);
  rh_status status = rh_chat_template_open(folder, &tmpl, error);
  if (status == RH_OK) assert_chat(tmpl, NULL, expected);
  rh_template_free(tmpl);
  return status;
}

// Each place is looked at before the next.
static void templates_in_a_folder(void **state) {
  (void)state;
  rh_error error;
  (void)snprintf(folder, sizeof folder, "/tmp/rh-template-XXXXXX");
  assert_non_null(mkdtemp(folder));
  assert_int_equal(open_folder("", &error), RH_NOT_FOUND);
  assert_non_null(strstr(error.message, "no chat template"));
  put("tokenizer_config.json", "{\"bos_token\":\"x\"}");
  assert_int_equal(open_folder("", &error), RH_NOT_FOUND);
  put("chat_template.json", "{\"chat_template\":\"third\"}");
  assert_int_equal(open_folder("third", &error), RH_OK);
  put("tokenizer_config.json",
      "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"no\"},{\"name\":\"default\",\"template\":\"second\"}]}");
  assert_int_equal(open_folder("second", &error), RH_OK);
  put("tokenizer_config.json", "{\"chat_template\":\"text\"}");
  assert_int_equal(open_folder("text", &error), RH_OK);
  put("chat_template.jinja", "{{ messages[0].role }}");
  assert_int_equal(open_folder("system", &error), RH_OK);
  put("chat_template.jinja", "{% if %}");
  assert_int_equal(open_folder("", &error), RH_INVALID);
  assert_int_equal(rh_file_remove_tree(folder, &error), RH_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(chat), cmocka_unit_test(templates_in_a_folder)};
  return cmocka_run_group_tests_name("template_chat", tests, NULL, NULL);
}
