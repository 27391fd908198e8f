// SPDX-License-Identifier: Apache-2.0
//
// Purpose: progress, warnings, the result and the error, for programs and for people.
// Data owned: when and what was shown last. Threads: one. Not here: what is worth saying.
#include "convert/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dynbuf.h"
#include "base/json.h"
#include "base/text.h"

#define INTERVAL_NS ((int64_t)RH_NS_PER_S / 10)
#define LINE_BYTES_MAX 65536
#define BAR_CELLS 30

void rh_report_init(rh_report *self, bool json) {
  *self = (rh_report){.json = json, .bar = !json && isatty(STDERR_FILENO), .shown_tenths = -1};
}

// {"event":EVENT,"KEY":TEXT...} with pairs of strings up to a NULL; `number_key` (may be NULL) comes before them. Text that is
// not UTF-8 (a path may be anything) is repaired by the writer.
static void write_event(const char *event, const char *number_key, double number, const char *const *pairs) {
  rh_dynbuf line;
  rh_dynbuf_init(&line, LINE_BYTES_MAX);
  (void)rh_dynbuf_printf(&line, "{\"event\":\"%s\"", event);
  char digits[32];
  rh_text_format_number(digits, sizeof digits, number);
  if (number_key != NULL) (void)rh_dynbuf_printf(&line, ",\"%s\":%s", number_key, digits);
  for (; pairs[0] != NULL; pairs += 2) {
    (void)rh_dynbuf_printf(&line, ",\"%s\":", pairs[0]);
    (void)rh_json_append_string(&line, pairs[1], strlen(pairs[1]));
  }
  (void)rh_dynbuf_append_text(&line, "}\n");
  if (!line.failed) (void)fwrite(rh_dynbuf_data(&line), 1, line.length, stdout);
  (void)fflush(stdout);
  rh_dynbuf_free(&line);
}

static void end_bar(rh_report *self) {
  if (self->bar_shown) fputs("\r\033[K", stderr);
  self->bar_shown = false;
}

static void show_words(rh_report *self, double fraction, const char *what) {
  if (self->bar) {
    char cells[BAR_CELLS + 1];
    for (int i = 0; i < BAR_CELLS; i++) cells[i] = (double)i < fraction * BAR_CELLS ? '#' : '.';
    cells[BAR_CELLS] = '\0';
    fprintf(stderr, "\r\033[K[%s] %3.0f %%  %.40s", cells, 100.0 * fraction, what);
    self->bar_shown = true;
    return;
  }
  int64_t tenths = (int64_t)(10.0 * fraction);
  if (tenths == self->shown_tenths) return;
  self->shown_tenths = tenths;
  fprintf(stderr, "%3.0f %%  %s\n", 100.0 * fraction, what);
}

void rh_report_progress(rh_report *self, double fraction, const char *what) {
  int64_t now = (int64_t)rh_clock_now_ns();
  if (self->shown_ns != 0 && now - self->shown_ns < INTERVAL_NS && fraction < 1.0) return;
  self->shown_ns = now;
  if (self->json) {
    write_event("progress", "fraction", fraction, (const char *[]){"what", what, NULL});
  } else {
    show_words(self, fraction, what);
  }
}

void rh_report_warning(rh_report *self, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  end_bar(self);
  if (self->json) {
    write_event("warning", NULL, 0, (const char *[]){"message", text, NULL});
  } else {
    fprintf(stderr, "warning: %s\n", text);
  }
}

void rh_report_done(rh_report *self, const char *path, int64_t bytes, const char *architecture, const char *type) {
  end_bar(self);
  if (self->json) {
    write_event("done", "bytes", (double)bytes,
                (const char *[]){"path", path, "architecture", architecture, "type", type, NULL});
    return;
  }
  char size[32];
  rh_text_format_bytes(size, sizeof size, (uint64_t)bytes);
  printf("%s: %s, %s, %s\n", path, architecture, type, size);
}

void rh_report_error(rh_report *self, const rh_error *error) {
  end_bar(self);
  if (self->json) {
    write_event("error", NULL, 0,
                (const char *[]){"status", rh_status_name(error->status), "message", error->message, NULL});
  } else {
    fprintf(stderr, "roundhouse-convert: %s\n", error->message);
  }
}
