// SPDX-License-Identifier: Apache-2.0
//
// The key of a request: everything that shapes its answer, in one order and one spelling, through SHA-256. Numbers have a fixed width,
// texts carry their length, lists their count and optional things a mark, so that no request can be read as another one. What two
// dialects write differently and mean alike is written alike here.
//
// Owns one digest context for the process: fetching an algorithm costs more than hashing a short chat. Thread: the event loop's.
#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admit/cache_private.h"

#define BUFFER_BYTES 2048
#define FORM 1  // of what is hashed; another one makes old entries unreachable

// What a key is for; the two never meet.
enum { FOR_ANSWER = 'a', FOR_SHAPE = 's' };

// Small pieces are gathered: a call into the library costs as much as hashing a hundred bytes.
typedef struct hasher {
  size_t used;
  unsigned char buffer[BUFFER_BYTES];
} hasher;

static EVP_MD *algorithm;
static EVP_MD_CTX *context;

static void must(bool done) {
  if (done) return;
  (void)fputs("roundhouse: SHA-256 failed\n", stderr);
  abort();
}

static void begin_digest(void) {
  if (context == NULL) {
    algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    context = EVP_MD_CTX_new();
    must(algorithm != NULL && context != NULL);
  }
  must(EVP_DigestInit_ex2(context, algorithm, NULL) == 1);
}

static void end_digest(unsigned char out[RH_CACHE_KEY_BYTES]) {
  unsigned int length = 0;
  must(EVP_DigestFinal_ex(context, out, &length) == 1 && length == RH_CACHE_KEY_BYTES);
}

void cache_digest(const cache_span *spans, size_t count, unsigned char out[RH_CACHE_KEY_BYTES]) {
  begin_digest();
  for (size_t i = 0; i < count; i++) must(EVP_DigestUpdate(context, spans[i].bytes, spans[i].length) == 1);
  end_digest(out);
}

static void drain(hasher *out) {
  must(EVP_DigestUpdate(context, out->buffer, out->used) == 1);
  out->used = 0;
}

static void put_raw(hasher *out, const void *bytes, size_t length) {
  if (length > BUFFER_BYTES - out->used) {
    drain(out);
    if (length > BUFFER_BYTES) {
      must(EVP_DigestUpdate(context, bytes, length) == 1);
      return;
    }
  }
  if (length > 0) memcpy(out->buffer + out->used, bytes, length);
  out->used += length;
}

static void put_mark(hasher *out, unsigned value) {
  if (out->used == BUFFER_BYTES) drain(out);
  assert(value < 256);
  out->buffer[out->used++] = (unsigned char)value;
}

static void put_number(hasher *out, int64_t value) { put_raw(out, &value, sizeof value); }

static void put_float(hasher *out, float value) {
  if (value == 0.0f) value = 0.0f;  // one zero
  put_raw(out, &value, sizeof value);
}

static void put_text(hasher *out, const char *text, size_t length) {
  put_number(out, (int64_t)length);
  put_raw(out, text, length);
}

static void put_word(hasher *out, const char *word) {
  put_mark(out, word != NULL);
  if (word != NULL) put_text(out, word, strlen(word));
}

// "" says as much as nothing.
static void put_maybe(hasher *out, const char *word) { put_word(out, word == NULL || word[0] == '\0' ? NULL : word); }

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static bool is_structure(char c) { return c != '\0' && strchr("{}[],:", c) != NULL; }

// JSON without the spaces that mean nothing: one dialect carries an object, another one its text. Spaces between two things that are no
// structure stay one space, so that what is no JSON after all does not grow together.
static void put_json(hasher *out, const char *json) {
  put_mark(out, json != NULL);
  if (json == NULL) return;
  bool quoted = false;
  char before = '{';
  for (const char *at = json; *at != '\0'; at++) {
    if (!quoted && is_space(*at)) {
      while (is_space(at[1])) at++;
      if (is_structure(before) || is_structure(at[1]) || at[1] == '\0') continue;
      put_mark(out, ' ');
      before = ' ';
      continue;
    }
    put_mark(out, (unsigned char)*at);
    before = *at;
    if (*at == '"') quoted = !quoted;
    if (quoted && *at == '\\' && at[1] != '\0') put_mark(out, (unsigned char)*++at);
  }
  put_mark(out, 0);  // no text holds one
}

// --- prompts -------------------------------------------------------------------------------------------------------------

enum { MARK_MESSAGE = 1, MARK_PIECE, MARK_ASKED, MARK_END };

static void put_piece(hasher *out, const rh_piece *piece) {
  put_mark(out, MARK_PIECE);
  put_mark(out, (unsigned)piece->kind);
  put_word(out, piece->text);
  switch (piece->kind) {
    case RH_PIECE_TEXT: break;
    case RH_PIECE_IMAGE:
      put_word(out, piece->url);
      put_word(out, piece->media_type);
      put_word(out, piece->data);
      put_word(out, piece->detail != NULL && strcmp(piece->detail, "auto") == 0 ? NULL : piece->detail);
      break;
    case RH_PIECE_TOOL_CALL:
      put_word(out, piece->id);
      put_word(out, piece->name);
      put_json(out, piece->arguments);
      break;
    case RH_PIECE_TOOL_RESULT:
      put_word(out, piece->id);
      put_mark(out, piece->failed);
      break;
    case RH_PIECE_REASONING: put_word(out, piece->signature); break;
  }
}

// Texts that are pieces only for their marks: without these they would have been joined to the content.
static bool is_marked_text(const rh_message *message) {
  bool marked = false;
  for (size_t i = 0; i < message->piece_count; i++) marked = marked || message->pieces[i].cache_mark;
  return marked && rh_message_is_text(message);
}

// A text alone is a piece like any other; an empty one is none.
static void put_pieces(hasher *out, const rh_message *message) {
  if (message->pieces == NULL || message->piece_count == 0 || is_marked_text(message)) {
    const rh_piece piece = {.kind = RH_PIECE_TEXT, .text = message->content};
    if (message->content != NULL && message->content[0] != '\0') put_piece(out, &piece);
    return;
  }
  for (size_t i = 0; i < message->piece_count; i++) {
    const rh_piece *piece = &message->pieces[i];
    if (piece->kind == RH_PIECE_TEXT && (piece->text == NULL || piece->text[0] == '\0')) continue;
    put_piece(out, piece);
  }
}

// The results of several calls are one message here and several there: those that stand together are one.
static void put_messages(hasher *out, const rh_prompt *prompt, const rh_message *asked) {
  bool was_tool = false;
  for (size_t i = 0; i < prompt->count; i++) {
    const rh_message *message = &prompt->messages[i];
    bool is_tool = strcmp(message->role, "tool") == 0;
    if (!is_tool || !was_tool) {
      put_mark(out, MARK_MESSAGE);
      put_word(out, message->role);
    }
    was_tool = is_tool;
    if (message == asked) {
      put_mark(out, MARK_ASKED);
    } else {
      put_pieces(out, message);
    }
  }
  put_mark(out, MARK_END);
}

static void put_prompt(hasher *out, const rh_prompt *prompt, const rh_message *asked) {
  put_mark(out, (unsigned)prompt->kind);
  switch (prompt->kind) {
    case RH_PROMPT_MESSAGES: put_messages(out, prompt, asked); break;
    case RH_PROMPT_TEXT: put_text(out, prompt->text, prompt->count); break;
    case RH_PROMPT_TOKENS:
      put_number(out, (int64_t)prompt->count);
      put_raw(out, prompt->tokens, prompt->count * sizeof *prompt->tokens);
      break;
  }
}

// --- how to generate -------------------------------------------------------------------------------------------------------

// What was given and what is a default differ for a remote model, which has defaults of its own.
static void put_generate(hasher *out, const rh_generate *generate) {
  put_number(out, generate->given);
  put_number(out, generate->max_tokens);
  put_float(out, generate->temperature);
  put_float(out, generate->top_p);
  put_float(out, generate->min_p);
  put_number(out, generate->top_k);
  put_float(out, generate->repeat_penalty);
  put_float(out, generate->presence_penalty);
  put_float(out, generate->frequency_penalty);
  put_number(out, generate->penalty_last_n);
  put_mark(out, generate->has_seed);
  put_number(out, generate->has_seed ? generate->seed : 0);
  put_number(out, generate->top_logprobs);
  put_mark(out, generate->ignore_eos);
  put_number(out, (int64_t)generate->stop_count);
  for (size_t i = 0; i < generate->stop_count; i++) put_word(out, generate->stops[i]);
  put_number(out, (int64_t)generate->logit_bias_count);
  for (size_t i = 0; i < generate->logit_bias_count; i++) {
    put_number(out, generate->logit_bias[i].token);
    put_float(out, generate->logit_bias[i].bias);
  }
}

static void put_tools(hasher *out, const rh_extras *extras) {
  put_number(out, (int64_t)extras->tool_count);
  if (extras->tool_count == 0) return;  // how to choose among none says nothing
  for (size_t i = 0; i < extras->tool_count; i++) {
    const rh_tool *tool = &extras->tools[i];
    put_word(out, tool->name);
    put_maybe(out, tool->description);
    put_json(out, tool->schema);
    put_mark(out, tool->strict);
  }
  put_mark(out, (unsigned)extras->tool_choice);
  if (extras->tool_choice == RH_TOOLS_NAMED) put_word(out, extras->tool_name);
  put_number(out, extras->parallel_tools);
}

static void put_extras(hasher *out, const rh_extras *extras) {
  static const rh_extras none = {.parallel_tools = -1};
  if (extras == NULL) extras = &none;
  put_tools(out, extras);
  put_mark(out, (unsigned)extras->format);
  if (extras->format == RH_ANSWER_SCHEMA) {
    put_maybe(out, extras->schema_name);
    put_json(out, extras->schema);
    put_mark(out, extras->schema_strict);
  }
  put_maybe(out, extras->reasoning_effort);
  put_number(out, extras->reasoning_tokens);
  put_mark(out, extras->reasoning_adaptive);
}

// --- work that does not generate ---------------------------------------------------------------------------------------------

static void put_item(hasher *out, const rh_item *item) {
  put_mark(out, item->text != NULL);
  if (item->text != NULL) put_text(out, item->text, item->length);
  put_mark(out, item->pair != NULL);
  if (item->pair != NULL) put_text(out, item->pair, item->pair_length);
  put_number(out, (int64_t)item->token_count);
  put_raw(out, item->tokens, item->token_count * sizeof *item->tokens);
}

static void put_tensor(hasher *out, const rh_tensor *tensor) {
  put_word(out, tensor->name);
  put_mark(out, (unsigned)tensor->type);
  put_number(out, (int64_t)tensor->rank);
  for (size_t i = 0; i < tensor->rank; i++) put_number(out, tensor->shape[i]);
  put_text(out, tensor->data, tensor->bytes);
}

static void put_words(hasher *out, const char *const *words, size_t count) {
  put_number(out, (int64_t)count);
  for (size_t i = 0; i < count; i++) put_word(out, words[i]);
}

static void put_infer(hasher *out, const rh_infer *infer) {
  put_number(out, (int64_t)infer->item_count);
  for (size_t i = 0; i < infer->item_count; i++) put_item(out, &infer->items[i]);
  put_number(out, infer->dimensions);
  put_word(out, infer->prompt);
  put_word(out, infer->prompt == NULL ? infer->prompt_name : NULL);  // which it wins over
  put_mark(out, (unsigned)infer->normalize);
  put_mark(out, infer->refuse_long);
  put_mark(out, infer->cut_long);
  put_mark(out, infer->has_stride);
  put_number(out, infer->has_stride ? infer->stride : 0);
  put_number(out, infer->top_k);
  put_mark(out, (unsigned)infer->multi_label);
  put_mark(out, infer->raw_scores);
  put_mark(out, (unsigned)infer->aggregation);
  put_words(out, infer->labels, infer->label_count);
  put_word(out, infer->hypothesis);
  put_number(out, (int64_t)infer->tensor_count);
  for (size_t i = 0; i < infer->tensor_count; i++) put_tensor(out, &infer->tensors[i]);
  put_words(out, infer->outputs, infer->output_count);
}

// --- the whole -----------------------------------------------------------------------------------------------------------------

static void put_request(hasher *out, const rh_request *request, const rh_message *asked) {
  put_mark(out, (unsigned)request->task);
  put_mark(out, request->infer != NULL);
  if (request->infer != NULL) {
    put_infer(out, request->infer);
    return;
  }
  put_number(out, request->choices);
  put_number(out, (int64_t)request->prompt_count);
  for (size_t i = 0; i < request->prompt_count; i++) put_prompt(out, &request->prompts[i], asked);
  put_generate(out, &request->generate);
  put_extras(out, request->extras);
}

static void make(unsigned purpose, const rh_request *request, const char *identity, const char *scope, bool local_only,
                 const rh_message *asked, rh_cache_key *out) {
  assert(request != NULL && identity != NULL && scope != NULL && out != NULL);
  hasher hash;
  hash.used = 0;
  begin_digest();
  put_mark(&hash, purpose);
  put_mark(&hash, FORM);
  put_mark(&hash, local_only);
  put_word(&hash, scope);
  put_word(&hash, identity);
  put_request(&hash, request, asked);
  drain(&hash);
  end_digest(out->bytes);
}

void rh_cache_key_make(const rh_request *request, const char *identity, const char *scope, bool local_only,
                       rh_cache_key *out) {
  make(FOR_ANSWER, request, identity, scope, local_only, NULL, out);
}

bool rh_request_is_deterministic(const rh_request *request) {
  if (request->infer != NULL || !rh_task_generates(request->task)) return true;
  const rh_generate *generate = &request->generate;
  return generate->temperature <= 0.0f || generate->top_k == 1 || generate->has_seed;
}

// --- the part that may differ in its words ---------------------------------------------------------------------------------------

static const rh_message *last_question(const rh_request *request) {
  if (request->infer != NULL || request->task != RH_TASK_CHAT || request->prompt_count != 1) return NULL;
  const rh_prompt *prompt = &request->prompts[0];
  if (prompt->kind != RH_PROMPT_MESSAGES) return NULL;
  for (size_t i = prompt->count; i > 0; i--) {
    if (strcmp(prompt->messages[i - 1].role, "user") == 0) return &prompt->messages[i - 1];
  }
  return NULL;
}

void rh_cache_shape_make(const rh_request *request, const char *identity, const char *scope, bool local_only,
                         rh_cache_key *out) {
  make(FOR_SHAPE, request, identity, scope, local_only, last_question(request), out);
}

const char *rh_semantic_text(const rh_request *request) {
  const rh_message *question = last_question(request);
  if (question == NULL || question->content == NULL || question->content[0] == '\0') return NULL;
  if (request->extras != NULL && request->extras->tool_count > 0) return NULL;
  if ((request->needs & (RH_NEEDS_TOOLS | RH_NEEDS_IMAGES)) != 0) return NULL;
  const rh_prompt *prompt = &request->prompts[0];
  for (size_t i = 0; i < prompt->count; i++) {
    const rh_message *message = &prompt->messages[i];
    if (strcmp(message->role, "tool") == 0) return NULL;
    for (size_t k = 0; message->pieces != NULL && k < message->piece_count; k++) {
      rh_piece_kind kind = message->pieces[k].kind;
      if (kind != RH_PIECE_TEXT && kind != RH_PIECE_REASONING) return NULL;
    }
  }
  return question->content;
}
