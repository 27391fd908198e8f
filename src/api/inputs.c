// SPDX-License-Identifier: Apache-2.0
//
// Inputs of tasks that do not generate: texts, pairs and rows of token ids, in the shapes that clients send them. What they
// become lives in the request's arena. Pure, any thread. Tensors are in tensors.c.
#include <stdio.h>
#include <string.h>

#include "api/infer.h"

#define PATH_BYTES 64

rh_status rh_infer_begin(rh_decoding *decoding, rh_task task) {
  decoding->infer = rh_api_alloc_array(decoding, 1, sizeof *decoding->infer);
  if (decoding->infer == NULL) return RH_TOO_LARGE;
  decoding->request->task = task;
  decoding->request->infer = decoding->infer;
  return RH_OK;
}

// --- items ---------------------------------------------------------------------------------------------------------

static rh_status copy_text(rh_decoding *decoding, const json_t *value, const char **text, size_t *length) {
  *length = json_string_length(value);
  *text = "";
  return *length == 0 ? RH_OK : rh_api_copy_string(decoding, json_string_value(value), text);
}

static rh_status read_pair(rh_decoding *decoding, const json_t *text, const json_t *pair, const char *path,
                           rh_item *item) {
  if (!json_is_string(text) || (pair != NULL && !json_is_string(pair))) {
    return rh_fail_param(decoding->error, RH_INVALID, path,
                         "\"%s\" must have the strings \"text\" and, for a pair, \"text_pair\"", path);
  }
  rh_status status = copy_text(decoding, text, &item->text, &item->length);
  if (status == RH_OK && pair != NULL) status = copy_text(decoding, pair, &item->pair, &item->pair_length);
  return status;
}

static rh_status read_item(rh_decoding *decoding, const json_t *value, const char *path, bool pairs, rh_item *item) {
  if (json_is_string(value)) return copy_text(decoding, value, &item->text, &item->length);
  const json_t *first = json_array_get(value, 0);
  if (pairs && json_is_object(value)) {
    const json_t *pair = json_object_get(value, "text_pair");
    return read_pair(decoding, json_object_get(value, "text"), json_is_null(pair) ? NULL : pair, path, item);
  }
  if (pairs && json_is_string(first) && json_array_size(value) == 2) {
    return read_pair(decoding, first, json_array_get(value, 1), path, item);
  }
  if (json_is_array(value) && !json_is_string(first))
    return rh_api_decode_tokens(decoding, value, path, &item->tokens, &item->token_count);
  return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" must be a string%s or an array of token ids, not %s",
                       path, pairs ? ", a pair {\"text\", \"text_pair\"}" : "", rh_json_type_name(value));
}

static rh_item *alloc_items(rh_decoding *decoding, size_t count, const char *path, const char *what) {
  if (count == 0) {
    (void)rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is an empty array", path);
    return NULL;
  }
  if (count > RH_ITEMS_MAX) {
    (void)rh_fail_param(decoding->error, RH_INVALID, path, "%zu %s; one request may have %d", count, what,
                        RH_ITEMS_MAX);
    return NULL;
  }
  rh_item *items = rh_api_alloc_array(decoding, count, sizeof *items);
  decoding->infer->items = items;
  decoding->infer->item_count = count;
  return items;
}

// What was written to the caller's error, where there is one.
static rh_status refused(const rh_decoding *decoding) {
  return decoding->error != NULL ? decoding->error->status : RH_INVALID;
}

rh_status rh_infer_read_inputs(rh_decoding *decoding, const json_t *value, const char *path, bool pairs) {
  if (value == NULL || json_is_null(value)) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is missing", path);
  }
  bool single = !json_is_array(value) || json_is_integer(json_array_get(value, 0));
  rh_item *items = alloc_items(decoding, single ? 1 : json_array_size(value), path, "inputs");
  if (items == NULL) return refused(decoding);
  if (single) return read_item(decoding, value, path, pairs, items);
  for (size_t i = 0; i < decoding->infer->item_count; i++) {
    char where[PATH_BYTES];
    (void)snprintf(where, sizeof where, "%s[%zu]", path, i);
    rh_status status = read_item(decoding, json_array_get(value, i), where, pairs, &items[i]);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

rh_status rh_infer_read_documents(rh_decoding *decoding, const char *query, const json_t *documents, const char *path) {
  if (documents == NULL || json_is_null(documents)) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" is missing", path);
  }
  if (!json_is_array(documents)) {
    return rh_fail_param(decoding->error, RH_INVALID, path, "\"%s\" must be an array of texts, not %s", path,
                         rh_json_type_name(documents));
  }
  rh_item *items = alloc_items(decoding, json_array_size(documents), path, "documents");
  if (items == NULL) return refused(decoding);
  size_t length = strlen(query);
  for (size_t i = 0; i < decoding->infer->item_count; i++) {
    const json_t *value = json_array_get(documents, i);
    const json_t *text = json_is_object(value) ? json_object_get(value, "text") : value;
    if (!json_is_string(text)) {
      char where[PATH_BYTES];
      (void)snprintf(where, sizeof where, "%s[%zu]", path, i);
      return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be a text, or an object with a \"text\"",
                           where);
    }
    items[i] = (rh_item){.text = query, .length = length};
    rh_status status = copy_text(decoding, text, &items[i].pair, &items[i].pair_length);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// --- rows ----------------------------------------------------------------------------------------------------------

rh_status rh_field_choice(rh_decoding *decoding, const rh_field *field) {
  bool value = false;
  rh_status status = rh_json_get_bool(decoding->body, decoding->path, field->name, &value, decoding->error);
  if (status != RH_OK) return status;
  rh_choice *out = (rh_choice *)(void *)((char *)decoding->infer + field->offset);
  *out = value ? RH_CHOICE_YES : RH_CHOICE_NO;
  return RH_OK;
}

rh_status rh_field_truncate(rh_decoding *decoding, const rh_field *field) {
  bool value = true;
  rh_status status = rh_json_get_bool(decoding->body, decoding->path, field->name, &value, decoding->error);
  if (status == RH_OK) decoding->infer->refuse_long = !value;
  if (status == RH_OK) decoding->infer->cut_long = value;
  return status;
}

rh_status rh_field_encoding(rh_decoding *decoding, const rh_field *field) {
  const char *word = "";
  rh_status status = rh_json_get_string(decoding->body, decoding->path, field->name, &word, decoding->error);
  if (status != RH_OK) return status;
  bool base64 = strcmp(word, "base64") == 0;
  if (!base64 && strcmp(word, "float") != 0) {
    return rh_fail_param(decoding->error, RH_INVALID, field->name,
                         "\"%s\" must be \"float\" or \"base64\", not \"%.32s\"", field->name, word);
  }
  decoding->notes->base64 = base64;
  return RH_OK;
}

rh_status rh_field_strings(rh_decoding *decoding, const char *name, size_t most, const char *const **out,
                           size_t *count) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(decoding->body, decoding->path, name, &list, decoding->error);
  if (status != RH_OK) return status;
  *count = json_array_size(list);
  if (*count == 0 || *count > most) {
    return rh_fail_param(decoding->error, RH_INVALID, name, "\"%s\" has %zu entries; it may have 1 to %zu", name,
                         *count, most);
  }
  const char **texts = rh_api_alloc_array(decoding, *count, sizeof *texts);
  if (texts == NULL) return RH_TOO_LARGE;
  for (size_t i = 0; i < *count; i++) {
    const json_t *value = json_array_get(list, i);
    if (!json_is_string(value) || json_string_length(value) == 0 ||
        json_string_length(value) > RH_API_PROMPT_BYTES_MAX) {
      char where[PATH_BYTES];
      (void)snprintf(where, sizeof where, "%s[%zu]", name, i);
      return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" must be a string of 1 to %d bytes", where,
                           RH_API_PROMPT_BYTES_MAX);
    }
    status = rh_api_copy_string(decoding, json_string_value(value), &texts[i]);
    if (status != RH_OK) return status;
  }
  *out = texts;
  return RH_OK;
}
