// SPDX-License-Identifier: Apache-2.0
//
// Purpose: statements as a tree: plain text, tags and their bodies.
// Data owned: none; nodes lie in the template's arena. Threads: any.
// Not here: templates that include, extend or import others: a model's template stands alone.
#include <assert.h>

#include "template/parser.h"

static bool is_constant_word(const tpl_token *token) {
  return rh_tpl_is_word(token, "true") || rh_tpl_is_word(token, "True") || rh_tpl_is_word(token, "false") ||
         rh_tpl_is_word(token, "False") || rh_tpl_is_word(token, "none") || rh_tpl_is_word(token, "None");
}

static tpl_node *parse_target_name(tpl_parser *self, bool with_namespace) {
  const tpl_token *token = tpl_now(self);
  if (token->kind != T_NAME || is_constant_word(token)) {
    return rh_tpl_parse_fail(self, RH_INVALID, "a name to give a value to is missing");
  }
  bool member = with_namespace && tpl_ahead(self)->kind == T_DOT;
  tpl_node *node = rh_tpl_node_new(self, member ? E_NSREF : E_NAME);
  if (node == NULL) return NULL;
  node->name = rh_tpl_name_number(self, token->value);
  node->value = token->value;
  tpl_next(self);
  if (!member) return node;
  tpl_next(self);
  if (tpl_now(self)->kind != T_NAME) return rh_tpl_parse_fail(self, RH_INVALID, "a name is missing after the dot");
  node->value = tpl_now(self)->value;
  tpl_next(self);
  return node;
}

// One name or several with commas, in parentheses or not.
static tpl_node *parse_target(tpl_parser *self, bool with_namespace, const char *end) {
  if (!rh_tpl_parse_enter(self)) return NULL;
  tpl_node *tuple = rh_tpl_node_new(self, E_TUPLE);
  bool comma = false;
  while (tuple != NULL && (tuple->count == 0 || comma)) {
    const tpl_token *token = tpl_now(self);
    if (tuple->count > 0 && (token->kind == T_ASSIGN || token->kind == T_RPAREN || token->kind == T_BLOCK_END ||
                             (end != NULL && rh_tpl_is_word(token, end))))
      break;
    tpl_node *item;
    if (rh_tpl_skip(self, T_LPAREN)) {
      item = parse_target(self, with_namespace, NULL);
      if (item == NULL || !rh_tpl_expect(self, T_RPAREN, "a closing parenthesis")) return NULL;
    } else {
      item = parse_target_name(self, with_namespace);
    }
    if (!rh_tpl_node_add(self, tuple, item)) return NULL;
    comma = rh_tpl_skip(self, T_COMMA);
  }
  rh_tpl_parse_leave(self);
  if (tuple == NULL) return NULL;
  return tuple->count == 1 && !comma ? tuple->items[0] : tuple;
}

// The end of a tag, its body up to one of `ends`, and past "{%" to that word.
static tpl_node *parse_inside(tpl_parser *self, const char *const *ends) {
  (void)rh_tpl_skip(self, T_COLON);
  if (!rh_tpl_expect(self, T_BLOCK_END, "the end of the tag")) return NULL;
  return rh_tpl_parse_body(self, ends);
}

// The same with its own names: unknown filters in it are errors at once, and it has loops of its own.
static tpl_node *parse_inside_new(tpl_parser *self, const char *end) {
  const char *const ends[] = {end, NULL};
  bool soft = self->soft;
  self->soft = false;
  tpl_node *body = parse_inside(self, ends);
  self->soft = soft;
  if (body != NULL) tpl_next(self);
  return body;
}

static tpl_node *parse_if(tpl_parser *self) {
  static const char *const ends[] = {"elif", "else", "endif", NULL};
  static const char *const last[] = {"endif", NULL};
  tpl_node *node = rh_tpl_node_new(self, S_IF);
  bool soft = self->soft;
  self->soft = true;
  while (node != NULL) {
    tpl_next(self);
    if (!rh_tpl_node_add(self, node, rh_tpl_parse_tuple(self, false, NULL))) return NULL;
    if (!rh_tpl_node_add(self, node, parse_inside(self, ends))) return NULL;
    if (rh_tpl_is_word(tpl_now(self), "elif")) continue;
    if (rh_tpl_skip_word(self, "else")) {
      node->c = parse_inside(self, last);
      if (node->c == NULL) return NULL;
    }
    tpl_next(self);
    break;
  }
  self->soft = soft;
  return node;
}

static tpl_node *parse_for(tpl_parser *self) {
  static const char *const ends[] = {"endfor", "else", NULL};
  static const char *const last[] = {"endfor", NULL};
  tpl_node *node = rh_tpl_node_new(self, S_FOR);
  tpl_next(self);
  if (node == NULL || (node->a = parse_target(self, false, "in")) == NULL) return NULL;
  if (!rh_tpl_skip_word(self, "in")) return rh_tpl_parse_fail(self, RH_INVALID, "'in' is missing in the for");
  if ((node->b = rh_tpl_parse_tuple(self, false, "recursive")) == NULL) return NULL;
  if (rh_tpl_skip_word(self, "if") && (node->c = rh_tpl_parse_expression(self, true)) == NULL) return NULL;
  if (rh_tpl_skip_word(self, "recursive")) node->op = 1;
  bool soft = self->soft;
  self->soft = false;
  self->loops++;
  bool ok = rh_tpl_node_add(self, node, parse_inside(self, ends));
  self->loops--;
  if (ok && rh_tpl_skip_word(self, "else")) ok = rh_tpl_node_add(self, node, parse_inside(self, last));
  self->soft = soft;
  if (!ok) return NULL;
  tpl_next(self);
  return node;
}

static tpl_node *parse_set(tpl_parser *self) {
  tpl_node *node = rh_tpl_node_new(self, S_SET);
  tpl_next(self);
  if (node == NULL || (node->a = parse_target(self, true, NULL)) == NULL) return NULL;
  if (rh_tpl_skip(self, T_ASSIGN)) {
    node->b = rh_tpl_parse_tuple(self, true, NULL);
    return node->b != NULL ? node : NULL;
  }
  node->kind = S_SET_BLOCK;
  if (node->a->kind == E_TUPLE) return rh_tpl_parse_fail(self, RH_INVALID, "a block cannot be unpacked into names");
  if (tpl_now(self)->kind == T_PIPE) {
    node->b = rh_tpl_parse_filters(self, NULL, false);
    if (node->b == NULL) return NULL;
  }
  node->c = parse_inside_new(self, "endset");
  return node->c != NULL ? node : NULL;
}

static bool parse_parameters(tpl_parser *self, tpl_node *macro) {
  bool defaults = false;
  if (!rh_tpl_expect(self, T_LPAREN, "an opening parenthesis")) return false;
  while (tpl_now(self)->kind != T_RPAREN) {
    if (macro->count > 0 && !rh_tpl_expect(self, T_COMMA, "a comma between parameters")) return false;
    tpl_node *name = parse_target_name(self, false), *parameter = rh_tpl_node_new(self, E_ARG);
    if (name == NULL || parameter == NULL) return false;
    parameter->name = name->name;
    parameter->value = name->value;
    if (rh_tpl_skip(self, T_ASSIGN)) {
      defaults = true;
      parameter->a = rh_tpl_parse_expression(self, true);
      if (parameter->a == NULL) return false;
    } else if (defaults) {
      (void)rh_tpl_parse_fail(self, RH_INVALID, "a parameter without a default follows one with a default");
      return false;
    }
    if (!rh_tpl_node_add(self, macro, parameter)) return false;
  }
  tpl_next(self);
  return true;
}

// The body of a macro or of a call block, with what it uses of what calls bring along.
static bool parse_macro_body(tpl_parser *self, tpl_node *macro, const char *end) {
  unsigned loops = self->loops;
  uint8_t uses = self->uses;
  self->loops = 0;
  self->uses = 0;
  macro->b = parse_inside_new(self, end);
  macro->op = self->uses;
  self->loops = loops;
  self->uses |= uses;  // a macro in a macro counts for both
  return macro->b != NULL;
}

static tpl_node *parse_macro(tpl_parser *self) {
  tpl_node *node = rh_tpl_node_new(self, S_MACRO);
  tpl_next(self);
  tpl_node *name = parse_target_name(self, false);
  if (node == NULL || name == NULL) return NULL;
  node->name = name->name;
  node->value = name->value;
  return parse_parameters(self, node) && parse_macro_body(self, node, "endmacro") ? node : NULL;
}

static tpl_node *parse_call_block(tpl_parser *self) {
  tpl_node *node = rh_tpl_node_new(self, S_CALL), *macro = rh_tpl_node_new(self, S_MACRO);
  tpl_next(self);
  if (node == NULL || macro == NULL) return NULL;
  macro->value = TPL_LITERAL("caller");
  if (tpl_now(self)->kind == T_LPAREN && !parse_parameters(self, macro)) return NULL;
  node->a = rh_tpl_parse_expression(self, true);
  if (node->a == NULL) return NULL;
  if (node->a->kind != E_CALL) return rh_tpl_parse_fail(self, RH_INVALID, "a call is missing in the call block");
  node->b = macro;
  return parse_macro_body(self, macro, "endcall") ? node : NULL;
}

static tpl_node *parse_filter_block(tpl_parser *self) {
  tpl_node *node = rh_tpl_node_new(self, S_FILTER);
  tpl_next(self);
  if (node == NULL || (node->a = rh_tpl_parse_filters(self, NULL, true)) == NULL) return NULL;
  node->b = parse_inside_new(self, "endfilter");
  return node->b != NULL ? node : NULL;
}

static tpl_node *parse_with(tpl_parser *self) {
  tpl_node *node = rh_tpl_node_new(self, S_WITH);
  tpl_next(self);
  while (node != NULL && tpl_now(self)->kind != T_BLOCK_END) {
    if (node->count > 0 && !rh_tpl_expect(self, T_COMMA, "a comma")) return NULL;
    if (!rh_tpl_node_add(self, node, parse_target(self, false, NULL))) return NULL;
    if (!rh_tpl_expect(self, T_ASSIGN, "an equals sign")) return NULL;
    if (!rh_tpl_node_add(self, node, rh_tpl_parse_expression(self, true))) return NULL;
  }
  if (node == NULL || (node->b = parse_inside_new(self, "endwith")) == NULL) return NULL;
  return node;
}

static tpl_node *parse_generation(tpl_parser *self) {
  tpl_node *node = rh_tpl_node_new(self, S_SCOPE);
  unsigned loops = self->loops;
  tpl_next(self);
  self->loops = 0;
  if (node != NULL) node->b = parse_inside_new(self, "endgeneration");
  self->loops = loops;
  return node != NULL && node->b != NULL ? node : NULL;
}

static tpl_node *parse_print(tpl_parser *self) {
  tpl_node *body = rh_tpl_node_new(self, S_BODY);
  tpl_next(self);
  while (body != NULL && tpl_now(self)->kind != T_BLOCK_END) {
    if (body->count > 0 && !rh_tpl_expect(self, T_COMMA, "a comma")) return NULL;
    tpl_node *node = rh_tpl_node_new(self, S_OUTPUT);
    if (node == NULL || (node->a = rh_tpl_parse_expression(self, true)) == NULL) return NULL;
    if (!rh_tpl_node_add(self, body, node)) return NULL;
  }
  return body;
}

static tpl_node *parse_break(tpl_parser *self) {
  if (self->loops == 0) return rh_tpl_parse_fail(self, RH_INVALID, "break or continue outside of a loop");
  tpl_node *node = rh_tpl_node_new(self, rh_tpl_is_word(tpl_now(self), "break") ? S_BREAK : S_CONTINUE);
  tpl_next(self);
  return node;
}

static tpl_node *parse_statement(tpl_parser *self) {
  static const struct {
    const char *word;
    tpl_node *(*parse)(tpl_parser *self);
  } rows[] = {{"if", parse_if},       {"for", parse_for},         {"set", parse_set},
              {"macro", parse_macro}, {"call", parse_call_block}, {"filter", parse_filter_block},
              {"with", parse_with},   {"print", parse_print},     {"generation", parse_generation},
              {"break", parse_break}, {"continue", parse_break}};
  static const char *const elsewhere[] = {"extends", "block", "include", "import", "from", "autoescape"};
  const tpl_token *token = tpl_now(self);
  if (token->kind != T_NAME) return rh_tpl_parse_fail(self, RH_INVALID, "the name of a tag is missing");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (rh_tpl_is_word(token, rows[i].word)) return rows[i].parse(self);
  }
  for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++) {
    if (rh_tpl_is_word(token, elsewhere[i]))
      return rh_tpl_parse_fail(self, RH_UNSUPPORTED, "the tag %s is not known here", elsewhere[i]);
  }
  return rh_tpl_parse_fail(self, RH_INVALID, "there is no tag '%.*s' that could stand here",
                           token->value.length < 64 ? (int)token->value.length : 64, token->value.as.text);
}

static bool ends_here(const tpl_parser *self, const char *const *ends) {
  for (size_t i = 0; ends != NULL && ends[i] != NULL; i++) {
    if (rh_tpl_is_word(tpl_now(self), ends[i])) return true;
  }
  return false;
}

static bool parse_piece(tpl_parser *self, tpl_node *body, const char *const *ends, bool *ended) {
  const tpl_token *token = tpl_now(self);
  tpl_node *node;
  if (token->kind == T_DATA) {
    node = rh_tpl_node_new(self, S_TEXT);
    if (node != NULL) node->value = token->value;
    tpl_next(self);
    return rh_tpl_node_add(self, body, node);
  }
  tpl_next(self);
  if (token->kind == T_VARIABLE_BEGIN) {
    node = rh_tpl_node_new(self, S_OUTPUT);
    if (node != NULL) node->a = rh_tpl_parse_tuple(self, true, NULL);
    if (node == NULL || node->a == NULL) return false;
    return rh_tpl_expect(self, T_VARIABLE_END, "the end of the tag") && rh_tpl_node_add(self, body, node);
  }
  assert(token->kind == T_BLOCK_BEGIN);
  *ended = ends_here(self, ends);
  if (*ended) return true;
  return rh_tpl_node_add(self, body, parse_statement(self)) && rh_tpl_expect(self, T_BLOCK_END, "the end of the tag");
}

tpl_node *rh_tpl_parse_body(tpl_parser *self, const char *const *ends) {
  if (!rh_tpl_parse_enter(self)) return NULL;
  tpl_node *body = rh_tpl_node_new(self, S_BODY);
  bool ended = false;
  while (body != NULL && !ended && tpl_now(self)->kind != T_END) {
    if (!parse_piece(self, body, ends, &ended)) return NULL;
  }
  rh_tpl_parse_leave(self);
  if (!ended && ends != NULL)
    return rh_tpl_parse_fail(self, RH_INVALID, "the template ends where '%s' is missing", ends[0]);
  return body;
}
