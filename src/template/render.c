// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one render from variables to text; its failures and limits; names and where they are found.
// Data owned: the render and its arena, both gone when it returns.
// Threads: any; a template may be rendered by several at once.
// Not here: what statements and expressions do.
#include "template/render.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

bool rh_tpl_fail_as(tpl_render *render, rh_status status, const char *format, ...) {
  if (render->status != RH_OK) return false;  // the first failure is the one to tell
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  render->status = rh_fail(render->error, status, "%s", text);
  return false;
}

bool rh_tpl_fail(tpl_render *render, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return rh_tpl_fail_as(render, RH_INVALID, "line %u of the chat template: %s", render->line, text);
}

bool rh_tpl_fail_memory(tpl_render *render) {
  return rh_tpl_fail_as(
      render, RH_TOO_LARGE,
      "line %u of the chat template: it needs more than %zu MiB of memory, or makes a text of more than %zu MiB",
      render->line, TPL_BYTES_MAX >> 20, TPL_OUTPUT_MAX >> 20);
}

bool rh_tpl_fail_undefined(tpl_render *render, tpl_value value) {
  char text[512];
  rh_tpl_undefined_message(value, text, sizeof text);
  return rh_tpl_fail(render, "%s", text);
}

// Steps bound the work on any machine; the clock bounds what steps weigh wrongly.
bool rh_tpl_spend(tpl_render *render, uint64_t steps) {
  render->steps += steps;
  if (render->steps > TPL_STEPS_MAX) {
    return rh_tpl_fail_as(render, RH_TOO_LARGE, "line %u of the chat template: it takes more than %llu steps",
                          render->line, (unsigned long long)TPL_STEPS_MAX);
  }
  if (render->steps >= render->look_at) {
    render->look_at = render->steps + TPL_STEPS_LOOK;
    if (rh_clock_now_ns() > render->deadline_ns) {
      return rh_tpl_fail_as(render, RH_TOO_LARGE, "line %u of the chat template: it takes more than %d seconds",
                            render->line, RH_TEMPLATE_SECONDS_MAX);
    }
  }
  return render->status == RH_OK;
}

bool rh_tpl_spend_text(tpl_render *render, size_t bytes) { return rh_tpl_spend(render, bytes / 16); }

bool rh_tpl_spend_search(tpl_render *render, size_t text, size_t what) {
  uint64_t each = 1 + (uint64_t)what / 16, times = 1 + (uint64_t)text / 64;
  return each < TPL_STEPS_MAX && times < TPL_STEPS_MAX ? rh_tpl_spend(render, each * times)
                                                       : rh_tpl_spend(render, TPL_STEPS_MAX);
}

// After a failure nobody leaves, and nobody needs to.
bool rh_tpl_enter(tpl_render *render) {
  if (++render->depth <= TPL_DEPTH_MAX) return rh_tpl_spend(render, 1);
  return rh_tpl_fail_as(render, RH_TOO_LARGE, "line %u of the chat template: nested deeper than %d levels",
                        render->line, TPL_DEPTH_MAX);
}

void rh_tpl_leave(tpl_render *render) { render->depth--; }

void *rh_tpl_alloc(tpl_render *render, size_t count, size_t size) {
  if (!rh_tpl_spend(render, count * size / 1024)) return NULL;
  void *memory = rh_arena_alloc_array(render->arena, count, size);
  if (memory == NULL) (void)rh_tpl_fail_memory(render);
  return memory;
}

// --- names ----------------------------------------------------------------------------------------------------------

tpl_scope *rh_tpl_scope_new(tpl_render *render, tpl_scope *outer) {
  tpl_scope *scope = rh_tpl_alloc(render, 1, sizeof *scope);
  if (scope != NULL) scope->outer = outer;
  return scope;
}

bool rh_tpl_assign(tpl_render *render, tpl_scope *scope, uint32_t name, tpl_value value) {
  for (uint32_t i = 0; i < scope->count; i++) {
    if (scope->variables[i].name != name) continue;
    scope->variables[i].value = value;
    return rh_tpl_spend(render, i / 16);
  }
  if (scope->count == scope->room) {
    uint32_t room = scope->room == 0 ? 4 : scope->room * 2;
    tpl_variable *grown = rh_tpl_alloc(render, room, sizeof *grown);
    if (grown == NULL) return false;
    if (scope->count > 0) memcpy(grown, scope->variables, scope->count * sizeof *grown);
    scope->variables = grown;
    scope->room = room;
  }
  scope->variables[scope->count++] = (tpl_variable){.name = name, .value = value};
  return rh_tpl_spend(render, scope->count / 16);
}

// Not set by the template: a variable, a function that every template has, or undefined.
static bool lookup_given(tpl_render *render, uint32_t name, tpl_value *out) {
  tpl_value text = render->tmpl->names[name];
  const json_t *json =
      render->variables != NULL ? json_object_getn(render->variables, text.as.text, text.length) : NULL;
  if (json == NULL) {
    const tpl_function *function = rh_tpl_global_find(text);
    *out =
        function != NULL ? (tpl_value){.kind = V_FUNCTION, .as.function = function} : rh_tpl_undefined(text, V_MISSING);
    return true;
  }
  tpl_scope *outermost = render->root->outer;
  return rh_tpl_from_json(render, json, out) && rh_tpl_assign(render, outermost, name, *out);
}

bool rh_tpl_lookup(tpl_render *render, uint32_t name, tpl_value *out) {
  for (const tpl_scope *scope = render->scope; scope != NULL; scope = scope->outer) {
    if (!rh_tpl_spend(render, scope->count / 16)) return false;
    for (uint32_t i = 0; i < scope->count; i++) {
      if (scope->variables[i].name != name) continue;
      *out = scope->variables[i].value;
      return true;
    }
  }
  return lookup_given(render, name, out);
}

rh_status rh_template_render(const rh_template *tmpl, const json_t *variables, int64_t now_s, rh_dynbuf *out,
                             rh_error *error) {
  assert(tmpl != NULL && out != NULL);
  tpl_render render = {.tmpl = tmpl, .variables = variables, .now_s = now_s, .line = 1, .error = error};
  render.deadline_ns = rh_clock_now_ns() + RH_TEMPLATE_SECONDS_MAX * RH_NS_PER_S;
  render.arena = rh_arena_new(TPL_BYTES_MAX);
  if (render.arena == NULL) return rh_fail(error, RH_NO_MEMORY, "not enough memory for the chat template");
  rh_dynbuf text;
  rh_tpl_buffer(&text);
  render.out = &text;
  // The variables given lie outside of what the template sets.
  tpl_scope *given = rh_tpl_scope_new(&render, NULL);
  render.root = render.scope = given != NULL ? rh_tpl_scope_new(&render, given) : NULL;
  if (render.root != NULL && rh_tpl_run(&render, tmpl->body) && text.failed) (void)rh_tpl_fail_memory(&render);
  assert(render.status != RH_OK || render.depth == 0);
  rh_arena_free(render.arena);
  if (rh_dynbuf_append(out, rh_dynbuf_data(&text), text.length) != RH_OK && render.status == RH_OK) {
    render.status = rh_fail(error, RH_TOO_LARGE, "the messages as the chat template writes them are too long");
  }
  rh_dynbuf_free(&text);
  return render.status;
}
