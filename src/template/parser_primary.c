// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what operators work on, as a tree: constants, names, lists, dicts, items, calls, filters and tests.
// Data owned: none; nodes lie in the template's arena. Threads: any.
// Not here: names of filters and tests beyond whether they exist.
#include "template/functions.h"
#include "template/parser.h"

static tpl_node *constant(tpl_parser *self, tpl_value value) {
  tpl_node *node = rh_tpl_node_new(self, E_CONST);
  if (node != NULL) node->value = value;
  return node;
}

static tpl_node *parse_name(tpl_parser *self) {
  static const struct {
    const char *word;
    tpl_value value;
  } words[] = {{"true", {.kind = V_BOOL, .as.boolean = true}},
               {"True", {.kind = V_BOOL, .as.boolean = true}},
               {"false", {.kind = V_BOOL}},
               {"False", {.kind = V_BOOL}},
               {"none", {.kind = V_NONE}},
               {"None", {.kind = V_NONE}}};
  const tpl_token *token = tpl_now(self);
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (!rh_tpl_is_word(token, words[i].word)) continue;
    tpl_node *node = constant(self, words[i].value);
    tpl_next(self);
    return node;
  }
  tpl_node *node = rh_tpl_node_new(self, E_NAME);
  if (node == NULL) return NULL;
  node->value = token->value;
  node->name = rh_tpl_name_number(self, token->value);
  if (node->name == TPL_NAME_CALLER) self->uses |= TPL_USES_CALLER;
  if (node->name == TPL_NAME_KWARGS) self->uses |= TPL_USES_KWARGS;
  if (node->name == TPL_NAME_VARARGS) self->uses |= TPL_USES_VARARGS;
  tpl_next(self);
  return self->status == RH_OK ? node : NULL;
}

// Neighbouring strings are one.
static tpl_node *parse_strings(tpl_parser *self) {
  size_t length = 0, first = self->at;
  while (tpl_now(self)->kind == T_STRING) {
    length += tpl_now(self)->value.length;
    tpl_next(self);
  }
  if (self->at == first + 1) return constant(self, self->tokens[first].value);
  char *text = rh_arena_alloc(self->arena, length + 1);
  if (text == NULL) return rh_tpl_parse_fail(self, RH_NO_MEMORY, "not enough memory for the chat template");
  size_t to = 0;
  for (size_t i = first; i < self->at; i++) {
    tpl_value piece = self->tokens[i].value;
    for (size_t k = 0; k < piece.length; k++) text[to++] = piece.as.text[k];
  }
  return constant(self, tpl_text(text, length));
}

static tpl_node *parse_list(tpl_parser *self) {
  tpl_node *node = rh_tpl_node_new(self, E_LIST);
  tpl_next(self);
  while (node != NULL && tpl_now(self)->kind != T_RBRACKET) {
    if (node->count > 0 && !rh_tpl_expect(self, T_COMMA, "a comma in the list")) return NULL;
    if (tpl_now(self)->kind == T_RBRACKET) break;
    if (!rh_tpl_node_add(self, node, rh_tpl_parse_expression(self, true))) return NULL;
  }
  tpl_next(self);
  return node;
}

static tpl_node *parse_dict(tpl_parser *self) {
  tpl_node *node = rh_tpl_node_new(self, E_DICT);
  tpl_next(self);
  while (node != NULL && tpl_now(self)->kind != T_RBRACE) {
    if (node->count > 0 && !rh_tpl_expect(self, T_COMMA, "a comma in the dict")) return NULL;
    if (tpl_now(self)->kind == T_RBRACE) break;
    if (!rh_tpl_node_add(self, node, rh_tpl_parse_expression(self, true))) return NULL;
    if (!rh_tpl_expect(self, T_COLON, "a colon after the key")) return NULL;
    if (!rh_tpl_node_add(self, node, rh_tpl_parse_expression(self, true))) return NULL;
  }
  tpl_next(self);
  return node;
}

static bool tuple_ends(const tpl_parser *self, const char *end) {
  uint8_t kind = tpl_now(self)->kind;
  return kind == T_VARIABLE_END || kind == T_BLOCK_END || kind == T_RPAREN ||
         (end != NULL && rh_tpl_is_word(tpl_now(self), end));
}

static tpl_node *parse_tuple(tpl_parser *self, bool with_condition, const char *end, bool in_brackets) {
  tpl_node *tuple = rh_tpl_node_new(self, E_TUPLE);
  bool comma = false;
  while (tuple != NULL) {
    if (tuple->count > 0 && !comma) break;
    if (tuple_ends(self, end)) break;
    if (!rh_tpl_node_add(self, tuple, rh_tpl_parse_expression(self, with_condition))) return NULL;
    comma = rh_tpl_skip(self, T_COMMA);
  }
  if (tuple == NULL) return NULL;
  if (!comma && tuple->count == 1) return tuple->items[0];
  if (tuple->count == 0 && !in_brackets) return rh_tpl_parse_fail(self, RH_INVALID, "an expression is missing");
  return tuple;
}

tpl_node *rh_tpl_parse_tuple(tpl_parser *self, bool with_condition, const char *end) {
  return parse_tuple(self, with_condition, end, false);
}

tpl_node *rh_tpl_parse_primary(tpl_parser *self) {
  const tpl_token *token = tpl_now(self);
  tpl_node *node;
  switch (token->kind) {
    case T_NAME: return parse_name(self);
    case T_STRING: return parse_strings(self);
    case T_INTEGER:
    case T_FLOAT: tpl_next(self); return constant(self, token->value);
    case T_LPAREN:
      tpl_next(self);
      node = parse_tuple(self, true, NULL, true);
      return node != NULL && rh_tpl_expect(self, T_RPAREN, "a closing parenthesis") ? node : NULL;
    case T_LBRACKET: return parse_list(self);
    case T_LBRACE: return parse_dict(self);
    default: return rh_tpl_parse_fail(self, RH_INVALID, "an expression is missing or begins with the wrong sign");
  }
}

// One of "x", ":", "x:y:z" in brackets.
static tpl_node *parse_subscript(tpl_parser *self) {
  tpl_node *parts[3] = {NULL, NULL, NULL};
  int part = 0;
  bool colons = false;
  for (;;) {
    uint8_t kind = tpl_now(self)->kind;
    if (kind == T_COLON && part < 2) {
      colons = true;
      part++;
      tpl_next(self);
      continue;
    }
    if (kind == T_RBRACKET || kind == T_COMMA || parts[part] != NULL) break;
    parts[part] = rh_tpl_parse_expression(self, true);
    if (parts[part] == NULL) return NULL;
  }
  if (!colons) {
    return parts[0] != NULL ? parts[0] : rh_tpl_parse_fail(self, RH_INVALID, "an index is missing in the brackets");
  }
  tpl_node *node = rh_tpl_node_new(self, E_SLICE);
  if (node == NULL) return NULL;
  node->a = parts[0];
  node->b = parts[1];
  node->c = parts[2];
  return node;
}

static tpl_node *parse_item(tpl_parser *self, tpl_node *of) {
  tpl_node *first = NULL, *tuple = NULL;
  tpl_next(self);
  while (tpl_now(self)->kind != T_RBRACKET) {
    if (first != NULL && !rh_tpl_expect(self, T_COMMA, "a closing bracket")) return NULL;
    tpl_node *index = parse_subscript(self);
    if (index == NULL) return NULL;
    if (first != NULL && tuple == NULL) {
      tuple = rh_tpl_node_new(self, E_TUPLE);
      if (tuple == NULL || !rh_tpl_node_add(self, tuple, first)) return NULL;
    }
    if (tuple != NULL && index->kind == E_SLICE) {
      return rh_tpl_parse_fail(self, RH_UNSUPPORTED, "a slice beside other indices is not known here");
    }
    if (tuple != NULL && !rh_tpl_node_add(self, tuple, index)) return NULL;
    if (first == NULL) first = index;
  }
  tpl_next(self);
  if (first == NULL) return rh_tpl_parse_fail(self, RH_INVALID, "an index is missing in the brackets");
  return rh_tpl_node_two(self, E_ITEM, 0, of, tuple != NULL ? tuple : first);
}

static tpl_node *parse_attribute(tpl_parser *self, tpl_node *of) {
  tpl_next(self);
  const tpl_token *token = tpl_now(self);
  if (token->kind == T_INTEGER) {
    tpl_next(self);
    return rh_tpl_node_two(self, E_ITEM, 0, of, constant(self, token->value));
  }
  if (token->kind != T_NAME) return rh_tpl_parse_fail(self, RH_INVALID, "a name or number is missing after the dot");
  tpl_node *node = rh_tpl_node_new(self, E_ATTR);
  if (node == NULL) return NULL;
  node->a = of;
  node->value = token->value;
  tpl_next(self);
  return node;
}

static tpl_node *parse_call(tpl_parser *self, tpl_node *of) {
  tpl_node *node = rh_tpl_node_new(self, E_CALL);
  if (node == NULL) return NULL;
  node->a = of;
  return rh_tpl_parse_arguments(self, node) ? node : NULL;
}

tpl_node *rh_tpl_parse_postfix(tpl_parser *self, tpl_node *node) {
  while (node != NULL) {
    uint8_t kind = tpl_now(self)->kind;
    if (kind == T_DOT) {
      node = parse_attribute(self, node);
    } else if (kind == T_LBRACKET) {
      node = parse_item(self, node);
    } else if (kind == T_LPAREN) {
      node = parse_call(self, node);
    } else {
      break;
    }
  }
  return node;
}

static tpl_node *parse_argument(tpl_parser *self, bool *keywords) {
  tpl_node *node = rh_tpl_node_new(self, E_ARG);
  if (node == NULL) return NULL;
  if (rh_tpl_skip(self, T_MUL)) {
    node->op = TPL_ARG_STAR;
  } else if (rh_tpl_skip(self, T_POW)) {
    node->op = TPL_ARG_DOUBLE_STAR;
  } else if (tpl_now(self)->kind == T_NAME && tpl_ahead(self)->kind == T_ASSIGN) {
    node->op = TPL_ARG_KEYWORD;
    node->value = tpl_now(self)->value;
    tpl_next(self);
    tpl_next(self);
  }
  if (node->op == TPL_ARG_PLAIN && *keywords) {
    return rh_tpl_parse_fail(self, RH_INVALID, "an argument without a name follows one with a name");
  }
  if (node->op == TPL_ARG_KEYWORD || node->op == TPL_ARG_DOUBLE_STAR) *keywords = true;
  node->a = rh_tpl_parse_expression(self, true);
  return node->a != NULL ? node : NULL;
}

bool rh_tpl_parse_arguments(tpl_parser *self, tpl_node *call) {
  bool keywords = false;
  tpl_next(self);
  while (tpl_now(self)->kind != T_RPAREN) {
    if (call->count > 0) {
      if (!rh_tpl_expect(self, T_COMMA, "a comma between arguments")) return false;
      if (tpl_now(self)->kind == T_RPAREN) break;
    }
    if (!rh_tpl_node_add(self, call, parse_argument(self, &keywords))) return false;
  }
  tpl_next(self);
  return true;
}

// The function behind a filter's or test's name.
static bool find_known(tpl_parser *self, tpl_node *node) {
  bool is_test = node->kind == E_TEST;
  bool elsewhere = false;
  node->known = is_test ? rh_tpl_test_find(node->value) : rh_tpl_filter_find(node->value, &elsewhere);
  if (node->known != NULL) return true;
  if (elsewhere) {
    (void)rh_tpl_parse_fail(self, RH_UNSUPPORTED, "the filter %.*s is not known here", (int)node->value.length,
                            node->value.as.text);
    return false;
  }
  if (self->soft) return true;
  (void)rh_tpl_parse_fail(self, RH_INVALID, "there is no %s named '%.*s'", is_test ? "test" : "filter",
                          (int)node->value.length, node->value.as.text);
  return false;
}

static tpl_node *parse_filter(tpl_parser *self, tpl_node *of) {
  const tpl_token *token = tpl_now(self);
  if (token->kind != T_NAME) return rh_tpl_parse_fail(self, RH_INVALID, "the name of a filter is missing");
  tpl_node *node = rh_tpl_node_new(self, E_FILTER);
  if (node == NULL) return NULL;
  node->a = of;
  node->value = token->value;
  tpl_next(self);
  if (tpl_now(self)->kind == T_DOT) return rh_tpl_parse_fail(self, RH_INVALID, "no filter has a dot in its name");
  if (!find_known(self, node)) return NULL;
  if (tpl_now(self)->kind == T_LPAREN && !rh_tpl_parse_arguments(self, node)) return NULL;
  return node;
}

static tpl_node *parse_test(tpl_parser *self, tpl_node *of) {
  bool negated = rh_tpl_skip_word(self, "not");
  const tpl_token *token = tpl_now(self);
  if (token->kind != T_NAME) return rh_tpl_parse_fail(self, RH_INVALID, "the name of a test is missing");
  tpl_node *node = rh_tpl_node_new(self, E_TEST);
  if (node == NULL) return NULL;
  node->a = of;
  node->value = token->value;
  tpl_next(self);
  if (!find_known(self, node)) return NULL;
  const tpl_token *now = tpl_now(self);
  bool operand = now->kind == T_NAME || now->kind == T_STRING || now->kind == T_INTEGER || now->kind == T_FLOAT ||
                 now->kind == T_LBRACKET || now->kind == T_LBRACE;
  if (now->kind == T_LPAREN) {
    if (!rh_tpl_parse_arguments(self, node)) return NULL;
  } else if (operand && !rh_tpl_is_word(now, "else") && !rh_tpl_is_word(now, "or") && !rh_tpl_is_word(now, "and")) {
    if (rh_tpl_is_word(now, "is")) return rh_tpl_parse_fail(self, RH_INVALID, "tests cannot be chained with is");
    tpl_node *argument = rh_tpl_node_new(self, E_ARG);
    if (argument == NULL) return NULL;
    argument->a = rh_tpl_parse_primary(self);
    if (argument->a != NULL) argument->a = rh_tpl_parse_postfix(self, argument->a);
    if (argument->a == NULL || !rh_tpl_node_add(self, node, argument)) return NULL;
  }
  if (!negated) return node;
  tpl_node *not = rh_tpl_node_new(self, E_NOT);
  if (not != NULL) not ->a = node;
  return not ;
}

tpl_node *rh_tpl_parse_filters(tpl_parser *self, tpl_node *node, bool at_name) {
  bool ok = true;
  while (ok) {
    if (at_name || rh_tpl_skip(self, T_PIPE)) {
      node = parse_filter(self, node);
    } else if (node != NULL && rh_tpl_skip_word(self, "is")) {
      node = parse_test(self, node);
    } else if (node != NULL && tpl_now(self)->kind == T_LPAREN) {
      node = parse_call(self, node);
    } else {
      break;
    }
    at_name = false;
    ok = node != NULL;
  }
  return node;
}
