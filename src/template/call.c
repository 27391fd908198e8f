// SPDX-License-Identifier: Apache-2.0
//
// Purpose: calls: their arguments, which parameter each goes to, and macros.
// Data owned: none. Threads: the render's.
// Not here: what filters, methods and functions do.
#include <string.h>

#include "template/render.h"

static bool add_item(tpl_render *render, tpl_args *args, tpl_value value) {
  if (args->count == args->room) {
    size_t room = args->room == 0 ? 4 : args->room * 2;
    tpl_value *grown = rh_tpl_alloc(render, room, sizeof *grown);
    if (grown == NULL) return false;
    if (args->count > 0) memcpy(grown, args->items, args->count * sizeof *grown);
    args->items = grown;
    args->room = room;
  }
  args->items[args->count++] = value;
  return true;
}

static bool same_text(tpl_value a, tpl_value b) {
  return a.length == b.length && memcmp(a.as.text, b.as.text, a.length) == 0;
}

bool rh_tpl_add_keyword(tpl_render *render, tpl_args *args, tpl_value name, tpl_value value) {
  if (!rh_tpl_want_text(render, "the name of an argument", name)) return false;
  for (size_t i = 0; i < args->keyword_count; i++) {
    if (same_text(args->keywords[i].name, name))
      return rh_tpl_fail(render, "the argument '%.*s' is given twice", (int)name.length, name.as.text);
  }
  if (args->keyword_count == args->keyword_room) {
    size_t room = args->keyword_room == 0 ? 4 : args->keyword_room * 2;
    tpl_keyword *grown = rh_tpl_alloc(render, room, sizeof *grown);
    if (grown == NULL) return false;
    if (args->keyword_count > 0) memcpy(grown, args->keywords, args->keyword_count * sizeof *grown);
    args->keywords = grown;
    args->keyword_room = room;
  }
  args->keywords[args->keyword_count++] = (tpl_keyword){.name = name, .value = value};
  return rh_tpl_spend(render, args->keyword_count / 16);
}

static bool add_argument(tpl_render *render, const tpl_node *node, tpl_args *out) {
  tpl_value value;
  if (!rh_tpl_evaluate(render, node->a, &value)) return false;
  if (node->op == TPL_ARG_PLAIN) return add_item(render, out, value);
  if (node->op == TPL_ARG_KEYWORD) return rh_tpl_add_keyword(render, out, node->value, value);
  if (node->op == TPL_ARG_STAR) {
    tpl_list *list;
    if (!rh_tpl_items(render, value, &list)) return false;
    for (size_t i = 0; i < list->count; i++) {
      if (!add_item(render, out, list->items[i])) return false;
    }
    return rh_tpl_spend(render, list->count);
  }
  if (value.kind != V_DICT)
    return rh_tpl_fail(render, "argument after ** must be a mapping, not %s", rh_tpl_type(value));
  for (size_t i = 0; i < value.as.dict->count; i++) {
    const tpl_entry *entry = &value.as.dict->entries[i];
    if (!rh_tpl_add_keyword(render, out, entry->key, entry->value)) return false;
  }
  return true;
}

bool rh_tpl_arguments(tpl_render *render, const tpl_node *call, tpl_args *out) {
  for (uint32_t i = 0; i < call->count; i++) {
    if (!add_argument(render, call->items[i], out)) return false;
  }
  return true;
}

static size_t parameter_count(const tpl_function *function) {
  size_t count = 0;
  while (count < TPL_PARAMETERS_MAX && function->parameters[count] != NULL) count++;
  return count;
}

static bool bind_keyword(tpl_render *render, const tpl_function *function, size_t count, const tpl_keyword *keyword,
                         tpl_value *slots) {
  for (size_t i = 0; i < count; i++) {
    if (!tpl_text_is(keyword->name, function->parameters[i])) continue;
    if (slots[i].kind != V_MISSING) {
      return rh_tpl_fail(render, "%s() got multiple values for argument '%s'", function->name, function->parameters[i]);
    }
    slots[i] = keyword->value;
    return true;
  }
  return rh_tpl_fail(render, "%s() got an unexpected keyword argument '%.*s'", function->name,
                     (int)(keyword->name.length < 64 ? keyword->name.length : 64), keyword->name.as.text);
}

static bool apply_bound(tpl_render *render, const tpl_function *function, tpl_value self, const tpl_args *args,
                        tpl_value *out) {
  tpl_value slots[TPL_PARAMETERS_MAX] = {{0}};
  size_t count = parameter_count(function);
  if (args->count > count) {
    return rh_tpl_fail(render, "%s() takes at most %zu arguments (%zu given)", function->name, count, args->count);
  }
  for (size_t i = 0; i < args->count; i++) slots[i] = args->items[i];
  for (size_t i = 0; i < args->keyword_count; i++) {
    if (!bind_keyword(render, function, count, &args->keywords[i], slots)) return false;
  }
  for (size_t i = 0; i < function->required; i++) {
    if (slots[i].kind == V_MISSING)
      return rh_tpl_fail(render, "%s() missing required argument '%s'", function->name, function->parameters[i]);
  }
  return function->call(render, self, slots, out);
}

// A function may apply others: map applies map, and so on.
bool rh_tpl_apply(tpl_render *render, const tpl_function *function, tpl_value self, const tpl_args *args,
                  tpl_value *out) {
  if (!rh_tpl_enter(render)) return false;
  bool ok =
      function->raw != NULL ? function->raw(render, self, args, out) : apply_bound(render, function, self, args, out);
  rh_tpl_leave(render);
  return ok;
}

// --- macros ---------------------------------------------------------------------------------------------------------

typedef struct macro_call {
  tpl_render *render;
  const tpl_node *node;
  const tpl_args *args;
  tpl_scope *scope;  // where the macro's names go
} macro_call;

static bool bad_argument(const macro_call *call, tpl_value name) {
  return rh_tpl_fail(call->render, "macro '%.*s' takes no keyword argument '%.*s'", (int)call->node->value.length,
                     call->node->value.as.text, (int)(name.length < 64 ? name.length : 64), name.as.text);
}

static bool bind_parameters(const macro_call *call) {
  tpl_render *render = call->render;
  for (uint32_t i = 0; i < call->node->count; i++) {
    const tpl_node *parameter = call->node->items[i];
    tpl_value value = tpl_missing();
    if (!rh_tpl_spend(render, call->args->keyword_count / 16)) return false;
    if (i < call->args->count) value = call->args->items[i];
    for (size_t k = 0; k < call->args->keyword_count; k++) {
      if (!same_text(call->args->keywords[k].name, parameter->value)) continue;
      if (value.kind != V_MISSING) return bad_argument(call, parameter->value);
      value = call->args->keywords[k].value;
    }
    if (value.kind == V_MISSING && parameter->a != NULL && !rh_tpl_evaluate(render, parameter->a, &value)) return false;
    if (value.kind == V_MISSING) {
      value = rh_tpl_undefined(parameter->value, V_MISSING);
    }
    if (!rh_tpl_assign(render, call->scope, parameter->name, value)) return false;
  }
  return true;
}

static bool is_parameter(const tpl_node *node, tpl_value name) {
  for (uint32_t i = 0; i < node->count; i++) {
    if (same_text(node->items[i]->value, name)) return true;
  }
  return false;
}

static bool bind_keywords(const macro_call *call) {
  tpl_render *render = call->render;
  const tpl_node *node = call->node;
  tpl_dict *rest = rh_tpl_dict_new(render);
  if (rest == NULL) return false;
  if ((node->op & TPL_USES_CALLER) != 0 && !is_parameter(node, TPL_LITERAL("caller")) &&
      !rh_tpl_assign(render, call->scope, TPL_NAME_CALLER, rh_tpl_undefined_hint("No caller defined")))
    return false;
  for (size_t i = 0; i < call->args->keyword_count; i++) {
    tpl_value name = call->args->keywords[i].name, value = call->args->keywords[i].value;
    if (!rh_tpl_spend(render, node->count / 16)) return false;
    if (is_parameter(node, name)) continue;
    if (tpl_text_is(name, "caller") && (node->op & TPL_USES_CALLER) != 0) {
      if (!rh_tpl_assign(render, call->scope, TPL_NAME_CALLER, value)) return false;
    } else if ((node->op & TPL_USES_KWARGS) == 0) {
      return bad_argument(call, name);
    } else if (!rh_tpl_dict_set(render, rest, name, value)) {
      return false;
    }
  }
  return (node->op & TPL_USES_KWARGS) == 0 || rh_tpl_assign(render, call->scope, TPL_NAME_KWARGS, tpl_of_dict(rest));
}

static bool bind_rest(const macro_call *call) {
  tpl_render *render = call->render;
  const tpl_args *args = call->args;
  uint32_t count = call->node->count;
  if ((call->node->op & TPL_USES_VARARGS) == 0) {
    if (args->count <= count) return true;
    return rh_tpl_fail(render, "macro '%.*s' takes not more than %u argument(s)", (int)call->node->value.length,
                       call->node->value.as.text, count);
  }
  tpl_list *rest = rh_tpl_list_new(render, 0);
  for (size_t i = count; rest != NULL && i < args->count; i++) {
    if (!rh_tpl_list_push(render, rest, args->items[i])) return false;
  }
  return rest != NULL && rh_tpl_assign(render, call->scope, TPL_NAME_VARARGS, tpl_of_list(V_TUPLE, rest));
}

bool rh_tpl_call_macro(tpl_render *render, const tpl_macro *macro, const tpl_args *args, tpl_value *out) {
  tpl_scope *before = render->scope;
  tpl_flow flow = render->flow;
  macro_call call = {.render = render, .node = macro->node, .args = args};
  if (!rh_tpl_enter(render)) return false;
  call.scope = rh_tpl_scope_new(render, macro->scope);
  if (call.scope == NULL) return false;
  render->scope = call.scope;
  render->flow = TPL_GO_ON;
  bool ok = bind_rest(&call) && bind_keywords(&call) && bind_parameters(&call) &&
            rh_tpl_run_captured(render, macro->node->b, out);
  render->scope = before;
  render->flow = flow;
  rh_tpl_leave(render);
  return ok;
}

// What is marked as safe stays so through its methods.
static bool call_method(tpl_render *render, const tpl_method *method, const tpl_args *args, tpl_value *out) {
  if (!rh_tpl_apply(render, method->function, method->self, args, out)) return false;
  if (method->self.kind == V_STRING && method->self.markup && out->kind == V_STRING) out->markup = true;
  return true;
}

static bool call_joiner(tpl_list *joiner, tpl_value *out) {
  *out = joiner->taken > 0 ? joiner->items[0] : TPL_LITERAL("");
  joiner->taken = 1;
  return true;
}

bool rh_tpl_call(tpl_render *render, tpl_value callee, const tpl_args *args, tpl_value *out) {
  switch ((tpl_kind)callee.kind) {
    case V_UNDEFINED: return rh_tpl_fail_undefined(render, callee);
    case V_FUNCTION: return rh_tpl_apply(render, callee.as.function, tpl_missing(), args, out);
    case V_METHOD: return call_method(render, callee.as.method, args, out);
    case V_MACRO: return rh_tpl_call_macro(render, callee.as.macro, args, out);
    case V_JOINER: return call_joiner(callee.as.list, out);
    case V_LOOP:
      if (args->count != 1 || args->keyword_count > 0) return rh_tpl_fail(render, "loop() takes what to walk over");
      return rh_tpl_run_again(render, callee.as.loop, args->items[0], out);
    default: return rh_tpl_fail(render, "'%s' object is not callable", rh_tpl_type(callee));
  }
}
