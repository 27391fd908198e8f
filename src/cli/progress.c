// SPDX-License-Identifier: Apache-2.0
//
// Draws progress. Owns how many lines it has drawn, which it goes back over at the next picture, and when it last wrote
// a plain line. One thread; nobody else may write to the stream between a picture and rh_progress_end.
#include "cli/progress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/output.h"

#define WIDTH_DEFAULT 80
#define WIDTH_MAX 160
#define LINE_BYTES 1024
#define FILES_SHOWN_MAX 6
#define LABEL_MAX 32
#define BAR_MIN 6
#define BAR_MAX 30
// A log should tell that something goes on, and not much more.
#define PLAIN_INTERVAL_NS (10 * RH_NS_PER_S)
#define PLAIN_STEP_PERCENT 25

struct rh_progress {
  FILE *stream;
  bool bars;
  size_t drawn;  // lines of the last picture
  int64_t plain_percent;
  uint64_t plain_ns;
  char words[160];  // the last of rh_progress_status
};

void rh_progress_format_sizes(char *out, size_t size, int64_t done, int64_t total) {
  static const struct {
    const char *name;
    int64_t bytes;
  } units[] = {{"TiB", INT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}};
  int64_t larger = total > 0 ? total : done;
  size_t unit = 0;
  while (unit < 3 && larger < units[unit].bytes) unit++;
  double divisor = (double)units[unit].bytes;
  if (total > 0)
    snprintf(out, size, "%.1f/%.1f %s", (double)done / divisor, (double)total / divisor, units[unit].name);
  else
    snprintf(out, size, "%.1f %s", (double)done / divisor, units[unit].name);
}

static size_t columns_of(const char *text) {
  size_t columns = 0;
  for (; *text != '\0'; text++) columns += ((unsigned char)*text & 0xc0) != 0x80;
  return columns;
}

// `text` in exactly `columns` columns: padded, or its beginning cut away, since the ends of paths tell files apart.
static void fit(char *out, size_t size, const char *text, size_t columns) {
  size_t own = columns_of(text);
  if (own <= columns) {
    snprintf(out, size, "%s%*s", text, (int)(columns - own), "");
    return;
  }
  if (columns == 0) {  // not even room for the ellipsis
    if (size > 0) out[0] = '\0';
    return;
  }
  const char *from = text;
  for (size_t skip = own - columns + 1; skip > 0; skip--) {
    from++;
    while (((unsigned char)*from & 0xc0) == 0x80) from++;
  }
  snprintf(out, size, "…%s", from);
}

static void bar(char *out, size_t size, int64_t done, int64_t total, size_t columns) {
  size_t full = total > 0 && done > 0 ? (size_t)((double)done / (double)total * (double)columns) : 0;
  if (full > columns) full = columns;
  size_t at = 0;
  for (size_t i = 0; i < columns && at + 4 < size; i++) {
    const char *cell = i < full ? "█" : " ";
    at += (size_t)snprintf(out + at, size - at, "%s", cell);
  }
}

static void append_speed(char *out, size_t size, double rate, double eta_s) {
  char text[32];
  out[0] = '\0';
  if (rate >= 0) {
    rh_text_format_bytes(text, sizeof text, (uint64_t)rate);
    snprintf(out, size, "  %s/s", text);
  }
  if (eta_s >= 0) {
    size_t at = strlen(out);
    rh_cli_format_seconds(text, sizeof text, eta_s);
    snprintf(out + at, size - at, "  %s left", text);
  }
}

void rh_progress_format(char *out, size_t size, const char *label, int64_t done, int64_t total, double rate,
                        double eta_s, size_t width) {
  char name[LABEL_MAX * 4 + 8], sizes[64], speed[96], cells[BAR_MAX * 4 + 1], percent[8] = "";
  if (width > WIDTH_MAX) width = WIDTH_MAX;
  rh_progress_format_sizes(sizes, sizeof sizes, done, total);
  append_speed(speed, sizeof speed, rate, eta_s);
  if (total > 0) {
    int64_t share = done >= total ? 100 : (int64_t)((double)done / (double)total * 100);
    snprintf(percent, sizeof percent, "%3" PRId64 "%%", share);
  }
  size_t label_columns = width / 3 < LABEL_MAX ? width / 3 : LABEL_MAX;
  fit(name, sizeof name, label, label_columns);
  size_t fixed = label_columns + 2 + strlen(percent) + 2 + strlen(sizes) + strlen(speed);
  size_t room = width > fixed + 4 ? width - fixed - 4 : 0;
  if (total > 0 && room >= BAR_MIN) {
    bar(cells, sizeof cells, done, total, room < BAR_MAX ? room : BAR_MAX);
    snprintf(out, size, "%s  ▕%s▏ %s  %s%s", name, cells, percent, sizes, speed);
  } else if (fixed < width) {
    snprintf(out, size, "%s  %s%s%s%s", name, percent, percent[0] != '\0' ? "  " : "", sizes, speed);
  } else {
    // A very narrow screen: the name and how far it is.
    char narrow[LABEL_MAX * 4 + 80];
    snprintf(narrow, sizeof narrow, "%s  %s", percent[0] != '\0' ? percent : sizes, label);
    size_t cut = 0;
    for (size_t columns = 0; narrow[cut] != '\0' && (columns < width || ((unsigned char)narrow[cut] & 0xc0) == 0x80);)
      columns += ((unsigned char)narrow[cut++] & 0xc0) != 0x80;
    narrow[cut] = '\0';
    snprintf(out, size, "%s", narrow);
  }
}

rh_progress *rh_progress_new(FILE *stream) {
  rh_progress *progress = calloc(1, sizeof *progress);
  if (progress == NULL) return NULL;
  const char *term = getenv("TERM");
  progress->stream = stream;
  progress->bars = isatty(fileno(stream)) != 0 && (term == NULL || strcmp(term, "dumb") != 0);
  progress->plain_percent = -1;
  return progress;
}

void rh_progress_free(rh_progress *progress) {
  rh_progress_end(progress, true);
  free(progress);
}

bool rh_progress_has_bars(const rh_progress *progress) { return progress != NULL && progress->bars; }

static size_t screen_width(const rh_progress *progress) {
  struct winsize size;
  if (ioctl(fileno(progress->stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return WIDTH_DEFAULT;
  // The last column is left alone: writing there makes some terminals begin a line.
  return size.ws_col > 1 ? (size_t)size.ws_col - 1 : 1;
}

static void go_back(rh_progress *progress) {
  if (progress->drawn > 0) fprintf(progress->stream, "\x1b[%zuA\r\x1b[J", progress->drawn);
  progress->drawn = 0;
}

static void draw(rh_progress *progress, const char *label, int64_t done, int64_t total, double rate, double eta_s) {
  char line[LINE_BYTES];
  rh_progress_format(line, sizeof line, label, done, total, rate, eta_s, screen_width(progress));
  rh_cli_write_text(progress->stream, line, strlen(line));
  fputc('\n', progress->stream);
  progress->drawn++;
}

static double number_or(const json_t *object, const char *key, double otherwise) {
  const json_t *value = json_object_get(object, key);
  return json_is_number(value) ? json_number_value(value) : otherwise;
}

static int64_t integer_of(const json_t *object, const char *key) { return (int64_t)number_or(object, key, 0); }

// Files under way, then one line for the rest.
static void draw_files(rh_progress *progress, const json_t *files) {
  size_t i, shown = 0, rest = 0;
  json_t *file;
  json_array_foreach(files, i, file) {
    int64_t done = integer_of(file, "completed"), total = integer_of(file, "total");
    const char *path = json_string_value(json_object_get(file, "path"));
    bool under_way = done > 0 && (total <= 0 || done < total);
    if (path == NULL || (json_array_size(files) > FILES_SHOWN_MAX && !under_way)) {
      rest++;
    } else if (shown < FILES_SHOWN_MAX) {
      draw(progress, path, done, total, -1, -1);
      shown++;
    } else {
      rest++;
    }
  }
  if (rest > 0) {
    fprintf(progress->stream, "… and %zu more\n", rest);
    progress->drawn++;
  }
}

static void write_plain(rh_progress *progress, const char *label, int64_t done, int64_t total, double rate,
                        double eta_s) {
  uint64_t now = rh_clock_now_ns();
  int64_t percent = total > 0 ? (int64_t)((double)done / (double)total * 100) : 0;
  bool last = total > 0 && done >= total && progress->plain_percent < 100;
  bool step = total > 0 && percent / PLAIN_STEP_PERCENT > progress->plain_percent / PLAIN_STEP_PERCENT;
  if (progress->plain_percent >= 0 && !last && !step && now - progress->plain_ns < PLAIN_INTERVAL_NS) return;
  char sizes[64], speed[96];
  rh_progress_format_sizes(sizes, sizeof sizes, done, total);
  append_speed(speed, sizeof speed, rate, eta_s);
  if (total > 0)
    fprintf(progress->stream, "%s: %3" PRId64 "%%  %s%s\n", label, percent, sizes, speed);
  else
    fprintf(progress->stream, "%s: %s%s\n", label, sizes, speed);
  fflush(progress->stream);
  progress->plain_ns = now;
  progress->plain_percent = percent;
}

void rh_progress_show(rh_progress *progress, const char *label, const json_t *event) {
  if (progress == NULL) return;
  const json_t *files = json_object_get(event, "files");
  int64_t done = integer_of(event, "completed"), total = integer_of(event, "total");
  double rate = number_or(event, "bytes_per_s", -1), eta_s = number_or(event, "eta_s", -1);
  if (!progress->bars) {
    write_plain(progress, label, done, total, rate, eta_s);
    return;
  }
  go_back(progress);
  if (json_array_size(files) > 1) draw_files(progress, files);
  draw(progress, label, done, total, rate, eta_s);
  fflush(progress->stream);
}

void rh_progress_show_one(rh_progress *progress, const char *label, int64_t done, int64_t total) {
  if (progress == NULL) return;
  if (!progress->bars) {
    write_plain(progress, label, done, total, -1, -1);
    return;
  }
  go_back(progress);
  draw(progress, label, done, total, -1, -1);
  fflush(progress->stream);
}

// Without its digits, so that "converting 3%" and "converting 4%" are one thing.
static bool same_words(const char *a, const char *b) {
  for (;;) {
    while (strchr("0123456789. ", *a) != NULL && *a != '\0') a++;
    while (strchr("0123456789. ", *b) != NULL && *b != '\0') b++;
    if (*a != *b) return false;
    if (*a == '\0') return true;
    a++;
    b++;
  }
}

void rh_progress_status(rh_progress *progress, const char *text) {
  if (progress == NULL) return;
  if (!progress->bars && same_words(progress->words, text)) return;
  (void)rh_text_copy(progress->words, sizeof progress->words, text);
  go_back(progress);
  rh_cli_write_text(progress->stream, text, strlen(text));
  fputc('\n', progress->stream);
  if (progress->bars) progress->drawn = 1;
  fflush(progress->stream);
}

void rh_progress_note(rh_progress *progress, const char *text) {
  if (progress == NULL) return;
  go_back(progress);
  rh_cli_write_text(progress->stream, text, strlen(text));
  fputc('\n', progress->stream);
  fflush(progress->stream);
}

void rh_progress_end(rh_progress *progress, bool keep) {
  if (progress == NULL) return;
  if (!keep) go_back(progress);
  progress->drawn = 0;
  progress->plain_percent = -1;
  fflush(progress->stream);
}
