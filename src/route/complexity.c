// SPDX-License-Identifier: Apache-2.0
//
// Purpose: how much a text looks like code and like mathematics, and how hard a request looks: the formulas that
// docs/gateway.md repeats. Ours; chosen by hand so that greetings and look-ups fall below 0.33 and long tasks with several
// conditions above 0.66.
// Data owned: none. Threads: any.
#include <math.h>

#include "route/scan.h"

static double clamp(double value) { return fmin(fmax(value, 0.0), 1.0); }

// A fence is code. Else: lines that end as code does, operators and words that code is full of, against the number of lines. Two
// such words alone ("write a python function") make has_code, because that is a task for who can write code.
double rh_code_of(const rh_scan *scan) {
  double lines = scan->lines > 0 ? scan->lines : 1;
  double signs = (2.0 * scan->code_lines + 0.5 * scan->operators) / (lines + 1);
  double words = 0.18 * scan->code_words / (1 + scan->words / 60.0);
  return clamp((scan->fences > 0 ? 0.6 : 0.0) + fmin(signs, 0.8) + fmin(words, 0.5));
}

// Signs and commands of mathematics, numbers joined by signs, its words. What looks like code takes from it, for code counts too.
double rh_math_of(const rh_scan *scan) {
  double points = scan->math_signs + 0.5 * scan->sums + 0.8 * scan->math_words;
  return clamp(points / 3.0 * (1.0 - 0.8 * rh_code_of(scan)));
}

double rh_complexity_of(const rh_scan *last, double last_tokens, const rh_features *features) {
  double length = clamp(log2(1.0 + last_tokens / 16.0) / 8.0);
  double questions = clamp(last->question_words / 3.0);
  double constraints = clamp((last->constraint_words + last->list_items) / 5.0);
  double turns = clamp(((double)features->turns - 1.0) / 8.0);
  double tools = clamp((double)features->tools / 8.0);
  return clamp(0.25 * length + 0.20 * features->code + 0.20 * features->math + 0.30 * questions + 0.20 * constraints +
               0.10 * turns + 0.10 * tools);
}

rh_level rh_complexity_level(double complexity) {
  return complexity < 0.33 ? RH_LEVEL_LOW : complexity < 0.66 ? RH_LEVEL_MEDIUM : RH_LEVEL_HIGH;
}
