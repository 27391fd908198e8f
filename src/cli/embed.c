// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse embed`: texts from the command line, or one a line from standard input, to vectors, one JSON array a line.
// Texts go to the server a few at a time, so that a long file takes no more memory than a short one. Owns nothing that
// outlives a call. One thread.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "base/json.h"
#include "cli/admin.h"
#include "cli/commands.h"

#define TEXTS_AT_ONCE 64
#define LINE_BYTES_MAX ((size_t)64 * 1024 * 1024)

typedef struct embed_options {
  RH_CLI_COMMON_FIELDS;
  int64_t dimensions;
  char *prompt_name;
} embed_options;

static const rh_setting embed_flags[] = {
    RH_CLI_COMMON_FLAGS(embed_options),
    RH_CLI_FLAG(RH_SETTING_INT, embed_options, dimensions, "0", 0, 65536,
                "keep so many numbers of each vector; 0 = all"),
    RH_CLI_FLAG(RH_SETTING_STRING, embed_options, prompt_name, NULL, 0, 0,
                "one of the model's own prompts, such as query"),
};
#define EMBED_FLAG_COUNT (sizeof embed_flags / sizeof *embed_flags)

typedef struct embedding {
  rh_client *client;
  const embed_options *options;
  const char *model;
  json_t *texts;  // that wait for the server
} embedding;

// One array a line; with --json the vector beside its text.
static bool print_vector(const embedding *self, size_t index, const json_t *vector) {
  rh_dynbuf line;
  rh_dynbuf_init(&line, LINE_BYTES_MAX);
  json_t *value = json_incref((json_t *)(uintptr_t)vector);
  if (self->options->json) {
    value = json_pack("{sOso}", "text", json_array_get(self->texts, index), "embedding", value);
  }
  bool whole = value != NULL && rh_json_append_value(&line, value) == RH_OK;
  if (whole) puts(rh_dynbuf_data(&line));
  json_decref(value);
  rh_dynbuf_free(&line);
  return whole && !ferror(stdout);
}

static json_t *make_body(const embedding *self) {
  const embed_options *options = self->options;
  json_t *body = json_pack("{sssO}", "model", self->model, "input", self->texts);
  if (options->dimensions > 0) json_object_set_new(body, "dimensions", json_integer(options->dimensions));
  if (options->prompt_name != NULL && options->prompt_name[0] != '\0') {
    json_object_set_new(body, "prompt_name", json_string(options->prompt_name));
  }
  return body;
}

// Ask for what waits. Exit status.
static int ask(embedding *self) {
  if (json_array_size(self->texts) == 0) return RH_EXIT_OK;
  rh_error error = {0};
  json_t *answer = NULL;
  json_t *body = make_body(self);
  rh_status status = body == NULL ? rh_fail(&error, RH_NO_MEMORY, "no memory for a request")
                                  : rh_client_call(self->client, "POST", "/v1/embeddings", body, 0, &answer, &error);
  int code = status == RH_OK ? RH_EXIT_OK : rh_cli_fail_status(&error);
  size_t index;
  json_t *row;
  json_array_foreach(json_object_get(answer, "data"), index, row) {
    if (code == RH_EXIT_OK && !print_vector(self, index, json_object_get(row, "embedding"))) {
      code = rh_cli_fail(RH_EXIT_ERROR, "the vectors cannot be written");
    }
  }
  json_decref(answer);
  json_decref(body);
  json_array_clear(self->texts);
  return code;
}

static int add(embedding *self, const char *text, size_t length) {
  json_t *value = json_stringn(text, length);
  if (value == NULL) return rh_cli_fail(RH_EXIT_USAGE, "a text is not UTF-8, or there is no memory for it");
  json_array_append_new(self->texts, value);
  return json_array_size(self->texts) < TEXTS_AT_ONCE ? RH_EXIT_OK : ask(self);
}

static int add_lines(embedding *self) {
  char *line = NULL;
  size_t room = 0;
  int code = RH_EXIT_OK;
  ssize_t length;
  while (code == RH_EXIT_OK && (length = getline(&line, &room, stdin)) >= 0) {
    if (length > 0 && line[length - 1] == '\n') length--;
    code = add(self, line, (size_t)length);
  }
  free(line);
  return code;
}

static int embed_all(rh_client *client, const void *flags, const rh_cli_args *args) {
  embedding self = {.client = client, .options = flags, .model = args->words[0], .texts = json_array()};
  int code = args->count == 1 ? add_lines(&self) : RH_EXIT_OK;
  for (size_t i = 1; i < args->count && code == RH_EXIT_OK; i++) {
    code = add(&self, args->words[i], strlen(args->words[i]));
  }
  if (code == RH_EXIT_OK) code = ask(&self);
  json_decref(self.texts);
  return code;
}

static int run_embed(const rh_cli_command *self, int argc, char **argv) {
  embed_options options = {0};
  return rh_admin_run(self, argc, argv, &options,
                      "embed needs a model: roundhouse embed MODEL [TEXT...]; see roundhouse list", embed_all);
}

const rh_cli_command rh_cli_embed = {
    .name = "embed",
    .arguments = "MODEL [TEXT...]",
    .help = "Make embeddings with the running server",
    .details = "Without a text, the lines of standard input. Prints one JSON array a line.\n",
    .flags = embed_flags,
    .flag_count = EMBED_FLAG_COUNT,
    .run = run_embed,
};
