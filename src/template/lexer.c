// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the text of a template as tokens: what is plain text and what is a tag, and which white space goes. The rules are
// those of jinja2's lexer with trim_blocks and lstrip_blocks.
// Data owned: none; texts lie in the caller's arena.
// Threads: any; no state.
// Not here: whether tokens make sense together (parser.c).
#include "template/lexer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/literal.h"
#include "template/unicode.h"

#define BRACKETS_MAX 256

typedef struct lexer {
  rh_arena *arena;
  const char *text;
  size_t length, at;
  uint32_t line;
  bool line_starts;  // the last match ended with a line break
  tpl_token *tokens;
  size_t count, room;
  char closing[BRACKETS_MAX];
  size_t depth;
  rh_error *error;
} lexer;

static rh_status syntax(const lexer *self, const char *what) {
  return rh_fail(self->error, RH_INVALID, "line %u of the template: %s", self->line, what);
}

static rh_status add(lexer *self, tpl_token_kind kind, tpl_value value) {
  if (self->count == self->room) {
    size_t room = self->room == 0 ? 256 : self->room * 2;
    tpl_token *grown = realloc(self->tokens, room * sizeof *grown);
    if (grown == NULL) return rh_fail(self->error, RH_NO_MEMORY, "not enough memory for the chat template");
    self->tokens = grown;
    self->room = room;
  }
  self->tokens[self->count++] = (tpl_token){.kind = (uint8_t)kind, .line = self->line, .value = value};
  return RH_OK;
}

// Go forward over matched bytes.
static void pass(lexer *self, size_t to) {
  assert(to >= self->at && to <= self->length);
  for (size_t i = self->at; i < to; i++) self->line += self->text[i] == '\n' ? 1 : 0;
  if (to > self->at) self->line_starts = self->text[to - 1] == '\n';
  self->at = to;
}

static bool here(const lexer *self, size_t at, const char *text) {
  size_t length = strlen(text);
  return self->length - at >= length && memcmp(self->text + at, text, length) == 0;
}

static size_t skip_space(const lexer *self, size_t at) {
  size_t space;
  while (at < self->length && (space = rh_tpl_space_length(self->text + at, self->length - at)) > 0) at += space;
  return at;
}

// Where the end mark at `at` ends with the white space it takes, or 0 when there is none. `mark`: "%}", "}}", "#}".
static size_t match_end(const lexer *self, size_t at, const char *mark) {
  bool is_variable = mark[0] == '}';
  if (self->text[at] == '-' && here(self, at + 1, mark)) return skip_space(self, at + 3);
  if (self->text[at] == '+' && !is_variable && here(self, at + 1, mark)) return at + 3;
  if (!here(self, at, mark)) return 0;
  at += 2;
  return !is_variable && at < self->length && self->text[at] == '\n' ? at + 1 : at;
}

// Plain text [self->at, end) before a tag with this sign.
static rh_status add_data(lexer *self, size_t end, char sign, bool is_variable) {
  const char *text = self->text;
  size_t from = self->at, to = end;
  if (sign == '-') {
    size_t space;
    while (to > from && (space = rh_tpl_space_before(text, from, to)) > 0) to -= space;
  } else if (sign != '+' && !is_variable) {
    size_t line = to, space;
    while (line > from && text[line - 1] != '\n') line--;
    for (space = line; space < to;) {
      size_t length = rh_tpl_space_length(text + space, to - space);
      if (length == 0) break;
      space += length;
    }
    if (space == to && (line > from || self->line_starts)) to = line;
  }
  return to > from ? add(self, T_DATA, tpl_text(text + from, to - from)) : RH_OK;
}

// "{% raw %}" at `at`: where its text begins, or 0.
static size_t match_raw(const lexer *self, size_t at) {
  at += 2;
  if (at < self->length && (self->text[at] == '-' || self->text[at] == '+')) at++;
  at = skip_space(self, at);
  if (!here(self, at, "raw")) return 0;
  at = skip_space(self, at + 3);
  if (here(self, at, "-%}")) return skip_space(self, at + 3);
  return here(self, at, "%}") ? at + 2 : 0;
}

// Up to and with "{% endraw %}".
static rh_status lex_raw(lexer *self) {
  for (size_t at = self->at; at + 1 < self->length; at++) {
    if (!here(self, at, "{%")) continue;
    size_t next = at + 2;
    char sign = next < self->length ? self->text[next] : '\0';
    if (sign == '-' || sign == '+') next++;
    next = skip_space(self, next);
    if (!here(self, next, "endraw")) continue;
    next = skip_space(self, next + 6);
    size_t end = next < self->length ? match_end(self, next, "%}") : 0;
    if (end == 0) continue;
    rh_status status = add_data(self, at, sign, false);
    pass(self, end);
    return status;
  }
  return syntax(self, "a raw block without its end");
}

static rh_status lex_comment(lexer *self) {
  for (size_t at = self->at; at + 1 < self->length; at++) {
    if (self->text[at] != '#' && self->text[at] != '-' && self->text[at] != '+') continue;
    size_t end = match_end(self, at, "#}");
    if (end == 0) continue;
    pass(self, end);
    return RH_OK;
  }
  return syntax(self, "a comment without its end");
}

static const struct {
  char text[3];
  uint8_t kind;
} operators[] = {
    {"//", T_FLOORDIV}, {"**", T_POW},      {"==", T_EQ},    {"!=", T_NE},    {">=", T_GE},    {"<=", T_LE},
    {"+", T_ADD},       {"-", T_SUB},       {"/", T_DIV},    {"*", T_MUL},    {"%", T_MOD},    {"~", T_TILDE},
    {"[", T_LBRACKET},  {"]", T_RBRACKET},  {"(", T_LPAREN}, {")", T_RPAREN}, {"{", T_LBRACE}, {"}", T_RBRACE},
    {">", T_GT},        {"<", T_LT},        {"=", T_ASSIGN}, {".", T_DOT},    {":", T_COLON},  {"|", T_PIPE},
    {",", T_COMMA},     {";", T_SEMICOLON},
};

static rh_status balance(lexer *self, char c) {
  if (c == '(' || c == '[' || c == '{') {
    if (self->depth == BRACKETS_MAX) return syntax(self, "brackets nested too deep");
    self->closing[self->depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
  } else if (c == ')' || c == ']' || c == '}') {
    if (self->depth == 0) return syntax(self, "a closing bracket that nothing opened");
    if (self->closing[--self->depth] != c) return syntax(self, "a closing bracket of the wrong kind");
  }
  return RH_OK;
}

static rh_status lex_operator(lexer *self) {
  for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
    if (!here(self, self->at, operators[i].text)) continue;
    rh_status status = balance(self, operators[i].text[0]);
    if (status == RH_OK) status = add(self, operators[i].kind, tpl_missing());
    pass(self, self->at + strlen(operators[i].text));
    return status;
  }
  return syntax(self, "a character that has no meaning in a tag");
}

static rh_status lex_string(lexer *self) {
  char quote = self->text[self->at];
  size_t end = self->at + 1;
  while (end < self->length && self->text[end] != quote) end += self->text[end] == '\\' ? 2 : 1;
  if (end >= self->length) return syntax(self, "a string without its end");
  tpl_value value;
  const char *wrong = rh_tpl_literal_text(self->arena, self->text + self->at + 1, end - self->at - 1, &value);
  if (wrong != NULL) return syntax(self, wrong);
  rh_status status = add(self, T_STRING, value);
  pass(self, end + 1);
  return status;
}

static rh_status lex_number(lexer *self) {
  tpl_value value;
  size_t length = 0;
  bool after_dot = self->at > 0 && self->text[self->at - 1] == '.';
  const char *wrong = rh_tpl_literal_number(self->text + self->at, self->length - self->at, after_dot, &value, &length);
  if (wrong != NULL) return syntax(self, wrong);
  rh_status status = add(self, value.kind == V_FLOAT ? T_FLOAT : T_INTEGER, value);
  pass(self, self->at + length);
  return status;
}

static rh_status lex_name(lexer *self, size_t length) {
  rh_status status = add(self, T_NAME, tpl_text(self->text + self->at, length));
  pass(self, self->at + length);
  return status;
}

// The inside of a tag, with its end mark.
static rh_status lex_tag(lexer *self, const char *mark, tpl_token_kind end_kind) {
  rh_status status = RH_OK;
  self->depth = 0;
  while (status == RH_OK && self->at < self->length) {
    size_t end = self->depth == 0 ? match_end(self, self->at, mark) : 0;
    if (end > 0) {
      status = add(self, end_kind, tpl_missing());
      pass(self, end);
      return status;
    }
    char c = self->text[self->at];
    size_t space = skip_space(self, self->at), name = 0;
    if (space > self->at) {
      pass(self, space);
    } else if (c >= '0' && c <= '9') {
      status = lex_number(self);
    } else if (c == '\'' || c == '"') {
      status = lex_string(self);
    } else if ((name = rh_tpl_name_length(self->text + self->at, self->length - self->at)) > 0) {
      status = lex_name(self, name);
    } else {
      status = lex_operator(self);
    }
  }
  return status;
}

static rh_status lex_root(lexer *self) {
  size_t at = self->at;
  while (at + 1 < self->length) {
    const char *brace = memchr(self->text + at, '{', self->length - at - 1);
    if (brace == NULL) break;
    at = (size_t)(brace - self->text);
    char kind = self->text[at + 1];
    if (kind != '%' && kind != '{' && kind != '#') {
      at++;
      continue;
    }
    char sign = at + 2 < self->length ? self->text[at + 2] : '\0';
    size_t raw = kind == '%' ? match_raw(self, at) : 0;
    rh_status status = add_data(self, at, sign, kind == '{');
    if (status != RH_OK) return status;
    pass(self, raw > 0 ? raw : at + (sign == '-' || sign == '+' ? 3 : 2));
    if (raw > 0) return lex_raw(self);
    if (kind == '#') return lex_comment(self);
    status = add(self, kind == '%' ? T_BLOCK_BEGIN : T_VARIABLE_BEGIN, tpl_missing());
    if (status != RH_OK) return status;
    return kind == '%' ? lex_tag(self, "%}", T_BLOCK_END) : lex_tag(self, "}}", T_VARIABLE_END);
  }
  rh_status status = add(self, T_DATA, tpl_text(self->text + self->at, self->length - self->at));
  pass(self, self->length);
  return status;
}

// Line breaks of all kinds become one kind, and the last one goes.
static char *normalize_lines(rh_arena *arena, const char *source, size_t length, size_t *out) {
  char *text = rh_arena_alloc(arena, length + 1);
  if (text == NULL) return NULL;
  size_t to = 0;
  for (size_t i = 0; i < length; i++) {
    if (source[i] == '\r') {
      if (i + 1 < length && source[i + 1] == '\n') i++;
      text[to++] = '\n';
    } else {
      text[to++] = source[i];
    }
  }
  if (to > 0 && text[to - 1] == '\n') to--;
  *out = to;
  return text;
}

rh_status rh_tpl_tokenize(rh_arena *arena, const char *source, size_t length, tpl_token **out, size_t *count,
                          rh_error *error) {
  *out = NULL;
  *count = 0;
  if (!rh_utf8_valid(source, length)) return rh_fail(error, RH_INVALID, "the chat template is not UTF-8 text");
  lexer self = {.arena = arena, .line = 1, .line_starts = true, .error = error};
  self.text = normalize_lines(arena, source, length, &self.length);
  if (self.text == NULL) return rh_fail(error, RH_NO_MEMORY, "not enough memory for the chat template");
  rh_status status = RH_OK;
  while (status == RH_OK && self.at < self.length) status = lex_root(&self);
  if (status == RH_OK) status = add(&self, T_END, tpl_missing());
  if (status != RH_OK) {
    free(self.tokens);
    return status;
  }
  *out = self.tokens;
  *count = self.count;
  return RH_OK;
}
