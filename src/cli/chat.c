// SPDX-License-Identifier: Apache-2.0
//
// The conversation of `roundhouse run`: a prompt, commands that begin with a slash, and the history of messages.
// Owns the messages. One thread. Nothing of it is written to disk.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/utf8.h"
#include "cli/interrupt.h"
#include "cli/line.h"
#include "cli/output.h"
#include "cli/run.h"

#define MESSAGE_BYTES_MAX ((size_t)1024 * 1024)
#define FENCE "\"\"\""

typedef struct chat {
  rh_run_state *state;
  rh_line *line;
  json_t *messages;  // without the system message, which may change
  int code;          // exit status
  bool over;
} chat;

typedef struct chat_command {
  const char *name;
  const char *arguments;
  const char *help;
  void (*run)(chat *self, const char *argument);
} chat_command;

static void command_help(chat *self, const char *argument);

static void command_bye(chat *self, const char *argument) {
  (void)argument;
  self->over = true;
}

static void command_clear(chat *self, const char *argument) {
  (void)argument;
  json_array_clear(self->messages);
  puts("The conversation starts anew.");
}

// Any flag of `run` that shapes an answer may be set, from the same table.
static void command_set(chat *self, const char *argument) {
  char key[64];
  size_t length = strcspn(argument, " ");
  snprintf(key, sizeof key, "%.*s", length < sizeof key ? (int)length : (int)sizeof key - 1, argument);
  const char *value = argument + length + strspn(argument + length, " ");
  for (size_t i = 0; i < rh_run_flags_count; i++) {
    const rh_setting *flag = &rh_run_flags[i];
    bool shapes = flag->type == RH_SETTING_INT || flag->type == RH_SETTING_NUMBER || strcmp(key, "system") == 0;
    if (strcmp(flag->key, key) != 0 || !shapes) continue;
    rh_error error = {0};
    if (rh_config_set(flag, value, &self->state->options, &error) != RH_OK) {
      rh_cli_fail(0, "%s", error.message);
      return;
    }
    self->state->origins[i] = RH_FROM_FLAG;
    return;
  }
  puts("Use /set system TEXT, or /set temperature, top_p, seed or max_tokens with a number.");
}

static void command_show(chat *self, const char *argument) {
  (void)argument;
  char path[256];
  json_t *model = NULL;
  rh_error error = {0};
  snprintf(path, sizeof path, "/v1/models/%s", self->state->session.model);
  if (rh_client_get_json(self->state->session.client, path, 5000, &model, &error) != RH_OK) {
    rh_cli_fail(0, "%s", error.message);
    return;
  }
  (void)rh_cli_print_json(model);
  const char *system = self->state->options.system;
  printf("messages: %zu, system: %s\n", json_array_size(self->messages),
         system != NULL && system[0] != '\0' ? system : "none");
}

static const chat_command commands[] = {
    {"/set", "system TEXT", "change the system message (or temperature, top_p, seed, max_tokens)", command_set},
    {"/show", "", "show the model and the settings", command_show},
    {"/clear", "", "forget the conversation", command_clear},
    {"/help", "", "show this help", command_help},
    {"/bye", "", "leave (also Ctrl-D)", command_bye},
};

static void command_help(chat *self, const char *argument) {
  (void)self;
  (void)argument;
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    char left[48];
    snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].arguments);
    printf("  %-20s %s\n", left, commands[i].help);
  }
  printf("  %-20s %s\n", FENCE, "begin and end a text of several lines");
  printf("  %-20s %s\n", "Ctrl-C", "stop the answer; at the prompt: leave");
}

static void obey(chat *self, const char *text) {
  size_t length = strcspn(text, " ");
  const char *argument = text + length + strspn(text + length, " ");
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strlen(commands[i].name) == length && strncmp(text, commands[i].name, length) == 0) {
      commands[i].run(self, argument);
      return;
    }
  }
  printf("There is no command %.*s; see /help.\n", (int)length, text);
}

// Reads on until the closing fence. `first` is what followed the opening one.
static rh_status read_fenced(chat *self, const char *first, rh_dynbuf *text) {
  const char *part = first;
  char *line = NULL;
  rh_status status = RH_OK;
  for (;;) {
    const char *end = strstr(part, FENCE);
    (void)rh_dynbuf_append(text, part, end != NULL ? (size_t)(end - part) : strlen(part));
    free(line);
    line = NULL;
    if (end != NULL) break;
    (void)rh_dynbuf_append_char(text, '\n');
    status = rh_line_read(self->line, "... ", &line);
    if (status != RH_OK) break;
    part = line;
  }
  return status == RH_OK && text->failed ? RH_TOO_LARGE : status;
}

static rh_status read_message(chat *self, rh_dynbuf *text) {
  char *line = NULL;
  rh_status status = rh_line_read(self->line, ">>> ", &line);
  if (status != RH_OK) return status;
  if (rh_text_starts_with(line, FENCE))
    status = read_fenced(self, line + strlen(FENCE), text);
  else
    status = rh_dynbuf_append_text(text, line);
  free(line);
  return status;
}

static json_t *all_messages(const chat *self) {
  json_t *all = json_array();
  const char *system = self->state->options.system;
  if (system != NULL && system[0] != '\0') {
    json_array_append_new(all, json_pack("{ssss}", "role", "system", "content", system));
  }
  json_array_extend(all, self->messages);
  return all;
}

// Raw text has no messages: the conversation so far is simply continued.
static json_t *plain_prompt(const chat *self) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, RH_ANSWER_BYTES_MAX);
  size_t i;
  json_t *message;
  json_array_foreach(self->messages, i, message) {
    (void)rh_dynbuf_append_text(&text, json_string_value(json_object_get(message, "content")));
  }
  json_t *prompt = text.failed ? NULL : json_stringn(rh_dynbuf_data(&text), text.length);
  rh_dynbuf_free(&text);
  return prompt;
}

static bool remember(chat *self, const char *role, const char *text) {
  return json_array_append_new(self->messages, json_pack("{ssss}", "role", role, "content", text)) == 0;
}

static void finish_turn(chat *self, rh_status status, const rh_answer *answer, const rh_error *error) {
  // A part of an answer stays in the conversation, as the reader has seen it.
  bool keep = answer->text.length > 0 && (status == RH_OK || status == RH_CANCELLED);
  if (keep) keep = remember(self, "assistant", rh_dynbuf_data(&answer->text));
  if (!keep) json_array_remove(self->messages, json_array_size(self->messages) - 1);
  if (status == RH_OK && self->state->options.stats) rh_run_print_stats(answer);
  if (status == RH_OK) return;
  if (status == RH_CANCELLED) {
    // One Ctrl-C stops the answer, another one meant us.
    self->over = rh_interrupt_count() > 1;
    self->code = self->over ? RH_EXIT_INTERRUPTED : RH_EXIT_OK;
    return;
  }
  int code = rh_cli_fail_status(error);
  if (code != RH_EXIT_UNREACHABLE) return;
  self->over = true;
  self->code = code;
}

static void take_turn(chat *self, const char *text) {
  json_t *body = rh_run_new_body(self->state);
  bool raw = self->state->options.raw;
  bool fine = rh_utf8_valid(text, strlen(text)) && remember(self, "user", text);
  json_t *content = raw ? plain_prompt(self) : all_messages(self);
  if (!fine || json_object_set_new(body, raw ? "prompt" : "messages", content) != 0) {
    if (!fine) rh_cli_fail(0, "the text cannot be sent; is it valid UTF-8?");
    json_decref(body);
    return;
  }
  rh_answer answer;
  rh_error error = {0};
  rh_answer_init(&answer);
  rh_status status = rh_run_answer(self->state, body, &answer, &error);
  finish_turn(self, status, &answer, &error);
  rh_answer_free(&answer);
  json_decref(body);
}

static void prompt_once(chat *self) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, MESSAGE_BYTES_MAX);
  rh_interrupt_clear();
  rh_status status = read_message(self, &text);
  const char *line = rh_dynbuf_data(&text);
  if (status == RH_NOT_FOUND || status == RH_CANCELLED) {
    self->over = true;
    self->code = status == RH_CANCELLED ? RH_EXIT_INTERRUPTED : RH_EXIT_OK;
    fputc('\n', stdout);
  } else if (status != RH_OK) {
    rh_cli_fail(0, "that text is too long");
  } else if (line[0] == '/') {
    obey(self, line);
  } else if (line[strspn(line, " \t\n")] != '\0') {
    take_turn(self, line);
  }
  rh_dynbuf_free(&text);
}

int rh_chat_run(rh_run_state *state) {
  chat self = {.state = state, .line = rh_line_new(), .messages = json_array()};
  if (self.line == NULL || self.messages == NULL) {
    self.code = rh_cli_fail(RH_EXIT_ERROR, "no memory for a chat");
    self.over = true;
  }
  if (!self.over && isatty(STDOUT_FILENO)) printf("Chat with %s; /help shows the commands.\n", state->session.model);
  while (!self.over) prompt_once(&self);
  json_decref(self.messages);
  rh_line_free(self.line);
  return self.code;
}
