// SPDX-License-Identifier: Apache-2.0
//
// Purpose: general.*: the name, the size, and what the model card (README.md) says of licence and languages.
// The card begins with YAML between two lines "---"; only its plain "key: value" and "- item" lines are read here.
// Data owned: none. Threads: one. Not here: general.architecture and general.file_type.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"
#include "convert/model.h"

#define CARD_BYTES_MAX ((size_t)1 << 20)
#define LANGUAGES_MAX 64
#define WORD_MAX 256

// The next line of the text at *at, without quotes and white space at its ends; false at the end.
static bool next_line(const char **at, char *out, size_t size) {
  if (**at == '\0') return false;
  const char *end = strchr(*at, '\n');
  const char *stop = end != NULL ? end : *at + strlen(*at);
  size_t length = (size_t)(stop - *at);
  while (length > 0 && strchr(" \t\r", (*at)[length - 1]) != NULL) length--;
  if (length >= size) length = size - 1;
  memcpy(out, *at, length);
  out[length] = '\0';
  *at = end != NULL ? end + 1 : stop;
  return true;
}

static const char *unquote(char *word) {
  while (*word == ' ' || *word == '\t') word++;
  size_t length = strlen(word);
  if (length >= 2 && (word[0] == '"' || word[0] == '\'') && word[length - 1] == word[0]) {
    word[length - 1] = '\0';
    word++;
  }
  return word;
}

typedef struct card {
  char licence[WORD_MAX], licence_name[WORD_MAX], licence_link[WORD_MAX];
  char languages[LANGUAGES_MAX][16];
  size_t language_count;
} card;

static void add_language(card *out, const char *word) {
  if (out->language_count == LANGUAGES_MAX || word[0] == '\0' || strlen(word) >= sizeof out->languages[0]) return;
  if (!rh_utf8_valid(word, strlen(word))) return;
  (void)rh_text_copy(out->languages[out->language_count++], sizeof out->languages[0], word);
}

static void read_pair(card *out, const char *key, const char *value, bool *in_languages) {
  if (strcmp(key, "license") == 0) (void)rh_text_copy(out->licence, sizeof out->licence, value);
  if (strcmp(key, "license_name") == 0) (void)rh_text_copy(out->licence_name, sizeof out->licence_name, value);
  if (strcmp(key, "license_link") == 0) (void)rh_text_copy(out->licence_link, sizeof out->licence_link, value);
  *in_languages = strcmp(key, "language") == 0;
  if (*in_languages && value[0] != '[') add_language(out, value);
}

static void read_card(const char *text, card *out) {
  char line[1024];
  bool in_languages = false;
  if (!next_line(&text, line, sizeof line) || strcmp(line, "---") != 0) return;
  while (next_line(&text, line, sizeof line) && strcmp(line, "---") != 0) {
    char *item = line + strspn(line, " \t");
    if (item[0] == '-' && item[1] == ' ') {
      if (in_languages) add_language(out, unquote(item + 2));
      continue;
    }
    char *colon = strchr(line, ':');
    if (colon == NULL || item != line) continue;
    *colon = '\0';
    read_pair(out, line, unquote(colon + 1), &in_languages);
  }
}

static void write_card(const rh_conversion *self) {
  rh_dynbuf text;
  rh_error ignored;
  card found = {0};
  if (rh_source_read(self->source, "README.md", CARD_BYTES_MAX, &text, &ignored) == RH_OK)
    read_card(rh_dynbuf_data(&text), &found);
  rh_dynbuf_free(&text);
  const struct {
    const char *key, *value;
  } rows[] = {{"general.license", found.licence},
              {"general.license.name", found.licence_name},
              {"general.license.link", found.licence_link}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (rows[i].value[0] != '\0' && rh_utf8_valid(rows[i].value, strlen(rows[i].value)))
      gguf_set_val_str(self->gguf, rows[i].key, rows[i].value);
  }
  const char *languages[LANGUAGES_MAX];
  for (size_t i = 0; i < found.language_count; i++) languages[i] = found.languages[i];
  if (found.language_count > 0) gguf_set_arr_str(self->gguf, "general.languages", languages, found.language_count);
}

// "135M", "1.1B": as people call models.
static void write_size(const rh_conversion *self) {
  double total = 0;
  for (size_t i = 0; i < self->source->tensor_count; i++) total += (double)self->source->tensors[i].info->elements;
  char label[32];
  if (total >= 1e9) {
    (void)snprintf(label, sizeof label, "%.1fB", total / 1e9);
  } else if (total >= 1e6) {
    (void)snprintf(label, sizeof label, "%.0fM", total / 1e6);
  } else {
    (void)snprintf(label, sizeof label, "%.0fK", total / 1e3);
  }
  gguf_set_val_str(self->gguf, "general.size_label", label);
}

void rh_general_write(const rh_conversion *self, const char *name) {
  const char *folder = strrchr(self->source->folder, '/');
  const char *fallback = folder != NULL && folder[1] != '\0' ? folder + 1 : self->source->folder;
  if (name == NULL) name = fallback;
  gguf_set_val_str(self->gguf, "general.type", "model");
  gguf_set_val_str(self->gguf, "general.name", rh_utf8_valid(name, strlen(name)) ? name : "converted model");
  write_size(self);
  write_card(self);
}
