// SPDX-License-Identifier: Apache-2.0
//
// What the two halves of the parser share. Nobody outside includes this.
#ifndef RH_TEMPLATE_PARSER_H
#define RH_TEMPLATE_PARSER_H

#include "template/lexer.h"

typedef struct tpl_parser {
  rh_template *tmpl;
  rh_arena *arena;
  const tpl_token *tokens;
  size_t at, count;
  uint32_t *index;  // of names: number + 1, or 0
  size_t index_size, name_room;
  unsigned depth;
  unsigned loops;  // how many loops of this macro are open
  bool soft;       // in a branch: a filter that does not exist is an error only once it is met
  uint8_t uses;    // TPL_USES_* of the macro being read
  rh_status status;
  rh_error *error;
} tpl_parser;

// All functions that give a node give NULL after a failure, and `status` says so.
tpl_node *rh_tpl_parse_fail(tpl_parser *self, rh_status status, const char *format, ...) RH_PRINTF(3, 4);
tpl_node *rh_tpl_node_new(tpl_parser *self, tpl_node_kind kind);
bool rh_tpl_node_add(tpl_parser *self, tpl_node *to, tpl_node *item);  // false after a failure
uint32_t rh_tpl_name_number(tpl_parser *self, tpl_value text);
bool rh_tpl_parse_enter(tpl_parser *self);  // one level deeper; false: too deep
void rh_tpl_parse_leave(tpl_parser *self);

static inline const tpl_token *tpl_now(const tpl_parser *self) { return &self->tokens[self->at]; }
static inline const tpl_token *tpl_ahead(const tpl_parser *self) {
  return &self->tokens[self->at + 1 < self->count ? self->at + 1 : self->at];
}
static inline void tpl_next(tpl_parser *self) { self->at += self->at + 1 < self->count ? 1 : 0; }
bool rh_tpl_is_word(const tpl_token *token, const char *word);
bool rh_tpl_skip(tpl_parser *self, tpl_token_kind kind);  // past it, if it is there
bool rh_tpl_skip_word(tpl_parser *self, const char *word);
bool rh_tpl_expect(tpl_parser *self, tpl_token_kind kind, const char *what);  // false: an error was made

// parser_statement.c: up to the tag that begins with one of `ends` (and stop at that word), or to the end of the template
// without `ends`.
tpl_node *rh_tpl_parse_body(tpl_parser *self, const char *const *ends);

// parser_expression.c
tpl_node *rh_tpl_node_two(tpl_parser *self, tpl_node_kind kind, uint8_t op, tpl_node *a, tpl_node *b);
tpl_node *rh_tpl_parse_expression(tpl_parser *self, bool with_condition);
// Several with commas are a tuple. It ends where no expression can begin, and before the word `end`, if given.
tpl_node *rh_tpl_parse_tuple(tpl_parser *self, bool with_condition, const char *end);

// parser_primary.c
tpl_node *rh_tpl_parse_primary(tpl_parser *self);
tpl_node *rh_tpl_parse_postfix(tpl_parser *self, tpl_node *node);
// "|f|g" after `node`; with `at_name` the first one's bar was left out, and `node` may be NULL.
tpl_node *rh_tpl_parse_filters(tpl_parser *self, tpl_node *node, bool at_name);
bool rh_tpl_parse_arguments(tpl_parser *self, tpl_node *call);  // "(...)" into its items

#endif
