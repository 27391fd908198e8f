// SPDX-License-Identifier: Apache-2.0
//
// A template as a tree, made once and read-only from then on. Nobody outside includes this.
#ifndef RH_TEMPLATE_NODE_H
#define RH_TEMPLATE_NODE_H

#include "base/arena.h"
#include "template/template.h"
#include "template/value.h"

#define TPL_PARSE_DEPTH_MAX 200
#define TPL_NAMES_MAX 65536
#define TPL_TREE_BYTES_MAX ((size_t)256 << 20)

typedef enum tpl_node_kind {
  // Expressions. `a`, `b`, `c`: operands in the order of the text, unless said otherwise.
  E_CONST,   // value
  E_NAME,    // name
  E_LIST,    // items
  E_TUPLE,   // items
  E_DICT,    // items: key, value, key, value...
  E_ATTR,    // a.value
  E_ITEM,    // a[b]
  E_SLICE,   // a:b:c, any of them NULL; only as the b of E_ITEM
  E_CALL,    // a(items)
  E_ARG,     // a, as op says; only in items of calls, filters, tests. `value`: the keyword
  E_FILTER,  // a|value(items); a NULL: the text of the block
  E_TEST,    // a is value(items)
  E_UNARY,   // op a
  E_BINARY,  // a op b
  E_AND,
  E_OR,
  E_NOT,
  E_COND,     // b if a else c; c may be NULL
  E_COMPARE,  // a, then items: each op and its operand in a
  E_CONCAT,   // items
  E_NSREF,    // name.value: only as a target of set
  // Statements.
  S_BODY,       // items
  S_TEXT,       // value
  S_OUTPUT,     // a
  S_IF,         // items: test, body, test, body...; c: else or NULL
  S_FOR,        // a: target, b: over what, c: filter or NULL, items: body, else or NULL; op: recursive
  S_SET,        // a = b
  S_SET_BLOCK,  // a = text of c, through the filters b if not NULL
  S_MACRO,      // name, value: its name, items: E_ARG parameters (name, a: default), b: body; op: TPL_USES_*
  S_CALL,       // a: the call, b: a nameless S_MACRO for caller()
  S_FILTER,     // a: filters, b: body
  S_WITH,       // items: target, value...; b: body
  S_SCOPE,      // b: body with names of its own
  S_BREAK,
  S_CONTINUE,
} tpl_node_kind;

typedef enum tpl_op {
  OP_ADD,
  OP_SUB,
  OP_MUL,
  OP_DIV,
  OP_FLOORDIV,
  OP_MOD,
  OP_POW,
  OP_NEGATE,
  OP_PLUS,
  OP_EQ,
  OP_NE,
  OP_LT,
  OP_LE,
  OP_GT,
  OP_GE,
  OP_IN,
  OP_NOT_IN,
} tpl_op;

enum { TPL_ARG_PLAIN, TPL_ARG_KEYWORD, TPL_ARG_STAR, TPL_ARG_DOUBLE_STAR };
enum { TPL_USES_CALLER = 1, TPL_USES_KWARGS = 2, TPL_USES_VARARGS = 4 };

typedef struct tpl_node tpl_node;
struct tpl_node {
  uint8_t kind, op;
  uint32_t line;
  uint32_t name;   // number of the name
  uint32_t count;  // of items
  tpl_node *a, *b, *c;
  tpl_node **items;
  tpl_value value;
  const void *known;  // the filter or test of that name; NULL: there is none, which is an error once it is met
};

struct rh_template {
  rh_arena *arena;
  tpl_node *body;
  tpl_value *names;  // their texts by number
  uint32_t name_count;
};

// The names that every template can ask for by number.
enum { TPL_NAME_LOOP, TPL_NAME_CALLER, TPL_NAME_KWARGS, TPL_NAME_VARARGS, TPL_NAME_FIXED };

#endif
