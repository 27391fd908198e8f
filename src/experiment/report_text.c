// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the report as Markdown, written from the JSON report, so that the two cannot say different things.
// Data owned: none. Threads: the caller's. Not here: any arithmetic.
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/dynbuf.h"
#include "experiment/internal.h"

#define TEXT_BYTES_MAX ((size_t)256 << 10)

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text != NULL ? text : "";
}

static double number_of(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static void add(rh_dynbuf *out, const char *text) { (void)rh_dynbuf_append_text(out, text); }

// A text in a table: a bar would begin a new column.
static void add_cell(rh_dynbuf *out, const char *text) {
  for (; *text != '\0'; text++) {
    if (strchr("|\\*<`", *text) != NULL) (void)rh_dynbuf_append_char(out, '\\');
    (void)rh_dynbuf_append_char(out, *text);
  }
}

static void add_number(rh_dynbuf *out, double value) {
  if (isnan(value)) {
    add(out, "-");
  } else {
    (void)rh_dynbuf_printf(out, "%.4g", value);
  }
}

// "12.3 (11.8 to 12.9)"
static void add_range(rh_dynbuf *out, const json_t *object, const char *value, const char *low, const char *high) {
  add_number(out, number_of(object, value));
  if (isnan(number_of(object, low))) return;
  (void)rh_dynbuf_printf(out, " (%.4g to %.4g)", number_of(object, low), number_of(object, high));
}

static void add_time(rh_dynbuf *out, double seconds) {
  time_t at = (time_t)seconds;
  struct tm parts;
  char text[32] = "-";
  if (!isnan(seconds) && gmtime_r(&at, &parts) != NULL)
    (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  add(out, text);
}

static void add_head(rh_dynbuf *out, const json_t *report) {
  const json_t *definition = json_object_get(report, "definition");
  (void)rh_dynbuf_printf(out, "# Experiment %s\n\n", text_of(report, "name"));
  (void)rh_dynbuf_printf(out, "%s, %s",
                         strcmp(text_of(definition, "kind"), "shadow") == 0 ? "Shadow traffic" : "A/B test",
                         text_of(report, "state"));
  if (text_of(report, "why")[0] != '\0') {
    add(out, " (");
    add_cell(out, text_of(report, "why"));
    add(out, ")");
  }
  add(out, "; requests for ");
  add_cell(out, text_of(definition, "model"));
  (void)rh_dynbuf_printf(out, "; traffic %.4g %%; sticky by %s; metric %s; alpha %.4g; at least %.0f values an arm.\n",
                         100 * number_of(definition, "traffic"), text_of(definition, "sticky"),
                         text_of(definition, "metric"), number_of(definition, "alpha"),
                         number_of(definition, "minimum"));
  add(out, "From ");
  add_time(out, number_of(report, "created_s"));
  add(out, " to ");
  add_time(out, number_of(report, "now_s"));
  add(out, ".\n\n");
  size_t index = 0;
  const json_t *sentence = NULL;
  json_array_foreach(json_object_get(report, "verdict"), index, sentence) {
    (void)rh_dynbuf_printf(out, "- **%s**\n", json_string_value(sentence));
  }
}

static void add_arms(rh_dynbuf *out, const json_t *report) {
  add(out,
      "\n## Arms\n\n"
      "| arm | model | state | requests | error rate | latency ms | p50 | p95 | first token ms | tokens | cost USD | "
      "cost sum | "
      "feedback |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  size_t index = 0;
  const json_t *arm = NULL;
  json_array_foreach(json_object_get(report, "arms"), index, arm) {
    const json_t *latency = json_object_get(arm, "latency_ms");
    const json_t *cost = json_object_get(arm, "cost_usd");
    (void)rh_dynbuf_printf(out, "| %s (%s) | ", text_of(arm, "name"), text_of(arm, "role"));
    add_cell(out, text_of(arm, "model"));
    (void)rh_dynbuf_printf(out, " | %s | %.0f | ", text_of(arm, "state"), number_of(arm, "requests"));
    add_range(out, json_object_get(arm, "error_rate"), "value", "low", "high");
    add(out, " | ");
    add_range(out, latency, "mean", "low", "high");
    add(out, " | ");
    add_number(out, number_of(latency, "p50"));
    add(out, " | ");
    add_number(out, number_of(latency, "p95"));
    add(out, " | ");
    add_range(out, json_object_get(arm, "first_token_ms"), "mean", "low", "high");
    add(out, " | ");
    add_range(out, json_object_get(arm, "tokens"), "mean", "low", "high");
    add(out, " | ");
    add_range(out, cost, "mean", "low", "high");
    add(out, " | ");
    add_number(out, number_of(cost, "sum"));
    add(out, " | ");
    add_range(out, json_object_get(arm, "feedback"), "mean", "low", "high");
    add(out, " |\n");
  }
  json_array_foreach(json_object_get(report, "arms"), index, arm) {
    if (text_of(arm, "why")[0] == '\0') continue;
    add(out, "\nStopped at ");
    add_time(out, number_of(arm, "stopped_s"));
    add(out, ": ");
    add_cell(out, text_of(arm, "why"));
    add(out, ".\n");
  }
}

static void add_comparison(rh_dynbuf *out, const json_t *comparison) {
  const json_t *test = json_object_get(comparison, "sequential");
  const char *metric = NULL;
  json_t *difference = NULL;
  (void)rh_dynbuf_printf(out, "\n## %s against %s\n\n", text_of(comparison, "arm"), text_of(comparison, "control"));
  (void)rh_dynbuf_printf(out, "Sequential test of %s, valid at every look: %s ", text_of(test, "metric"),
                         text_of(test, "of"));
  add_range(out, test, "value", "low", "high");
  (void)rh_dynbuf_printf(out, ", p = %.3g, alpha = %.4g, tau = %.3g deviations, %.0f and %.0f values: **%s**.\n\n",
                         number_of(test, "p_value"), number_of(test, "alpha"), number_of(test, "tau"),
                         number_of(test, "samples_arm"), number_of(test, "samples_control"), text_of(test, "result"));
  add(out,
      "For one look at a sample whose size was settled before:\n\n| metric | difference | ratio | method "
      "|\n|---|---|---|---|\n");
  json_object_foreach(json_object_get(comparison, "differences"), metric, difference) {
    (void)rh_dynbuf_printf(out, "| %s | ", metric);
    add_range(out, difference, "difference", "low", "high");
    add(out, " | ");
    add_range(out, difference, "ratio", "ratio_low", "ratio_high");
    (void)rh_dynbuf_printf(out, " | %s |\n", text_of(difference, "method"));
  }
}

char *rh_experiment_report_text(const rh_experiment *experiment, int64_t now_s) {
  json_t *report = rh_experiment_report(experiment, now_s);
  if (report == NULL) return NULL;
  rh_dynbuf out;
  rh_dynbuf_init(&out, TEXT_BYTES_MAX);
  add_head(&out, report);
  add_arms(&out, report);
  size_t index = 0;
  const json_t *item = NULL;
  json_array_foreach(json_object_get(report, "comparisons"), index, item) add_comparison(&out, item);
  add(&out, "\n## Methods\n\n");
  json_array_foreach(json_object_get(report, "methods"), index, item) {
    (void)rh_dynbuf_printf(&out, "- %s: %s. %s.\n", text_of(item, "name"), text_of(item, "what"),
                           text_of(item, "source"));
  }
  json_decref(report);
  char *text = out.failed ? NULL : rh_dynbuf_take(&out, NULL);
  rh_dynbuf_free(&out);
  return text;
}
