// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what an expression gives.
// Data owned: none. Threads: the render's.
// Not here: what calls do (call.c).
#include "template/render.h"

static bool sequence(tpl_render *render, const tpl_node *node, tpl_kind kind, tpl_value *out) {
  tpl_list *list = rh_tpl_list_new(render, node->count);
  if (list == NULL) return false;
  for (uint32_t i = 0; i < node->count; i++) {
    tpl_value item;
    if (!rh_tpl_evaluate(render, node->items[i], &item) || !rh_tpl_list_push(render, list, item)) return false;
  }
  *out = tpl_of_list(kind, list);
  return true;
}

static bool dict(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_dict *made = rh_tpl_dict_new(render);
  if (made == NULL) return false;
  for (uint32_t i = 0; i + 1 < node->count; i += 2) {
    tpl_value key, value;
    if (!rh_tpl_evaluate(render, node->items[i], &key) || !rh_tpl_evaluate(render, node->items[i + 1], &value))
      return false;
    if (!rh_tpl_dict_set(render, made, key, value)) return false;
  }
  *out = tpl_of_dict(made);
  return true;
}

static bool item(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_value of, key;
  if (!rh_tpl_evaluate(render, node->a, &of)) return false;
  if (node->b->kind != E_SLICE) {
    return rh_tpl_evaluate(render, node->b, &key) && rh_tpl_item(render, of, key, out);
  }
  const tpl_node *parts[3] = {node->b->a, node->b->b, node->b->c};
  tpl_value bounds[3];
  for (int i = 0; i < 3; i++) {
    bounds[i] = tpl_none();
    if (parts[i] != NULL && !rh_tpl_evaluate(render, parts[i], &bounds[i])) return false;
  }
  return rh_tpl_slice(render, of, bounds, out);
}

static bool call(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_value callee;
  tpl_args args = {0};
  if (!rh_tpl_evaluate(render, node->a, &callee) || !rh_tpl_arguments(render, node, &args)) return false;
  render->line = node->line;
  return rh_tpl_call(render, callee, &args, out);
}

static bool apply(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_value self = render->block;
  tpl_args args = {0};
  if (node->a != NULL && !rh_tpl_evaluate(render, node->a, &self)) return false;
  if (!rh_tpl_arguments(render, node, &args)) return false;
  render->line = node->line;
  if (node->known == NULL) {
    return rh_tpl_fail(render, "there is no %s named '%.*s'", node->kind == E_TEST ? "test" : "filter",
                       (int)node->value.length, node->value.as.text);
  }
  return rh_tpl_apply(render, node->known, self, &args, out);
}

static bool binary(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_value a, b;
  if (!rh_tpl_evaluate(render, node->a, &a) || !rh_tpl_evaluate(render, node->b, &b)) return false;
  render->line = node->line;
  return rh_tpl_binary(render, (tpl_op)node->op, a, b, out);
}

// a < b < c: each is evaluated once, and none after the first that does not hold.
static bool compare(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_value left, right;
  bool holds = true;
  if (!rh_tpl_evaluate(render, node->a, &left)) return false;
  for (uint32_t i = 0; holds && i < node->count; i++) {
    if (!rh_tpl_evaluate(render, node->items[i]->a, &right)) return false;
    if (!rh_tpl_compare(render, (tpl_op)node->items[i]->op, left, right, &holds)) return false;
    left = right;
  }
  *out = tpl_bool(holds);
  return true;
}

static bool concat(tpl_render *render, const tpl_node *node, tpl_value *out) {
  rh_dynbuf text;
  bool ok = true;
  rh_tpl_buffer(&text);
  for (uint32_t i = 0; ok && i < node->count; i++) {
    tpl_value piece;
    ok = rh_tpl_evaluate(render, node->items[i], &piece) && rh_tpl_write(render, piece, &text);
  }
  if (ok) return rh_tpl_text_take(render, &text, out);
  rh_dynbuf_free(&text);
  return false;
}

static bool condition(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_value test;
  if (!rh_tpl_evaluate(render, node->a, &test)) return false;
  if (rh_tpl_truth(test)) return rh_tpl_evaluate(render, node->b, out);
  if (node->c != NULL) return rh_tpl_evaluate(render, node->c, out);
  *out = rh_tpl_undefined_hint("an inline if-expression without else evaluated to false");
  return true;
}

static bool logic(tpl_render *render, const tpl_node *node, tpl_value *out) {
  if (!rh_tpl_evaluate(render, node->a, out)) return false;
  if (node->kind == E_NOT) {
    *out = tpl_bool(!rh_tpl_truth(*out));
    return true;
  }
  bool first = rh_tpl_truth(*out);
  return first == (node->kind == E_OR) || rh_tpl_evaluate(render, node->b, out);
}

static bool attribute(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_value of;
  if (!rh_tpl_evaluate(render, node->a, &of)) return false;
  render->line = node->line;
  return rh_tpl_attribute(render, of, node->value, out);
}

static bool unary(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_value value;
  return rh_tpl_evaluate(render, node->a, &value) && rh_tpl_negate(render, value, node->op == OP_PLUS, out);
}

static bool evaluate(tpl_render *render, const tpl_node *node, tpl_value *out) {
  switch ((tpl_node_kind)node->kind) {
    case E_CONST: *out = node->value; return true;
    case E_NAME: return rh_tpl_lookup(render, node->name, out);
    case E_LIST: return sequence(render, node, V_LIST, out);
    case E_TUPLE: return sequence(render, node, V_TUPLE, out);
    case E_DICT: return dict(render, node, out);
    case E_ATTR: return attribute(render, node, out);
    case E_ITEM: return item(render, node, out);
    case E_CALL: return call(render, node, out);
    case E_FILTER:
    case E_TEST: return apply(render, node, out);
    case E_UNARY: return unary(render, node, out);
    case E_BINARY: return binary(render, node, out);
    case E_AND:
    case E_OR:
    case E_NOT: return logic(render, node, out);
    case E_COND: return condition(render, node, out);
    case E_COMPARE: return compare(render, node, out);
    case E_CONCAT: return concat(render, node, out);
    default: return rh_tpl_fail_as(render, RH_INTERNAL, "a part of the chat template that has no value");
  }
}

bool rh_tpl_evaluate(tpl_render *render, const tpl_node *node, tpl_value *out) {
  if (!rh_tpl_enter(render)) return false;
  render->line = node->line;
  bool ok = evaluate(render, node, out);
  rh_tpl_leave(render);
  return ok;
}
