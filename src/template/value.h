// SPDX-License-Identifier: Apache-2.0
//
// What a template computes with: values with Python's meaning, in the memory of one render. Nobody outside includes this.
//
// A value is copied freely; what it points at lives in the render's arena (or in the template's, for constants) and is
// never changed once it is made, with the exceptions that the language itself has: namespaces, generators, loops, cyclers.
#ifndef RH_TEMPLATE_VALUE_H
#define RH_TEMPLATE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum tpl_kind {
  V_MISSING,    // nothing was given; templates never see it
  V_UNDEFINED,  // a name or item that is not there; its message may stand in `text`
  V_NONE,
  V_BOOL,
  V_INT,
  V_FLOAT,
  V_STRING,
  V_LIST,
  V_TUPLE,
  V_DICT,
  V_VIEW,       // dict.items() and its like: a list that has a length but no places
  V_RANGE,      // like a tuple of numbers
  V_GENERATOR,  // what select, map and others give: can be walked over once
  V_NAMESPACE,
  V_MACRO,
  V_FUNCTION,
  V_METHOD,
  V_LOOP,
  V_CYCLER,
  V_JOINER,
} tpl_kind;

#define TPL_HINT 255  // `text` is the whole message

typedef struct tpl_list tpl_list;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_macro tpl_macro;
typedef struct tpl_method tpl_method;
typedef struct tpl_loop tpl_loop;
typedef struct tpl_function tpl_function;

typedef struct tpl_value {
  uint8_t kind;
  bool markup;     // a string that `safe` or `escape` made
  uint8_t detail;  // V_UNDEFINED: what lacks the name in `text` (V_MISSING: nothing has it), or TPL_HINT
  union {
    bool boolean;
    int64_t integer;
    double number;
    const char *text;  // valid UTF-8, `length` bytes, not terminated
    tpl_list *list;    // lists, tuples, views, ranges, generators, cyclers, joiners
    tpl_dict *dict;    // dicts, namespaces
    tpl_macro *macro;
    tpl_method *method;
    tpl_loop *loop;
    const tpl_function *function;
  } as;
  size_t length;
} tpl_value;

struct tpl_list {
  tpl_value *items;
  size_t count, room;
  size_t taken;               // generators and cyclers: how far they are
  const char *name;           // views: their type's name
  int64_t start, stop, step;  // ranges
};

typedef struct tpl_entry {
  tpl_value key, value;
  uint64_t hash;
} tpl_entry;

// In the order of insertion. With few entries there is no index.
struct tpl_dict {
  tpl_entry *entries;
  size_t count, room;
  uint32_t *index;  // entry + 1, or 0
  size_t index_size;
};

// A method with its object ("abc".upper before the call).
struct tpl_method {
  tpl_value self;
  const tpl_function *function;
};

static inline tpl_value tpl_none(void) { return (tpl_value){.kind = V_NONE}; }
static inline tpl_value tpl_missing(void) { return (tpl_value){.kind = V_MISSING}; }
static inline tpl_value tpl_bool(bool value) { return (tpl_value){.kind = V_BOOL, .as.boolean = value}; }
static inline tpl_value tpl_int(int64_t value) { return (tpl_value){.kind = V_INT, .as.integer = value}; }
static inline tpl_value tpl_float(double value) { return (tpl_value){.kind = V_FLOAT, .as.number = value}; }
static inline tpl_value tpl_text(const char *text, size_t length) {
  return (tpl_value){.kind = V_STRING, .as.text = text, .length = length};
}
#define TPL_LITERAL(text) tpl_text("" text "", sizeof(text) - 1)
static inline tpl_value tpl_of_list(tpl_kind kind, tpl_list *list) {
  return (tpl_value){.kind = (uint8_t)kind, .as.list = list};
}
static inline tpl_value tpl_of_dict(tpl_dict *dict) { return (tpl_value){.kind = V_DICT, .as.dict = dict}; }
static inline bool tpl_is_number(tpl_value value) {
  return value.kind == V_BOOL || value.kind == V_INT || value.kind == V_FLOAT;
}
static inline bool tpl_is_whole(tpl_value value) { return value.kind == V_BOOL || value.kind == V_INT; }
static inline int64_t tpl_whole(tpl_value value) {
  return value.kind == V_BOOL ? (int64_t)value.as.boolean : value.as.integer;
}
static inline double tpl_real(tpl_value value) {
  return value.kind == V_FLOAT ? value.as.number : (double)tpl_whole(value);
}
bool tpl_text_is(tpl_value value, const char *text);  // a string of exactly these bytes

#endif
