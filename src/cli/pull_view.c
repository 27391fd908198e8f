// SPDX-License-Identifier: Apache-2.0
//
// Shows the events of a pull. Owns the bars. One thread. It keeps no state of the pull but its name; every event is
// shown as it comes.
#include "cli/pull_view.h"

#include <string.h>

#include "base/text.h"
#include "cli/output.h"

void rh_pull_view_init(rh_pull_view *view, bool json, bool dry_run) {
  *view = (rh_pull_view){.json = json, .dry_run = dry_run};
  if (!json) view->progress = rh_progress_new(stderr);
}

void rh_pull_view_free(rh_pull_view *view) {
  rh_progress_free(view->progress);
  view->progress = NULL;
}

static const char *text_of(const json_t *event, const char *key, const char *otherwise) {
  const char *text = json_string_value(json_object_get(event, key));
  return text != NULL && text[0] != '\0' ? text : otherwise;
}

static double number_of(const json_t *event, const char *key) { return json_number_value(json_object_get(event, key)); }

static bool is(const json_t *event, const char *name) { return strcmp(text_of(event, "event", ""), name) == 0; }

static void full_name(const json_t *event, char *out, size_t size) {
  const char *version = text_of(event, "version", "");
  snprintf(out, size, "%s%s%s", text_of(event, "name", "?"), version[0] != '\0' ? ":" : "", version);
}

static void resolved_sentence(const json_t *event, char *out, size_t size) {
  char name[300], bytes[32], missing[32], part[64] = "";
  double all = number_of(event, "bytes"), wanted = number_of(event, "missing_bytes");
  size_t count = json_array_size(json_object_get(event, "files"));
  full_name(event, name, sizeof name);
  rh_cli_format_bytes(bytes, sizeof bytes, (long long)all);
  rh_cli_format_bytes(missing, sizeof missing, (long long)wanted);
  if (wanted > 0 && wanted < all) snprintf(part, sizeof part, ", %s of it missing", missing);
  char what[160] = "its files and size are seen when it is here";
  if (count > 0)
    snprintf(what, sizeof what, "%zu file%s, %s%s", count, count == 1 ? "" : "s",
             all > 0 ? bytes : "size unknown until it is here", part);
  if (json_is_true(json_object_get(event, "already")))
    snprintf(out, size, "%s is there already", name);
  else
    snprintf(out, size, "pulling %s from %s: %s, licence %s", name, text_of(event, "source", "?"), what,
             text_of(event, "licence", "not stated yet"));
}

void rh_pull_view_sentence(const json_t *event, char *out, size_t size) {
  char seconds[32];
  out[0] = '\0';
  if (is(event, "resolved")) {
    resolved_sentence(event, out, size);
  } else if (is(event, "waiting")) {
    snprintf(out, size, "waiting for %s", text_of(event, "for", "another process"));
  } else if (is(event, "retry")) {
    rh_cli_format_seconds(seconds, sizeof seconds, number_of(event, "wait_s"));
    snprintf(out, size, "%s: %s; trying again in %s (attempt %d)", text_of(event, "file", "the source"),
             text_of(event, "reason", "it failed"), seconds, (int)number_of(event, "attempt"));
  } else if (is(event, "unpacking")) {
    snprintf(out, size, "unpacking %s", text_of(event, "file", "the package"));
  }
}

static void print_result(const json_t *event) {
  char name[300], bytes[32], seconds[32];
  full_name(event, name, sizeof name);
  rh_cli_format_bytes(bytes, sizeof bytes, (long long)number_of(event, "bytes"));
  rh_cli_format_seconds(seconds, sizeof seconds, number_of(event, "seconds"));
  if (json_is_true(json_object_get(event, "already")))
    printf("%s%s%s is in the store (%s)\n", rh_cli_style(stdout, RH_STYLE_BOLD), name,
           rh_cli_style(stdout, RH_STYLE_OFF), bytes);
  else
    printf("%s%s%s is in the store (%s, verified, took %s)\n", rh_cli_style(stdout, RH_STYLE_BOLD), name,
           rh_cli_style(stdout, RH_STYLE_OFF), bytes, seconds);
  fflush(stdout);
}

static void print_field(const char *name, const char *value) {
  if (value[0] == '\0') return;
  printf("%-9s ", name);
  rh_cli_write_text(stdout, value, strlen(value));
  fputc('\n', stdout);
}

// --dry-run: what would be fetched, how much, under which licence.
static void print_plan(const json_t *event) {
  static const char *const headings[] = {"FILE", ">SIZE", "SHA256", NULL};
  char name[300], bytes[32], missing[32], size[96];
  full_name(event, name, sizeof name);
  rh_cli_format_bytes(bytes, sizeof bytes, (long long)number_of(event, "bytes"));
  rh_cli_format_bytes(missing, sizeof missing, (long long)number_of(event, "missing_bytes"));
  bool already = json_is_true(json_object_get(event, "already"));
  if (number_of(event, "bytes") <= 0)
    snprintf(size, sizeof size, "unknown until it is fetched");
  else
    snprintf(size, sizeof size, "%s, %s to fetch", bytes, already ? "nothing" : missing);
  print_field("name", name);
  print_field("source", text_of(event, "source", ""));
  print_field("format", text_of(event, "format", ""));
  print_field("licence", text_of(event, "licence", "not stated"));
  print_field("terms", text_of(event, "licence_note", ""));
  print_field("size", size);
  size_t i;
  json_t *file;
  const json_t *files = json_object_get(event, "files");
  if (json_array_size(files) == 0) return;
  fputc('\n', stdout);
  rh_table *table = rh_table_new(headings);
  json_array_foreach(files, i, file) {
    rh_cli_format_bytes(bytes, sizeof bytes, (long long)number_of(file, "bytes"));
    rh_table_add(table, (const char *const[]){text_of(file, "path", "?"), bytes, text_of(file, "sha256", "")});
  }
  (void)rh_table_print_free(table, stdout);
}

static void on_resolved(rh_pull_view *view, const json_t *event) {
  full_name(event, view->label, sizeof view->label);
  if (view->dry_run) {
    print_plan(event);
    return;
  }
  char text[1024];
  rh_pull_view_sentence(event, text, sizeof text);
  rh_progress_note(view->progress, text);
  const char *note = text_of(event, "licence_note", "");
  if (note[0] == '\0') return;
  snprintf(text, sizeof text, "terms: %s", note);
  rh_progress_note(view->progress, text);
}

void rh_pull_view_event(rh_pull_view *view, const json_t *event) {
  if (view->json) {
    (void)json_dumpf(event, stdout, JSON_COMPACT);
    fputc('\n', stdout);
    fflush(stdout);
    return;
  }
  char text[1024];
  const char *label = view->label[0] != '\0' ? view->label : "pulling";
  if (is(event, "resolved")) {
    on_resolved(view, event);
  } else if (is(event, "progress")) {
    rh_progress_show(view->progress, label, event);
  } else if (is(event, "verifying")) {
    // Without a terminal the result is enough.
    if (!rh_progress_has_bars(view->progress)) return;
    snprintf(text, sizeof text, "verifying %.200s", text_of(event, "file", label));
    rh_progress_show_one(view->progress, text, (int64_t)number_of(event, "completed"),
                         (int64_t)number_of(event, "total"));
  } else if (is(event, "converting")) {
    snprintf(text, sizeof text, "converting to GGUF: %3.0f%%", number_of(event, "fraction") * 100);
    rh_progress_status(view->progress, text);
  } else if (is(event, "done")) {
    rh_progress_end(view->progress, true);
    if (!view->dry_run) print_result(event);
  } else if (is(event, "error")) {
    rh_progress_end(view->progress, true);
  } else {
    rh_pull_view_sentence(event, text, sizeof text);
    if (text[0] != '\0') rh_progress_note(view->progress, text);
  }
}
