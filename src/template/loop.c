// SPDX-License-Identifier: Apache-2.0
//
// Purpose: for: its items one by one, and what `loop` tells about them.
// Data owned: none. Threads: the render's.
// Not here: items that are made while they are walked over; what is walked over is a whole list when the loop begins.
#include "template/render.h"

// The next item that passes the filter, into `after`.
static bool fetch(tpl_render *render, tpl_loop *loop) {
  const tpl_node *node = loop->node;
  tpl_scope *before = render->scope;
  while (!loop->has_after && loop->next < loop->source->count) {
    tpl_value item = loop->source->items[loop->next++], passes = tpl_bool(true);
    if (!rh_tpl_spend(render, 1)) return false;
    if (node->c != NULL) {
      render->scope = rh_tpl_scope_new(render, loop->scope);
      bool ok = render->scope != NULL && rh_tpl_set_target(render, node->a, render->scope, item) &&
                rh_tpl_evaluate(render, node->c, &passes);
      render->scope = before;
      if (!ok) return false;
    }
    loop->after = item;
    loop->has_after = rh_tpl_truth(passes);
  }
  return true;
}

static bool advance(tpl_render *render, tpl_loop *loop) {
  if (!fetch(render, loop)) return false;
  if (!loop->has_after) {
    loop->ended = true;
    return true;
  }
  loop->before = loop->current;
  loop->current = loop->after;
  loop->has_after = false;
  loop->index0++;
  return true;
}

bool rh_tpl_loop_peek(tpl_render *render, tpl_loop *loop, bool *there) {
  if (!fetch(render, loop)) return false;
  *there = loop->has_after;
  return true;
}

bool rh_tpl_loop_length(tpl_render *render, tpl_loop *loop, int64_t *out) {
  if (loop->length < 0 && loop->node->c == NULL) loop->length = (int64_t)loop->source->count;
  if (loop->length < 0) {
    // All that is left goes through the filter now.
    tpl_list *rest = rh_tpl_list_new(render, 0);
    if (rest == NULL) return false;
    for (;;) {
      if (!fetch(render, loop)) return false;
      if (!loop->has_after) break;
      if (!rh_tpl_list_push(render, rest, loop->after)) return false;
      loop->has_after = false;
    }
    tpl_node *plain = rh_tpl_alloc(render, 1, sizeof *plain);
    if (plain == NULL) return false;
    *plain = *loop->node;
    plain->c = NULL;
    loop->node = plain;
    loop->length = loop->index0 + 1 + (int64_t)rest->count;
    loop->source = rest;
    loop->next = 0;
  }
  *out = loop->length;
  return true;
}

static bool run_items(tpl_render *render, tpl_loop *loop, const tpl_node *body) {
  tpl_scope *before = render->scope, *scope = NULL;
  tpl_value self = {.kind = V_LOOP, .as.loop = loop};
  uint64_t macros = render->macros;
  bool ok = true;
  while (ok && render->flow != TPL_BREAK) {
    render->flow = TPL_GO_ON;
    ok = advance(render, loop);
    if (!ok || loop->ended) break;
    // Only a macro remembers where it was made; without one the names of the last round can go.
    if (scope == NULL || macros != render->macros) scope = rh_tpl_scope_new(render, before);
    if (scope != NULL) scope->count = 0;
    macros = render->macros;
    ok = scope != NULL && rh_tpl_assign(render, scope, TPL_NAME_LOOP, self) &&
         rh_tpl_set_target(render, loop->node->a, scope, loop->current);
    render->scope = scope;
    ok = ok && rh_tpl_run(render, body);
    render->scope = before;
  }
  render->flow = TPL_GO_ON;
  return ok;
}

bool rh_tpl_run_loop(tpl_render *render, const tpl_node *node, tpl_value over, unsigned depth) {
  tpl_loop *loop = rh_tpl_alloc(render, 1, sizeof *loop);
  if (loop == NULL) return false;
  *loop = (tpl_loop){.node = node, .scope = render->scope, .index0 = -1, .length = -1, .depth = depth};
  if (!rh_tpl_items(render, over, &loop->source)) return false;
  if (!run_items(render, loop, node->items[0])) return false;
  if (loop->index0 >= 0 || node->count < 2) return true;
  tpl_scope *before = render->scope;
  render->scope = rh_tpl_scope_new(render, before);
  bool ok = render->scope != NULL && rh_tpl_run(render, node->items[1]);
  render->scope = before;
  return ok;
}

bool rh_tpl_run_again(tpl_render *render, const tpl_loop *loop, tpl_value over, tpl_value *out) {
  if (loop->node->op == 0) {
    return rh_tpl_fail(render, "The loop must have the 'recursive' marker to be called recursively.");
  }
  rh_dynbuf text, *before = render->out;
  tpl_scope *scope = render->scope;
  if (!rh_tpl_enter(render)) return false;
  rh_tpl_buffer(&text);
  render->out = &text;
  render->scope = loop->scope;
  bool ok = rh_tpl_run_loop(render, loop->node, over, loop->depth + 1);
  render->out = before;
  render->scope = scope;
  rh_tpl_leave(render);
  if (ok) return rh_tpl_text_take(render, &text, out);
  rh_dynbuf_free(&text);
  return false;
}

static bool neighbour(tpl_render *render, tpl_loop *loop, bool next, tpl_value *out) {
  bool there = loop->index0 > 0;
  if (next && !rh_tpl_loop_peek(render, loop, &there)) return false;
  *out = there ? (next ? loop->after : loop->before)
               : rh_tpl_undefined_hint(next ? "there is no next item" : "there is no previous item");
  return true;
}

static bool from_length(tpl_render *render, tpl_loop *loop, int64_t less, tpl_value *out) {
  int64_t length;
  if (!rh_tpl_loop_length(render, loop, &length)) return false;
  *out = tpl_int(length - less);
  return true;
}

bool rh_tpl_loop_member(tpl_render *render, tpl_loop *loop, tpl_value name, tpl_value *out) {
  bool there;
  if (tpl_text_is(name, "index")) *out = tpl_int(loop->index0 + 1);
  if (tpl_text_is(name, "index0")) *out = tpl_int(loop->index0);
  if (tpl_text_is(name, "first")) *out = tpl_bool(loop->index0 == 0);
  if (tpl_text_is(name, "depth")) *out = tpl_int((int64_t)loop->depth + 1);
  if (tpl_text_is(name, "depth0")) *out = tpl_int((int64_t)loop->depth);
  if (tpl_text_is(name, "length")) return from_length(render, loop, 0, out);
  if (tpl_text_is(name, "revindex")) return from_length(render, loop, loop->index0, out);
  if (tpl_text_is(name, "revindex0")) return from_length(render, loop, loop->index0 + 1, out);
  if (tpl_text_is(name, "previtem")) return neighbour(render, loop, false, out);
  if (tpl_text_is(name, "nextitem")) return neighbour(render, loop, true, out);
  if (tpl_text_is(name, "last")) {
    if (!rh_tpl_loop_peek(render, loop, &there)) return false;
    *out = tpl_bool(!there);
  }
  return true;
}
