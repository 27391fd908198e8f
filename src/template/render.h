// SPDX-License-Identifier: Apache-2.0
//
// One render: its memory, its limits, and what the files that compute share. Nobody outside includes this.
//
// A function that gives bool gives false after a failure; the first failure's words are in the render's error then.
#ifndef RH_TEMPLATE_RENDER_H
#define RH_TEMPLATE_RENDER_H

#include "template/functions.h"
#include "template/node.h"
#include "template/template.h"

#define TPL_STEPS_MAX UINT64_C(10000000)  // nodes met, items walked over, and 16 bytes of text written count as one
#define TPL_STEPS_LOOK UINT64_C(1000)     // how many are taken between two looks at the clock
#define TPL_STEPS_FLOAT UINT64_C(16)      // finding a number's shortest digits
#define TPL_DEPTH_MAX 1500                // nodes within nodes, macros included
#define TPL_BYTES_MAX ((size_t)256 << 20)
#define TPL_OUTPUT_MAX ((size_t)64 << 20)
#define TPL_RANGE_MAX 100000  // the sandbox's

typedef struct tpl_variable {
  uint32_t name;
  tpl_value value;
} tpl_variable;

typedef struct tpl_scope tpl_scope;
struct tpl_scope {
  tpl_scope *outer;
  tpl_variable *variables;
  uint32_t count, room;
};

struct tpl_macro {
  const tpl_node *node;
  tpl_scope *scope;  // where it was defined
};

// A loop's items are looked for one by one, so that its filter sees what the body before has set.
struct tpl_loop {
  const tpl_node *node;
  tpl_scope *scope;  // around the loop
  tpl_list *source;
  size_t next;  // in source
  tpl_value before, current, after;
  bool has_after, ended;
  int64_t index0;  // -1 before the first
  int64_t length;  // -1: not known yet
  unsigned depth;
  tpl_value changed;  // what changed() saw last; V_MISSING at first
};

typedef enum tpl_flow { TPL_GO_ON, TPL_BREAK, TPL_CONTINUE } tpl_flow;

struct tpl_render {
  const rh_template *tmpl;
  const json_t *variables;
  int64_t now_s;
  rh_arena *arena;
  rh_dynbuf *out;
  tpl_scope *scope;
  tpl_scope *root;  // outermost: what the template set, and variables that were asked for
  tpl_value block;  // the text that a block's filters begin with
  tpl_flow flow;
  uint64_t macros;  // made so far
  uint32_t line;
  unsigned depth;
  uint64_t steps, look_at;  // look_at: at how many steps the clock is looked at again
  uint64_t deadline_ns;
  rh_status status;
  rh_error *error;
};

// --- failures and limits (render.c) --------------------------------------------------------------------------------
bool rh_tpl_fail(tpl_render *render, const char *format, ...) RH_PRINTF(2, 3);  // RH_INVALID, with the line
bool rh_tpl_fail_as(tpl_render *render, rh_status status, const char *format, ...) RH_PRINTF(3, 4);  // as it is
bool rh_tpl_fail_memory(tpl_render *render);
bool rh_tpl_fail_undefined(tpl_render *render, tpl_value value);
bool rh_tpl_spend(tpl_render *render, uint64_t steps);
bool rh_tpl_spend_text(tpl_render *render, size_t bytes);  // written, or read character by character
// Looking for `what` bytes in `text` the slow way.
bool rh_tpl_spend_search(tpl_render *render, size_t text, size_t what);
bool rh_tpl_enter(tpl_render *render);
void rh_tpl_leave(tpl_render *render);
void *rh_tpl_alloc(tpl_render *render, size_t count, size_t size);  // NULL: an error was made

// --- values (value.c, dict.c) --------------------------------------------------------------------------------------
tpl_list *rh_tpl_list_new(tpl_render *render, size_t room);
bool rh_tpl_list_push(tpl_render *render, tpl_list *list, tpl_value value);
bool rh_tpl_text_copy(tpl_render *render, const char *text, size_t length, tpl_value *out);
void rh_tpl_buffer(rh_dynbuf *buffer);                                         // an empty one
bool rh_tpl_text_take(tpl_render *render, rh_dynbuf *buffer, tpl_value *out);  // frees the buffer in any case
bool rh_tpl_truth(tpl_value value);
const char *rh_tpl_type(tpl_value value);                                // Python's name of the type
bool rh_tpl_items(tpl_render *render, tpl_value value, tpl_list **out);  // what a for would walk over
bool rh_tpl_length(tpl_render *render, tpl_value value, size_t *out);
tpl_value rh_tpl_undefined(tpl_value name, uint8_t of);
tpl_value rh_tpl_undefined_hint(const char *hint);
void rh_tpl_undefined_message(tpl_value value, char *out, size_t size);
tpl_dict *rh_tpl_dict_new(tpl_render *render);
bool rh_tpl_dict_set(tpl_render *render, tpl_dict *dict, tpl_value key, tpl_value value);
bool rh_tpl_dict_find(tpl_render *render, const tpl_dict *dict, tpl_value key, tpl_value **out);  // NULL: not there
tpl_value *rh_tpl_dict_text(const tpl_dict *dict, const char *key);
bool rh_tpl_hash(tpl_render *render, tpl_value value, uint64_t *out);
bool rh_tpl_from_json(tpl_render *render, const json_t *json, tpl_value *out);

// --- comparing (compare.c) -----------------------------------------------------------------------------------------
bool rh_tpl_equal(tpl_render *render, tpl_value a, tpl_value b, bool *out);
bool rh_tpl_compare(tpl_render *render, tpl_op op, tpl_value a, tpl_value b, bool *out);              // any comparison
bool rh_tpl_sort(tpl_render *render, tpl_value *keys, tpl_value *items, size_t count, bool reverse);  // stable

// --- text (str.c, json.c, format.c) --------------------------------------------------------------------------------
bool rh_tpl_write(tpl_render *render, tpl_value value, rh_dynbuf *out);  // str(value)
bool rh_tpl_write_repr(tpl_render *render, tpl_value value, rh_dynbuf *out);
bool rh_tpl_write_json(tpl_render *render, tpl_value value, const tpl_value *args, rh_dynbuf *out);
bool rh_tpl_str(tpl_render *render, tpl_value value, tpl_value *out);  // a string stays what it is
void rh_tpl_write_float(double number, rh_dynbuf *out);                // repr
bool rh_tpl_percent(tpl_render *render, tpl_value format, const tpl_args *args, tpl_value *out);  // "..." % args
bool rh_tpl_format(tpl_render *render, tpl_value format, const tpl_args *args, tpl_value *out);   // "...".format(args)
bool rh_tpl_write_spec(tpl_render *render, tpl_value value, const char *spec, size_t length, rh_dynbuf *out);
bool rh_tpl_escape(tpl_render *render, tpl_value text, tpl_value *out);  // for HTML; gives markup
bool rh_tpl_change_case(tpl_render *render, tpl_value text, bool upper, tpl_value *out);
void rh_tpl_write_case(tpl_value text, bool upper, rh_dynbuf *out);
// One character; gives its bytes. `after_letter`: what a sigma becomes depends on its neighbours.
size_t rh_tpl_write_case_at(tpl_value text, size_t at, bool upper, bool after_letter, rh_dynbuf *out);
bool rh_tpl_join(tpl_render *render, tpl_value separator, const tpl_list *items, bool strings, tpl_value *out);
bool rh_tpl_replace(tpl_render *render, tpl_value text, tpl_value from, tpl_value to, int64_t most, tpl_value *out);
bool rh_tpl_split_lines(tpl_render *render, tpl_value text, bool keep, tpl_list **out);
tpl_value rh_tpl_strip(tpl_value text, const tpl_value *chars, bool left, bool right);  // chars NULL: white space
// strip() and trim(): the characters as the template gave them, or did not.
bool rh_tpl_strip_given(tpl_render *render, tpl_value text, tpl_value chars, bool left, bool right, tpl_value *out);
bool rh_tpl_center(tpl_render *render, tpl_value text, int64_t width, char side, tpl_value fill, tpl_value *out);

// --- computing (operators.c, attribute.c, evaluate.c, call.c, statement.c) -----------------------------------------
bool rh_tpl_binary(tpl_render *render, tpl_op op, tpl_value a, tpl_value b, tpl_value *out);
bool rh_tpl_negate(tpl_render *render, tpl_value value, bool plus, tpl_value *out);
bool rh_tpl_attribute(tpl_render *render, tpl_value of, tpl_value name, tpl_value *out);  // of.name
bool rh_tpl_item(tpl_render *render, tpl_value of, tpl_value key, tpl_value *out);        // of[key]
bool rh_tpl_path(tpl_render *render, tpl_value of, tpl_value path, tpl_value fallback,
                 tpl_value *out);  // "a.0.b", as filters do
bool rh_tpl_slice(tpl_render *render, tpl_value of, const tpl_value bounds[3], tpl_value *out);
bool rh_tpl_evaluate(tpl_render *render, const tpl_node *node, tpl_value *out);
bool rh_tpl_arguments(tpl_render *render, const tpl_node *call, tpl_args *out);
bool rh_tpl_call(tpl_render *render, tpl_value callee, const tpl_args *args, tpl_value *out);
bool rh_tpl_call_macro(tpl_render *render, const tpl_macro *macro, const tpl_args *args, tpl_value *out);
bool rh_tpl_run(tpl_render *render, const tpl_node *node);
bool rh_tpl_run_captured(tpl_render *render, const tpl_node *body, tpl_value *out);  // in names of its own
bool rh_tpl_run_loop(tpl_render *render, const tpl_node *node, tpl_value over, unsigned depth);
bool rh_tpl_run_again(tpl_render *render, const tpl_loop *loop, tpl_value over, tpl_value *out);  // loop(over)
bool rh_tpl_loop_member(tpl_render *render, tpl_loop *loop, tpl_value name, tpl_value *out);
bool rh_tpl_loop_peek(tpl_render *render, tpl_loop *loop, bool *there);
bool rh_tpl_loop_length(tpl_render *render, tpl_loop *loop, int64_t *out);
bool rh_tpl_add_keyword(tpl_render *render, tpl_args *args, tpl_value name, tpl_value value);
bool rh_tpl_lookup(tpl_render *render, uint32_t name, tpl_value *out);
bool rh_tpl_assign(tpl_render *render, tpl_scope *scope, uint32_t name, tpl_value value);
bool rh_tpl_set_target(tpl_render *render, const tpl_node *target, tpl_scope *scope, tpl_value value);
tpl_scope *rh_tpl_scope_new(tpl_render *render, tpl_scope *outer);

// Arguments of functions: the value, or the default where none was given. False: it is of another type.
bool rh_tpl_want_int(tpl_render *render, const char *what, tpl_value value, int64_t otherwise, int64_t *out);
bool rh_tpl_want_text(tpl_render *render, const char *what, tpl_value value);

#endif
