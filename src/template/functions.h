// SPDX-License-Identifier: Apache-2.0
//
// Filters, tests, methods and functions: tables of C functions with Python's parameters. Nobody outside includes this.
#ifndef RH_TEMPLATE_FUNCTIONS_H
#define RH_TEMPLATE_FUNCTIONS_H

#include "template/value.h"

#define TPL_PARAMETERS_MAX 6

typedef struct tpl_render tpl_render;

typedef struct tpl_keyword {
  tpl_value name, value;
} tpl_keyword;

typedef struct tpl_args {
  tpl_value *items;
  size_t count, room;
  tpl_keyword *keywords;
  size_t keyword_count, keyword_room;
} tpl_args;

// `self` is what stands before the bar, the dot or "is". `args` has a value for each parameter, V_MISSING where none was
// given. False: an error was made.
typedef bool tpl_call(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out);
// For those that take any arguments.
typedef bool tpl_raw_call(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out);

struct tpl_function {
  const char *name;
  tpl_call *call;
  tpl_raw_call *raw;  // instead of `call`
  size_t required;    // how many of the parameters must be given
  const char *parameters[TPL_PARAMETERS_MAX];
};

// NULL when there is none. `elsewhere`: jinja2 has it, this program has not.
const tpl_function *rh_tpl_filter_find(tpl_value name, bool *elsewhere);
const tpl_function *rh_tpl_test_find(tpl_value name);
const tpl_function *rh_tpl_global_find(tpl_value name);
// A method of a value of this kind. `forbidden`: there is one, but it would change the value.
const tpl_function *rh_tpl_method_find(tpl_value self, tpl_value name, bool *forbidden);

bool rh_tpl_apply(tpl_render *render, const tpl_function *function, tpl_value self, const tpl_args *args,
                  tpl_value *out);

// The tables, each in its file; they end with a NULL name.
extern const tpl_function rh_tpl_text_filters[], rh_tpl_list_filters[], rh_tpl_select_filters[],
    rh_tpl_number_filters[];
extern const tpl_function rh_tpl_text_methods[], rh_tpl_search_methods[], rh_tpl_split_methods[], rh_tpl_list_methods[],
    rh_tpl_dict_methods[];
extern const tpl_function rh_tpl_loop_methods[], rh_tpl_cycler_methods[], rh_tpl_number_methods[];

#endif
