// SPDX-License-Identifier: Apache-2.0
//
// Colours, tables and JSON for people and scripts. Owns one flag (colours wanted), set before any output. One thread.
#include "cli/output.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/dynbuf.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/cli.h"

#define TABLE_COLUMNS_MAX 16
#define TABLE_ROWS_MAX 10000

static bool color_wanted = true;

void rh_cli_use_color(bool wanted) { color_wanted = wanted; }

const char *rh_cli_style(FILE *stream, rh_cli_style_name style) {
  static const char *const codes[] = {
      [RH_STYLE_OFF] = "\x1b[0m",    [RH_STYLE_BOLD] = "\x1b[1m",  [RH_STYLE_DIM] = "\x1b[2m",
      [RH_STYLE_ERROR] = "\x1b[31m", [RH_STYLE_GOOD] = "\x1b[32m",
  };
  // no-color.org: any value that is not empty.
  const char *none = getenv("NO_COLOR");
  bool plain = !color_wanted || (none != NULL && none[0] != '\0') || !isatty(fileno(stream));
  return plain ? "" : codes[style];
}

static bool harmless(const unsigned char *at, size_t length) {
  if (length == 1) return at[0] >= 0x20 ? at[0] != 0x7f : at[0] == '\n' || at[0] == '\t';
  // U+0080 to U+009F are control characters too (U+009B begins a sequence like ESC [).
  return !(length == 2 && at[0] == 0xc2 && at[1] < 0xa0);
}

void rh_cli_write_text(FILE *stream, const char *text, size_t length) {
  if (!isatty(fileno(stream))) {
    fwrite(text, 1, length, stream);
    return;
  }
  for (size_t i = 0; i < length;) {
    size_t size = rh_utf8_char_length(text + i, length - i);
    if (size == 0) {
      fputs("\xef\xbf\xbd", stream);
      i++;
      continue;
    }
    if (harmless((const unsigned char *)text + i, size)) fwrite(text + i, 1, size, stream);
    i += size;
  }
}

int rh_cli_print_json(json_t *value) {
  if (value == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no memory to print the result");
  int failed = json_dumpf(value, stdout, JSON_INDENT(2));
  json_decref(value);
  fputc('\n', stdout);
  return failed == 0 ? RH_EXIT_OK : RH_EXIT_ERROR;
}

struct rh_table {
  const char *const *headings;
  size_t columns;
  char **cells;  // rows x columns
  size_t rows;
  bool failed;
};

rh_table *rh_table_new(const char *const *headings) {
  rh_table *table = calloc(1, sizeof *table);
  if (table == NULL) return NULL;
  table->headings = headings;
  while (headings[table->columns] != NULL) table->columns++;
  assert(table->columns > 0 && table->columns <= TABLE_COLUMNS_MAX);
  return table;
}

void rh_table_add(rh_table *table, const char *const *cells) {
  if (table == NULL || table->failed || table->rows >= TABLE_ROWS_MAX) return;
  char **larger = realloc(table->cells, (table->rows + 1) * table->columns * sizeof *larger);
  if (larger == NULL) {
    table->failed = true;
    return;
  }
  table->cells = larger;
  char **row = larger + table->rows * table->columns;
  for (size_t i = 0; i < table->columns; i++) {
    row[i] = strdup(cells[i] != NULL && cells[i][0] != '\0' ? cells[i] : "-");
    if (row[i] == NULL) table->failed = true;
  }
  table->rows++;
}

static size_t width_of(const char *text) {
  size_t width = 0;
  for (; *text != '\0'; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
  return width;
}

static void print_cell(FILE *stream, const char *text, size_t width, bool right, bool last) {
  size_t own = width_of(text);
  int padding = own < width ? (int)(width - own) : 0;
  if (right) fprintf(stream, "%*s", padding, "");
  rh_cli_write_text(stream, text, strlen(text));
  if (!right && !last) fprintf(stream, "%*s", padding, "");
  fputs(last ? "\n" : "  ", stream);
}

static void print_table(const rh_table *table, FILE *stream) {
  size_t widths[TABLE_COLUMNS_MAX];
  bool right[TABLE_COLUMNS_MAX];
  for (size_t c = 0; c < table->columns; c++) {
    right[c] = table->headings[c][0] == '>';
    widths[c] = width_of(table->headings[c] + right[c]);
    for (size_t r = 0; r < table->rows; r++) {
      size_t width = width_of(table->cells[r * table->columns + c]);
      if (width > widths[c]) widths[c] = width;
    }
  }
  fputs(rh_cli_style(stream, RH_STYLE_BOLD), stream);
  for (size_t c = 0; c < table->columns; c++) {
    print_cell(stream, table->headings[c] + right[c], widths[c], right[c], c + 1 == table->columns);
  }
  fputs(rh_cli_style(stream, RH_STYLE_OFF), stream);
  for (size_t i = 0; i < table->rows * table->columns; i++) {
    size_t c = i % table->columns;
    print_cell(stream, table->cells[i], widths[c], right[c], c + 1 == table->columns);
  }
}

void rh_table_free(rh_table *table) {
  if (table == NULL) return;
  for (size_t i = 0; i < table->rows * table->columns; i++) free(table->cells[i]);
  free(table->cells);
  free(table);
}

int rh_table_print(const rh_table *table, FILE *stream) {
  if (table == NULL || table->failed) return rh_cli_fail(RH_EXIT_ERROR, "no memory to print the table");
  print_table(table, stream);
  return RH_EXIT_OK;
}

int rh_table_print_free(rh_table *table, FILE *stream) {
  int code = rh_table_print(table, stream);
  rh_table_free(table);
  return code;
}

void rh_cli_format_bytes(char *out, size_t size, long long bytes) {
  if (bytes > 0)
    rh_text_format_bytes(out, size, (uint64_t)bytes);
  else
    (void)rh_text_copy(out, size, "-");
}

void rh_cli_format_seconds(char *out, size_t size, double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) seconds = 0;
  long whole = (long)seconds;
  if (seconds < 60)
    snprintf(out, size, "%.0fs", seconds);
  else if (seconds < 3600)
    snprintf(out, size, "%ldm %lds", whole / 60, whole % 60);
  else
    snprintf(out, size, "%ldh %ldm", whole / 3600, whole % 3600 / 60);
}
