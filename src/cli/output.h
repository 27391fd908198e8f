// SPDX-License-Identifier: Apache-2.0
//
// What goes to the terminal: colours, tables, JSON, and text from elsewhere made harmless.
#ifndef RH_CLI_OUTPUT_H
#define RH_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef enum rh_cli_style_name {
  RH_STYLE_OFF,
  RH_STYLE_BOLD,
  RH_STYLE_DIM,
  RH_STYLE_ERROR,
  RH_STYLE_GOOD,
} rh_cli_style_name;

// `wanted` is --color; NO_COLOR and a stream that is no terminal win over it.
void rh_cli_use_color(bool wanted);
// The escape sequence, or "".
const char *rh_cli_style(FILE *stream, rh_cli_style_name style);

// Writes text that a model or a server produced. On a terminal, control characters other than newline and tab are left
// out: they could move the cursor, rename the window or worse. `text` ends at a character's end.
void rh_cli_write_text(FILE *stream, const char *text, size_t length);

// Prints and releases `value` (NULL: out of memory). Returns the exit status.
int rh_cli_print_json(json_t *value);

// A table. Columns whose heading begins with '>' are set to the right.
typedef struct rh_table rh_table;
rh_table *rh_table_new(const char *const *headings);           // NULL-terminated; NULL when memory is short
void rh_table_add(rh_table *table, const char *const *cells);  // one a heading; copied; NULL is written as "-"
int rh_table_print(const rh_table *table, FILE *stream);       // exit status
int rh_table_print_free(rh_table *table, FILE *stream);
void rh_table_free(rh_table *table);  // NULL is fine

// "1.5 GiB", "-" for 0; "3m 20s".
void rh_cli_format_bytes(char *out, size_t size, long long bytes);
void rh_cli_format_seconds(char *out, size_t size, double seconds);

#endif
