// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a template made of its text; and what all of the parser needs: tokens, nodes, names, failures.
// Data owned: builds rh_template, with all of its tree in one arena.
// Threads: any.
// Not here: the grammar (parser_statement.c, parser_expression.c, parser_primary.c).
#include "template/parser.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

tpl_node *rh_tpl_parse_fail(tpl_parser *self, rh_status status, const char *format, ...) {
  if (self->status != RH_OK) return NULL;  // the first failure is the one to tell
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  self->status = rh_fail(self->error, status, "line %u of the template: %s", tpl_now(self)->line, text);
  return NULL;
}

static tpl_node *out_of_memory(tpl_parser *self) {
  return rh_tpl_parse_fail(self, RH_NO_MEMORY, "not enough memory for the chat template");
}

tpl_node *rh_tpl_node_new(tpl_parser *self, tpl_node_kind kind) {
  if (self->status != RH_OK) return NULL;
  tpl_node *node = rh_arena_alloc(self->arena, sizeof *node);
  if (node == NULL) return out_of_memory(self);
  node->kind = (uint8_t)kind;
  node->line = tpl_now(self)->line;
  return node;
}

// Room doubles, so the arena holds at most twice what is needed.
bool rh_tpl_node_add(tpl_parser *self, tpl_node *to, tpl_node *item) {
  if (item == NULL || to == NULL) return false;
  uint32_t count = to->count;
  if ((count & (count - 1)) == 0) {  // 0, 1, 2, 4, 8...: full
    tpl_node **grown = rh_arena_alloc_array(self->arena, count == 0 ? 1 : (size_t)count * 2, sizeof(tpl_node *));
    if (grown == NULL) return out_of_memory(self) != NULL;
    if (count > 0) memcpy(grown, to->items, count * sizeof *grown);
    to->items = grown;
  }
  to->items[to->count++] = item;
  return true;
}

bool rh_tpl_parse_enter(tpl_parser *self) {
  if (++self->depth <= TPL_PARSE_DEPTH_MAX) return true;
  (void)rh_tpl_parse_fail(self, RH_INVALID, "nested deeper than %d levels", TPL_PARSE_DEPTH_MAX);
  return false;
}

void rh_tpl_parse_leave(tpl_parser *self) { self->depth--; }

bool rh_tpl_is_word(const tpl_token *token, const char *word) {
  return token->kind == T_NAME && tpl_text_is(token->value, word);
}

bool rh_tpl_skip(tpl_parser *self, tpl_token_kind kind) {
  if (tpl_now(self)->kind != kind) return false;
  tpl_next(self);
  return true;
}

bool rh_tpl_skip_word(tpl_parser *self, const char *word) {
  if (!rh_tpl_is_word(tpl_now(self), word)) return false;
  tpl_next(self);
  return true;
}

bool rh_tpl_expect(tpl_parser *self, tpl_token_kind kind, const char *what) {
  if (rh_tpl_skip(self, kind)) return true;
  (void)rh_tpl_parse_fail(self, RH_INVALID, "%s is missing", what);
  return false;
}

// --- names ----------------------------------------------------------------------------------------------------------

static size_t name_place(const tpl_parser *self, tpl_value text) {
  size_t at = (size_t)rh_hash_bytes(0, text.as.text, text.length) & (self->index_size - 1);
  while (self->index[at] != 0) {
    tpl_value name = self->tmpl->names[self->index[at] - 1];
    if (name.length == text.length && memcmp(name.as.text, text.as.text, text.length) == 0) break;
    at = (at + 1) & (self->index_size - 1);
  }
  return at;
}

uint32_t rh_tpl_name_number(tpl_parser *self, tpl_value text) {
  size_t at = name_place(self, text);
  if (self->index[at] != 0) return self->index[at] - 1;
  rh_template *tmpl = self->tmpl;
  if (tmpl->name_count == TPL_NAMES_MAX) {
    (void)rh_tpl_parse_fail(self, RH_TOO_LARGE, "more than %d names", TPL_NAMES_MAX);
    return 0;
  }
  if (tmpl->name_count == self->name_room) {
    self->name_room *= 2;
    tpl_value *grown = rh_arena_alloc_array(self->arena, self->name_room, sizeof *grown);
    if (grown == NULL) {
      (void)out_of_memory(self);
      return 0;
    }
    memcpy(grown, tmpl->names, tmpl->name_count * sizeof *grown);
    tmpl->names = grown;
  }
  tmpl->names[tmpl->name_count++] = text;
  self->index[at] = tmpl->name_count;
  return tmpl->name_count - 1;
}

static bool begin_names(tpl_parser *self) {
  static const char *const fixed[TPL_NAME_FIXED] = {[TPL_NAME_LOOP] = "loop",
                                                    [TPL_NAME_CALLER] = "caller",
                                                    [TPL_NAME_KWARGS] = "kwargs",
                                                    [TPL_NAME_VARARGS] = "varargs"};
  self->index_size = (size_t)TPL_NAMES_MAX * 2;
  self->index = calloc(self->index_size, sizeof *self->index);
  self->name_room = 64;
  self->tmpl->names = rh_arena_alloc_array(self->arena, self->name_room, sizeof(tpl_value));
  if (self->index == NULL || self->tmpl->names == NULL) return out_of_memory(self) != NULL;
  for (uint32_t i = 0; i < TPL_NAME_FIXED; i++) {
    (void)rh_tpl_name_number(self, tpl_text(fixed[i], strlen(fixed[i])));
  }
  return true;
}

rh_status rh_template_new(const char *source, size_t length, rh_template **out, rh_error *error) {
  assert(source != NULL && out != NULL);
  *out = NULL;
  if (length > RH_TEMPLATE_SOURCE_MAX) {
    return rh_fail(error, RH_TOO_LARGE, "the chat template has %zu bytes; %zu are allowed", length,
                   RH_TEMPLATE_SOURCE_MAX);
  }
  rh_template *tmpl = calloc(1, sizeof *tmpl);
  if (tmpl != NULL) tmpl->arena = rh_arena_new(TPL_TREE_BYTES_MAX);
  if (tmpl == NULL || tmpl->arena == NULL) {
    rh_template_free(tmpl);
    return rh_fail(error, RH_NO_MEMORY, "not enough memory for the chat template");
  }
  tpl_token *tokens;
  tpl_parser self = {.tmpl = tmpl, .arena = tmpl->arena, .error = error};
  self.status = rh_tpl_tokenize(tmpl->arena, source, length, &tokens, &self.count, error);
  self.tokens = tokens;
  if (self.status == RH_OK && begin_names(&self)) tmpl->body = rh_tpl_parse_body(&self, NULL);
  assert(self.status != RH_OK || tmpl->body != NULL);
  free(tokens);
  free(self.index);
  if (self.status != RH_OK) {
    rh_template_free(tmpl);
    return self.status;
  }
  *out = tmpl;
  return RH_OK;
}

void rh_template_free(rh_template *tmpl) {
  if (tmpl == NULL) return;
  rh_arena_free(tmpl->arena);
  free(tmpl);
}
