// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what statements do: text out, branches, names set, blocks.
// Data owned: none. Threads: the render's.
// Not here: loops (loop.c).
#include "template/render.h"

static bool set_member(tpl_render *render, const tpl_node *target, tpl_value value) {
  tpl_value of;
  if (!rh_tpl_lookup(render, target->name, &of)) return false;
  if (of.kind != V_NAMESPACE) return rh_tpl_fail(render, "cannot assign attribute on non-namespace object");
  return rh_tpl_dict_set(render, of.as.dict, target->value, value);
}

bool rh_tpl_set_target(tpl_render *render, const tpl_node *target, tpl_scope *scope, tpl_value value) {
  if (target->kind == E_NAME) return rh_tpl_assign(render, scope, target->name, value);
  if (target->kind == E_NSREF) return set_member(render, target, value);
  tpl_list *list;
  if (value.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, value);
  if (!rh_tpl_items(render, value, &list)) return false;
  if (list->count > target->count) return rh_tpl_fail(render, "too many values to unpack (expected %u)", target->count);
  if (list->count < target->count) {
    return rh_tpl_fail(render, "not enough values to unpack (expected %u, got %zu)", target->count, list->count);
  }
  for (uint32_t i = 0; i < target->count; i++) {
    if (!rh_tpl_set_target(render, target->items[i], scope, list->items[i])) return false;
  }
  return true;
}

// In names of its own.
static bool run_inside(tpl_render *render, const tpl_node *body) {
  tpl_scope *before = render->scope;
  render->scope = rh_tpl_scope_new(render, before);
  bool ok = render->scope != NULL && rh_tpl_run(render, body);
  render->scope = before;
  return ok;
}

bool rh_tpl_run_captured(tpl_render *render, const tpl_node *body, tpl_value *out) {
  rh_dynbuf text, *before = render->out;
  rh_tpl_buffer(&text);
  render->out = &text;
  bool ok = run_inside(render, body);
  render->out = before;
  if (ok) return rh_tpl_text_take(render, &text, out);
  rh_dynbuf_free(&text);
  return false;
}

// The text of a body through a chain of filters.
static bool run_filtered(tpl_render *render, const tpl_node *filters, const tpl_node *body, tpl_value *out) {
  if (!rh_tpl_run_captured(render, body, out) || filters == NULL) return render->status == RH_OK;
  tpl_value before = render->block;
  render->block = *out;
  bool ok = rh_tpl_evaluate(render, filters, out);
  render->block = before;
  return ok;
}

static bool run_if(tpl_render *render, const tpl_node *node) {
  for (uint32_t i = 0; i + 1 < node->count; i += 2) {
    tpl_value test;
    if (!rh_tpl_evaluate(render, node->items[i], &test)) return false;
    if (rh_tpl_truth(test)) return rh_tpl_run(render, node->items[i + 1]);
  }
  return node->c == NULL || rh_tpl_run(render, node->c);
}

static bool run_set(tpl_render *render, const tpl_node *node) {
  tpl_value value;
  bool ok =
      node->kind == S_SET ? rh_tpl_evaluate(render, node->b, &value) : run_filtered(render, node->b, node->c, &value);
  return ok && rh_tpl_set_target(render, node->a, render->scope, value);
}

static bool make_macro(tpl_render *render, const tpl_node *node, tpl_value *out) {
  tpl_macro *macro = rh_tpl_alloc(render, 1, sizeof *macro);
  if (macro == NULL) return false;
  render->macros++;
  *macro = (tpl_macro){.node = node, .scope = render->scope};
  *out = (tpl_value){.kind = V_MACRO, .as.macro = macro};
  return true;
}

static bool run_macro(tpl_render *render, const tpl_node *node) {
  tpl_value macro;
  return make_macro(render, node, &macro) && rh_tpl_assign(render, render->scope, node->name, macro);
}

static bool run_call(tpl_render *render, const tpl_node *node) {
  tpl_value callee, caller, result;
  tpl_args args = {0};
  if (!rh_tpl_evaluate(render, node->a->a, &callee) || !rh_tpl_arguments(render, node->a, &args)) return false;
  if (!make_macro(render, node->b, &caller)) return false;
  if (!rh_tpl_add_keyword(render, &args, TPL_LITERAL("caller"), caller)) return false;
  return rh_tpl_call(render, callee, &args, &result) && rh_tpl_write(render, result, render->out);
}

static bool run_with(tpl_render *render, const tpl_node *node) {
  tpl_scope *before = render->scope, *scope = rh_tpl_scope_new(render, before);
  if (scope == NULL) return false;
  for (uint32_t i = 0; i + 1 < node->count; i += 2) {
    tpl_value value;
    if (!rh_tpl_evaluate(render, node->items[i + 1], &value)) return false;
    if (!rh_tpl_set_target(render, node->items[i], scope, value)) return false;
  }
  render->scope = scope;
  bool ok = rh_tpl_run(render, node->b);
  render->scope = before;
  return ok;
}

static bool run_output(tpl_render *render, const tpl_node *node) {
  tpl_value value;
  return rh_tpl_evaluate(render, node->a, &value) && rh_tpl_write(render, value, render->out);
}

static bool run_filter(tpl_render *render, const tpl_node *node) {
  tpl_value value;
  return run_filtered(render, node->a, node->b, &value) && rh_tpl_write(render, value, render->out);
}

static bool run_for(tpl_render *render, const tpl_node *node) {
  tpl_value over;
  return rh_tpl_evaluate(render, node->b, &over) && rh_tpl_run_loop(render, node, over, 0);
}

static bool run_body(tpl_render *render, const tpl_node *node) {
  for (uint32_t i = 0; i < node->count && render->flow == TPL_GO_ON; i++) {
    if (!rh_tpl_run(render, node->items[i])) return false;
  }
  return true;
}

static bool run(tpl_render *render, const tpl_node *node) {
  switch ((tpl_node_kind)node->kind) {
    case S_BODY: return run_body(render, node);
    case S_TEXT: return rh_tpl_write(render, node->value, render->out);
    case S_OUTPUT: return run_output(render, node);
    case S_IF: return run_if(render, node);
    case S_FOR: return run_for(render, node);
    case S_SET:
    case S_SET_BLOCK: return run_set(render, node);
    case S_MACRO: return run_macro(render, node);
    case S_CALL: return run_call(render, node);
    case S_FILTER: return run_filter(render, node);
    case S_WITH: return run_with(render, node);
    case S_SCOPE: return run_inside(render, node->b);
    case S_BREAK: render->flow = TPL_BREAK; return true;
    case S_CONTINUE: render->flow = TPL_CONTINUE; return true;
    default: return rh_tpl_fail_as(render, RH_INTERNAL, "a part of the chat template that is no statement");
  }
}

bool rh_tpl_run(tpl_render *render, const tpl_node *node) {
  if (!rh_tpl_enter(render)) return false;
  render->line = node->line;
  bool ok = run(render, node);
  rh_tpl_leave(render);
  return ok;
}
