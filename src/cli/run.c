// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse run`: one answer in the terminal, or the start of a chat. Owns the options and the session. One thread.
#include "cli/run.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/offer.h"
#include "cli/output.h"

#define PROMPT_BYTES_MAX ((size_t)16 * 1024 * 1024)

#define FLAG(kind, name, initial, low, high, about) RH_CLI_FLAG(kind, rh_run_options, name, initial, low, high, about)

const rh_setting rh_run_flags[] = {
    RH_CLI_COMMON_FLAGS(rh_run_options),
    FLAG(RH_SETTING_STRING, system, NULL, 0, 0, "system message: what the model should be and do"),
    FLAG(RH_SETTING_INT, max_tokens, NULL, 1, 16777216, "longest answer"),
    FLAG(RH_SETTING_NUMBER, temperature, NULL, 0, 5, "0 always takes the likeliest word, higher varies more"),
    FLAG(RH_SETTING_NUMBER, top_p, NULL, 0, 1, "sample from the likeliest words that make up this share"),
    FLAG(RH_SETTING_INT, seed, NULL, 0, 4294967295.0, "same seed, same answer"),
    FLAG(RH_SETTING_BOOL, stats, "false", 0, 0, "print tokens, speed and waiting time after the answer"),
    FLAG(RH_SETTING_BOOL, raw, "false", 0, 0, "complete the text as it is, without the model's chat template"),
};
const size_t rh_run_flags_count = sizeof rh_run_flags / sizeof *rh_run_flags;

static_assert(sizeof rh_run_flags / sizeof *rh_run_flags <= RH_RUN_FLAGS_MAX, "raise RH_RUN_FLAGS_MAX");

// Only what a person asked for is sent; the server knows the defaults of everything else.
static bool was_set(const rh_run_state *state, const char *key) {
  for (size_t i = 0; i < rh_run_flags_count; i++) {
    if (strcmp(rh_run_flags[i].key, key) == 0) return state->origins[i] != RH_FROM_DEFAULT;
  }
  abort();  // not a key of the table
}

json_t *rh_run_new_body(const rh_run_state *state) {
  const rh_run_options *options = &state->options;
  json_t *body = json_pack("{ss}", "model", state->session.model);
  int failed = body == NULL;
  if (was_set(state, "max_tokens"))
    failed |= json_object_set_new(body, "max_tokens", json_integer(options->max_tokens));
  if (was_set(state, "temperature"))
    failed |= json_object_set_new(body, "temperature", json_real(options->temperature));
  if (was_set(state, "top_p")) failed |= json_object_set_new(body, "top_p", json_real(options->top_p));
  if (was_set(state, "seed")) failed |= json_object_set_new(body, "seed", json_integer(options->seed));
  if (failed == 0) return body;
  json_decref(body);
  return NULL;
}

typedef struct display {
  bool silent;   // --json prints all at the end
  bool waiting;  // "loading" is on the screen
} display;

static void clear_waiting(display *self) {
  if (self->waiting) fputs("\r\x1b[K", stderr);
  self->waiting = false;
}

static rh_status show_words(void *ctx, const char *words, rh_error *error) {
  display *self = ctx;
  clear_waiting(self);
  if (self->silent) return RH_OK;
  rh_cli_write_text(stdout, words, strlen(words));
  // Nobody reads on (`| head`): there is no use in more words, and the server should stop making them.
  if (fflush(stdout) != 0 || ferror(stdout))
    return rh_fail(error, RH_IO, "cannot write the answer: %s", strerror(errno));
  return RH_OK;
}

rh_status rh_run_answer(rh_run_state *state, json_t *body, rh_answer *answer, rh_error *error) {
  display self = {.silent = state->options.json, .waiting = isatty(STDERR_FILENO) != 0};
  if (self.waiting) fprintf(stderr, "%s…%s", rh_cli_style(stderr, RH_STYLE_DIM), rh_cli_style(stderr, RH_STYLE_OFF));
  const char *path = state->options.raw ? "/v1/completions" : "/v1/chat/completions";
  rh_status status = rh_answer_stream(state->session.client, path, body, show_words, &self, answer, error);
  clear_waiting(&self);
  // The server cannot know that this program has a flag for it.
  if (status != RH_OK && !state->options.raw && strstr(error->message, "chat template") != NULL) {
    rh_error server = *error;
    rh_fail(error, status, "%s Add --raw to have the text continued as it is.", server.message);
  }
  if (!self.silent && answer->text.length > 0) {
    const char *text = rh_dynbuf_data(&answer->text);
    if (text[answer->text.length - 1] != '\n') fputc('\n', stdout);
  }
  fflush(stdout);
  return status;
}

void rh_run_print_stats(const rh_answer *answer) {
  double total = rh_ns_to_s(answer->ended_ns - answer->begun_ns);
  double first = answer->first_ns > 0 ? rh_ns_to_ms(answer->first_ns - answer->begun_ns) : 0;
  fprintf(stderr, "%s", rh_cli_style(stderr, RH_STYLE_DIM));
  if (answer->completion_tokens >= 0) {
    fprintf(stderr, "%lld prompt tokens, %lld tokens, %.1f tokens/s, ", (long long)answer->prompt_tokens,
            (long long)answer->completion_tokens, rh_answer_tokens_per_s(answer));
  }
  fprintf(stderr, "first token after %.0f ms, total %.2f s%s%s%s\n", first, total,
          answer->finish[0] != '\0' ? ", finished by " : "", answer->finish, rh_cli_style(stderr, RH_STYLE_OFF));
}

static int print_answer_json(const rh_answer *answer) {
  double first = answer->first_ns > 0 ? rh_ns_to_ms(answer->first_ns - answer->begun_ns) : 0;
  return rh_cli_print_json(
      json_pack("{sssssssIsIsfsfsf}", "model", answer->model, "text", rh_dynbuf_data(&answer->text), "finish_reason",
                answer->finish, "prompt_tokens", (json_int_t)answer->prompt_tokens, "completion_tokens",
                (json_int_t)answer->completion_tokens, "first_token_ms", first, "total_ms",
                rh_ns_to_ms(answer->ended_ns - answer->begun_ns), "tokens_per_s", rh_answer_tokens_per_s(answer)));
}

// The message list or the prompt. Takes nothing over; 0 when it fits in memory.
static int set_text(const rh_run_state *state, json_t *body, const char *text) {
  if (state->options.raw) return json_object_set_new(body, "prompt", json_string(text));
  json_t *messages = json_array();
  int failed = 0;
  if (state->options.system != NULL && state->options.system[0] != '\0') {
    failed |= json_array_append_new(messages, json_pack("{ssss}", "role", "system", "content", state->options.system));
  }
  failed |= json_array_append_new(messages, json_pack("{ssss}", "role", "user", "content", text));
  failed |= json_object_set_new(body, "messages", messages);
  return failed;
}

static int run_once(rh_run_state *state, const char *text) {
  json_t *body = rh_run_new_body(state);
  if (body == NULL || set_text(state, body, text) != 0) {
    json_decref(body);
    return rh_cli_fail(RH_EXIT_ERROR, "the text cannot be sent; is it valid UTF-8?");
  }
  rh_answer answer;
  rh_error error = {0};
  rh_answer_init(&answer);
  rh_status status = rh_run_answer(state, body, &answer, &error);
  int code = status == RH_OK ? RH_EXIT_OK : rh_cli_fail_status(&error);
  if (status == RH_OK && state->options.json) code = print_answer_json(&answer);
  if (status == RH_OK && state->options.stats) rh_run_print_stats(&answer);
  rh_answer_free(&answer);
  json_decref(body);
  return code;
}

static rh_status read_input(rh_dynbuf *text, rh_error *error) {
  char bytes[65536];
  for (;;) {
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR && rh_interrupt_count() > 0) return rh_fail(error, RH_CANCELLED, "interrupted");
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return rh_fail(error, RH_INVALID, "cannot read standard input: %s", strerror(errno));
    if (n == 0) return RH_OK;
    if (rh_dynbuf_append(text, bytes, (size_t)n) != RH_OK) {
      return rh_fail(error, RH_TOO_LARGE, "standard input is longer than %zu MiB", PROMPT_BYTES_MAX >> 20);
    }
  }
}

// The words after the model, and what is piped in. With words, only a file or a pipe is read as well: a terminal or a
// device would wait for somebody to type.
static rh_status gather_text(const rh_cli_args *args, rh_dynbuf *text, rh_error *error) {
  for (size_t i = 1; i < args->count; i++) {
    (void)rh_dynbuf_printf(text, "%s%s", i > 1 ? " " : "", args->words[i]);
  }
  if (text->failed) return rh_fail(error, RH_TOO_LARGE, "the text is too long");
  struct stat info;
  bool piped = fstat(STDIN_FILENO, &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISREG(info.st_mode));
  if (text->length > 0 ? !piped : isatty(STDIN_FILENO)) return RH_OK;
  size_t before = text->length;
  if (before > 0) (void)rh_dynbuf_append_text(text, "\n\n");
  rh_status status = read_input(text, error);
  // The last line's end belongs to the file, not to what a person wants to say; nor does the gap before nothing.
  size_t length = text->length;
  if (length > before && rh_dynbuf_data(text)[length - 1] == '\n') length--;
  if (before > 0 && length <= before + 2) length = before;
  if (length < text->length) {
    text->data[text->start + length] = '\0';
    text->length = length;
  }
  if (status == RH_OK && !rh_utf8_valid(rh_dynbuf_data(text), text->length)) {
    return rh_fail(error, RH_INVALID, "the text is not valid UTF-8; convert it first");
  }
  return status;
}

static int run_with(rh_run_state *state, const rh_cli_args *args) {
  rh_error error = {0};
  rh_dynbuf text;
  rh_dynbuf_init(&text, PROMPT_BYTES_MAX);
  bool chat = args->count == 1 && isatty(STDIN_FILENO);
  if (!rh_interrupt_install()) return rh_cli_fail(RH_EXIT_ERROR, "cannot catch Ctrl-C");
  rh_status status = gather_text(args, &text, &error);
  int code = RH_EXIT_OK;
  if (status != RH_OK)
    code = rh_cli_fail_status(&error);
  else if (!chat && text.length == 0)
    code = rh_cli_fail(RH_EXIT_USAGE, "there is no text to answer; add it after the model");
  else
    code = rh_offer_pull(state->options.server, args->words[0]);
  if (code != RH_EXIT_OK) {
    rh_dynbuf_free(&text);
    return code;
  }
  if (rh_session_open(state->options.server, args->words[0], 0, &state->session, &error) != RH_OK)
    code = rh_cli_fail_status(&error);
  else
    code = chat ? rh_chat_run(state) : run_once(state, rh_dynbuf_data(&text));
  rh_session_close(&state->session);
  rh_dynbuf_free(&text);
  return code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  rh_run_state state = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &state.options, state.origins, &args);
  if (code >= 0) return code;
  rh_cli_use_color(state.options.color);
  if (args.count == 0)
    code = rh_cli_fail(RH_EXIT_USAGE, "run needs a model: roundhouse run MODEL \"text\"; see roundhouse list");
  else
    code = run_with(&state, &args);
  rh_cli_args_free(&args);
  rh_config_release(rh_run_flags, rh_run_flags_count, &state.options);
  return code;
}

const rh_cli_command rh_cli_run = {
    .name = "run",
    .arguments = "MODEL [TEXT...]",
    .help = "Answer a text in the terminal, or chat when there is none",
    .details =
        "MODEL is a name that the server knows (see roundhouse list) or a .gguf file. Text may also be piped in.\n"
        "When no server answers, or MODEL is a file, a private server is started for as long as the command runs.\n"
        "On a terminal, a model that is not here but in the catalogue is pulled after a question.\n",
    .flags = rh_run_flags,
    .flag_count = sizeof rh_run_flags / sizeof *rh_run_flags,
    .run = run,
};
