// SPDX-License-Identifier: Apache-2.0
//
// Metrics as Prometheus' text exposition format 0.0.4. Reads the registry, owns nothing; the registry's thread.
#include <inttypes.h>
#include <string.h>

#include "base/metrics_private.h"
#include "base/text.h"
#include "base/utf8.h"

// Escapes a label value (quotes too) or a help text (without). What is not UTF-8 becomes U+FFFD: a scraper refuses the
// whole page otherwise.
static void append_escaped(rh_dynbuf *out, const char *text, bool quotes) {
  size_t length = strlen(text);
  size_t step;
  for (size_t i = 0; i < length; i += step) {
    step = rh_utf8_char_length(text + i, length - i);
    if (step == 0) {
      (void)rh_dynbuf_append(out, "\xEF\xBF\xBD", 3);
      step = 1;
    } else if (text[i] == '\n') {
      (void)rh_dynbuf_append(out, "\\n", 2);
    } else {
      if (text[i] == '\\' || (quotes && text[i] == '"')) (void)rh_dynbuf_append_char(out, '\\');
      (void)rh_dynbuf_append(out, text + i, step);
    }
  }
}

static void append_number(rh_dynbuf *out, double value) {
  char text[40];
  rh_text_format_number(text, sizeof text, value);
  (void)rh_dynbuf_append_text(out, text);
}

// {a="1",b="2",le="0.5"}; nothing when there are no labels. `bound` is NULL except in buckets.
static void append_labels(rh_dynbuf *out, const metric *of, const series *at, const char *bound) {
  if (of->label_count == 0 && bound == NULL) return;
  (void)rh_dynbuf_append_char(out, '{');
  for (size_t i = 0; i < of->label_count; i++) {
    (void)rh_dynbuf_printf(out, "%s%s=\"", i == 0 ? "" : ",", of->def->labels[i]);
    append_escaped(out, at->labels[i], true);
    (void)rh_dynbuf_append_char(out, '"');
  }
  if (bound != NULL) (void)rh_dynbuf_printf(out, "%sle=\"%s\"", of->label_count == 0 ? "" : ",", bound);
  (void)rh_dynbuf_append_char(out, '}');
}

static void append_sample(rh_dynbuf *out, const metric *of, const series *at, const char *suffix, const char *bound,
                          double value) {
  (void)rh_dynbuf_append_text(out, of->def->name);
  (void)rh_dynbuf_append_text(out, suffix);
  append_labels(out, of, at, bound);
  (void)rh_dynbuf_append_char(out, ' ');
  append_number(out, value);
  (void)rh_dynbuf_append_char(out, '\n');
}

static void append_histogram(rh_dynbuf *out, const metric *of, const series *at) {
  uint64_t below = 0;
  for (size_t i = 0; i < of->def->bucket_count; i++) {
    char bound[40];
    rh_text_format_number(bound, sizeof bound, of->def->buckets[i]);
    below += at->bucket_counts[i];
    append_sample(out, of, at, "_bucket", bound, (double)below);
  }
  append_sample(out, of, at, "_bucket", "+Inf", (double)at->count);
  append_sample(out, of, at, "_sum", NULL, at->value);
  append_sample(out, of, at, "_count", NULL, (double)at->count);
}

rh_status rh_metrics_render(const rh_metrics *metrics, rh_dynbuf *out) {
  static const char *const types[] = {"counter", "gauge", "histogram"};
  for (size_t id = 0; id < metrics->count && !out->failed; id++) {
    const metric *of = &metrics->metrics[id];
    (void)rh_dynbuf_printf(out, "# HELP %s ", of->def->name);
    append_escaped(out, of->def->help, false);
    (void)rh_dynbuf_printf(out, "\n# TYPE %s %s\n", of->def->name, types[of->def->type]);
    for (const series *at = of->first; at != NULL && !out->failed; at = at->next) {
      if (of->def->type == RH_METRIC_HISTOGRAM)
        append_histogram(out, of, at);
      else
        append_sample(out, of, at, "", NULL, at->value);
    }
  }
  return out->failed ? RH_TOO_LARGE : RH_OK;
}
