// SPDX-License-Identifier: Apache-2.0
//
// Reads the licence out of a package's own description. Owns nothing. Any thread that may block. It is what the package
// says of itself: a person who must be sure reads the licence.
#include "pull/package_licence.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/dynbuf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define DESCRIPTION_BYTES_MAX ((size_t)1024 * 1024)

// One printable line, or nothing: the field of old wheels may hold a whole licence text.
static void take(char *out, size_t size, const char *text, size_t length) {
  while (length > 0 && strchr(" \t\r", text[length - 1]) != NULL) length--;
  if (length == 0 || length >= size) return;
  for (size_t i = 0; i < length; i++) {
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return;
  }
  memcpy(out, text, length);
  out[length] = '\0';
}

// Core metadata: headers until the first empty line. "License-Expression" is SPDX and wins over the older "License".
static void read_metadata(const char *text, char *out, size_t size) {
  static const char *const keys[] = {"License-Expression: ", "License: "};
  for (size_t i = 0; i < sizeof keys / sizeof *keys && out[0] == '\0'; i++) {
    for (const char *line = text; *line != '\0' && *line != '\n' && *line != '\r'; line++) {
      size_t length = strcspn(line, "\n");
      if (rh_text_starts_with(line, keys[i])) take(out, size, line + strlen(keys[i]), length - strlen(keys[i]));
      line += length;
      if (*line == '\0') break;
    }
  }
}

static void read_package_json(const char *text, size_t length, char *out, size_t size) {
  rh_error ignored = {0};
  json_t *root = rh_json_parse(text, length, &ignored);
  const char *licence = json_string_value(json_object_get(root, "license"));
  if (licence != NULL) take(out, size, licence, strlen(licence));
  json_decref(root);
}

static void read_from(const char *path, bool json, char *out, size_t size) {
  rh_dynbuf text;
  rh_error ignored = {0};
  rh_dynbuf_init(&text, DESCRIPTION_BYTES_MAX);
  if (rh_file_read(path, &text, &ignored) == RH_OK) {
    if (json)
      read_package_json(rh_dynbuf_data(&text), text.length, out, size);
    else
      read_metadata(rh_dynbuf_data(&text), out, size);
  }
  rh_dynbuf_free(&text);
}

void rh_package_licence(const char *folder, char *out, size_t size) {
  char path[4600];
  const struct dirent *entry;
  out[0] = '\0';
  DIR *list = opendir(folder);
  while (list != NULL && out[0] == '\0' && (entry = readdir(list)) != NULL) {
    if (!rh_text_ends_with(entry->d_name, ".dist-info")) continue;
    (void)snprintf(path, sizeof path, "%.4200s/%s/METADATA", folder, entry->d_name);
    read_from(path, false, out, size);
  }
  if (list != NULL) closedir(list);
  if (out[0] != '\0') return;
  (void)snprintf(path, sizeof path, "%.4200s/package.json", folder);
  read_from(path, true, out, size);
}
