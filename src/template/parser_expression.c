// SPDX-License-Identifier: Apache-2.0
//
// Purpose: operators and conditions as a tree, by jinja2's grammar with its precedence.
// Data owned: none; nodes lie in the template's arena. Threads: any.
// Not here: what operators work on (parser_primary.c).
#include "template/parser.h"

static tpl_node *parse_unary(tpl_parser *self, bool with_filters);

tpl_node *rh_tpl_node_two(tpl_parser *self, tpl_node_kind kind, uint8_t op, tpl_node *a, tpl_node *b) {
  tpl_node *node = a != NULL && b != NULL ? rh_tpl_node_new(self, kind) : NULL;
  if (node == NULL) return NULL;
  node->op = op;
  node->line = a->line;
  node->a = a;
  node->b = b;
  return node;
}

static tpl_node *parse_power(tpl_parser *self) {
  tpl_node *left = parse_unary(self, true);
  while (left != NULL && rh_tpl_skip(self, T_POW))
    left = rh_tpl_node_two(self, E_BINARY, OP_POW, left, parse_unary(self, true));
  return left;
}

static tpl_node *parse_product(tpl_parser *self) {
  tpl_node *left = parse_power(self);
  while (left != NULL) {
    uint8_t kind = tpl_now(self)->kind;
    tpl_op op = kind == T_MUL ? OP_MUL : kind == T_DIV ? OP_DIV : kind == T_FLOORDIV ? OP_FLOORDIV : OP_MOD;
    if (kind != T_MUL && kind != T_DIV && kind != T_FLOORDIV && kind != T_MOD) break;
    tpl_next(self);
    left = rh_tpl_node_two(self, E_BINARY, (uint8_t)op, left, parse_power(self));
  }
  return left;
}

static tpl_node *parse_concat(tpl_parser *self) {
  tpl_node *first = parse_product(self);
  if (first == NULL || tpl_now(self)->kind != T_TILDE) return first;
  tpl_node *node = rh_tpl_node_new(self, E_CONCAT);
  bool ok = node != NULL && rh_tpl_node_add(self, node, first);
  while (ok && rh_tpl_skip(self, T_TILDE)) ok = rh_tpl_node_add(self, node, parse_product(self));
  return ok ? node : NULL;
}

static tpl_node *parse_sum(tpl_parser *self) {
  tpl_node *left = parse_concat(self);
  while (left != NULL) {
    uint8_t kind = tpl_now(self)->kind;
    if (kind != T_ADD && kind != T_SUB) break;
    tpl_next(self);
    left = rh_tpl_node_two(self, E_BINARY, kind == T_ADD ? OP_ADD : OP_SUB, left, parse_concat(self));
  }
  return left;
}

static bool comparison(tpl_parser *self, uint8_t *op) {
  switch (tpl_now(self)->kind) {
    case T_EQ: *op = OP_EQ; break;
    case T_NE: *op = OP_NE; break;
    case T_LT: *op = OP_LT; break;
    case T_LE: *op = OP_LE; break;
    case T_GT: *op = OP_GT; break;
    case T_GE: *op = OP_GE; break;
    default:
      if (rh_tpl_is_word(tpl_now(self), "in")) {
        *op = OP_IN;
        break;
      }
      if (!rh_tpl_is_word(tpl_now(self), "not") || !rh_tpl_is_word(tpl_ahead(self), "in")) return false;
      *op = OP_NOT_IN;
      tpl_next(self);
  }
  tpl_next(self);
  return true;
}

static tpl_node *parse_compare(tpl_parser *self) {
  tpl_node *first = parse_sum(self), *node = NULL;
  uint8_t op;
  while (first != NULL && comparison(self, &op)) {
    if (node == NULL) {
      node = rh_tpl_node_new(self, E_COMPARE);
      if (node == NULL) return NULL;
      node->a = first;
    }
    tpl_node *operand = rh_tpl_node_new(self, E_ARG);
    if (operand == NULL) return NULL;
    operand->op = op;
    operand->a = parse_sum(self);
    if (operand->a == NULL || !rh_tpl_node_add(self, node, operand)) return NULL;
  }
  return node != NULL ? node : first;
}

static tpl_node *parse_not(tpl_parser *self) {
  if (!rh_tpl_is_word(tpl_now(self), "not")) return parse_compare(self);
  if (!rh_tpl_parse_enter(self)) return NULL;
  tpl_node *node = rh_tpl_node_new(self, E_NOT);
  tpl_next(self);
  if (node != NULL) node->a = parse_not(self);
  rh_tpl_parse_leave(self);
  return node != NULL && node->a != NULL ? node : NULL;
}

static tpl_node *parse_and(tpl_parser *self) {
  tpl_node *left = parse_not(self);
  while (left != NULL && rh_tpl_skip_word(self, "and")) left = rh_tpl_node_two(self, E_AND, 0, left, parse_not(self));
  return left;
}

static tpl_node *parse_or(tpl_parser *self) {
  tpl_node *left = parse_and(self);
  while (left != NULL && rh_tpl_skip_word(self, "or")) left = rh_tpl_node_two(self, E_OR, 0, left, parse_and(self));
  return left;
}

// Unknown filters in a conditional expression are errors only when they are met. What stands before the `if` has been
// read by then, so the reader looks for it ahead.
static bool condition_ahead(const tpl_parser *self) {
  int depth = 0;
  for (size_t i = self->at; i < self->count; i++) {
    uint8_t kind = self->tokens[i].kind;
    if (kind == T_BLOCK_END || kind == T_VARIABLE_END || kind == T_END) return false;
    if (kind == T_LPAREN || kind == T_LBRACKET || kind == T_LBRACE) depth++;
    if ((kind == T_RPAREN || kind == T_RBRACKET || kind == T_RBRACE) && --depth < 0) return false;
    if (depth == 0 && kind == T_COMMA) return false;
    if (depth == 0 && rh_tpl_is_word(&self->tokens[i], "if")) return true;
  }
  return false;
}

static tpl_node *parse_condition(tpl_parser *self) {
  bool soft = self->soft;
  // Looking ahead at every level would be quadratic; within a branch the answer is known.
  if (!soft) self->soft = condition_ahead(self);
  tpl_node *node = parse_or(self);
  while (node != NULL && rh_tpl_skip_word(self, "if")) {
    tpl_node *condition = rh_tpl_node_new(self, E_COND);
    if (condition == NULL) return NULL;
    condition->b = node;
    condition->a = parse_or(self);
    if (condition->a == NULL) return NULL;
    if (rh_tpl_skip_word(self, "else")) {
      condition->c = rh_tpl_parse_expression(self, true);
      if (condition->c == NULL) return NULL;
    }
    node = condition;
  }
  self->soft = soft;
  return node;
}

tpl_node *rh_tpl_parse_expression(tpl_parser *self, bool with_condition) {
  if (!rh_tpl_parse_enter(self)) return NULL;
  tpl_node *node = with_condition ? parse_condition(self) : parse_or(self);
  rh_tpl_parse_leave(self);
  return node;
}

static tpl_node *parse_unary(tpl_parser *self, bool with_filters) {
  if (!rh_tpl_parse_enter(self)) return NULL;
  tpl_node *node;
  uint8_t kind = tpl_now(self)->kind;
  if (kind == T_SUB || kind == T_ADD) {
    node = rh_tpl_node_new(self, E_UNARY);
    tpl_next(self);
    if (node != NULL) {
      node->op = kind == T_SUB ? OP_NEGATE : OP_PLUS;
      node->a = parse_unary(self, false);
      if (node->a == NULL) node = NULL;
    }
  } else {
    node = rh_tpl_parse_primary(self);
  }
  if (node != NULL) node = rh_tpl_parse_postfix(self, node);
  if (node != NULL && with_filters) node = rh_tpl_parse_filters(self, node, false);
  rh_tpl_parse_leave(self);
  return node;
}
