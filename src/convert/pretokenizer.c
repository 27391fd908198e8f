// SPDX-License-Identifier: Apache-2.0
//
// Purpose: recognise a byte-level tokenizer's way of cutting text into words, by the steps that tokenizer.json lists and not
// by a model's name. llama.cpp has these ways built in; another way would give other tokens without any error.
// Data owned: constants. Threads: any. Not here: cutting anything.
#include "convert/pretokenizer.h"

#include <stdbool.h>
#include <string.h>

#define DEPTH_MAX 8
#define STEPS_BYTES_MAX 16384

#define ENGLISH_ENDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define WORDS(digits) ENGLISH_ENDS "|" BEFORE "\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" SPACES

// Sources: the tokenizer.json of the models named, and the notes beside llama.cpp's own expressions.
static const struct {
  const char *steps;
  const char *name;
  const char *name_ignoring_merges;  // for tokenizers that take a whole word from the vocabulary before they merge
} known[] = {
    // GPT-2, Phi-2
    {"bytes(regex)", "gpt-2", NULL},
    // SmolLM, StarCoder
    {"digits(each) + bytes(regex)", "smollm", NULL},
    // Qwen 2, 2.5, 3
    {"split(Isolated):" WORDS("\\p{N}") " + bytes", "qwen2", NULL},
    // DBRX and Smaug as they are; Llama 3 with "ignore_merges"
    {"split(Isolated):" WORDS("\\p{N}{1,3}") " + bytes", "dbrx", "llama-bpe"},
    // Qwen 3.5
    {"split(Isolated):" ENGLISH_ENDS "|" BEFORE "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACES
     " + bytes",
     "qwen35", NULL},
    // GPT-4o, Phi-4-mini
    {"split(Isolated):" BEFORE UPPER "*" LOWER "+" ENGLISH_ENDS "?|" BEFORE UPPER "+" LOWER "*" ENGLISH_ENDS
     "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES " + bytes",
     "gpt-4o", NULL},
    // Mistral's Tekken
    {"split(Isolated):" BEFORE UPPER "*" LOWER "+|" BEFORE UPPER "+" LOWER
     "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES " + bytes",
     NULL, "tekken"},
};

static bool flag(const json_t *step, const char *key, bool otherwise) {
  const json_t *value = json_object_get(step, key);
  return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static void describe_split(const json_t *step, rh_dynbuf *out) {
  const char *behavior = json_string_value(json_object_get(step, "behavior"));
  const json_t *pattern = json_object_get(step, "pattern");
  const char *regex = json_string_value(json_object_get(pattern, "Regex"));
  const char *text = json_string_value(json_object_get(pattern, "String"));
  (void)rh_dynbuf_printf(out, "split(%s%s)%s:", behavior != NULL ? behavior : "?",
                         flag(step, "invert", false) ? ",invert" : "", regex == NULL ? ",text" : "");
  (void)rh_dynbuf_append_text(out, regex != NULL ? regex : text != NULL ? text : "?");
}

static rh_status describe_step(const json_t *step, unsigned depth, rh_dynbuf *out) {
  const char *type = json_string_value(json_object_get(step, "type"));
  if (type == NULL) return out->failed ? RH_TOO_LARGE : RH_OK;
  if (strcmp(type, "Sequence") == 0) {
    const json_t *steps = json_object_get(step, "pretokenizers");
    for (size_t i = 0; i < json_array_size(steps) && depth < DEPTH_MAX; i++)
      (void)describe_step(json_array_get(steps, i), depth + 1, out);
    return out->failed ? RH_TOO_LARGE : RH_OK;
  }
  if (out->length > 0) (void)rh_dynbuf_append_text(out, " + ");
  if (strcmp(type, "Split") == 0) {
    describe_split(step, out);
  } else if (strcmp(type, "Digits") == 0) {
    (void)rh_dynbuf_append_text(out, flag(step, "individual_digits", false) ? "digits(each)" : "digits");
  } else if (strcmp(type, "ByteLevel") == 0) {
    // Space before the first word is an option of its own in GGUF, which byte-level vocabularies do not have.
    (void)rh_dynbuf_append_text(out, flag(step, "use_regex", true) ? "bytes(regex)" : "bytes");
    if (flag(step, "add_prefix_space", true)) (void)rh_dynbuf_append_text(out, "(space)");
  } else {
    (void)rh_dynbuf_append_text(out, type);
  }
  return out->failed ? RH_TOO_LARGE : RH_OK;
}

rh_status rh_pretokenizer_describe(const json_t *pre_tokenizer, rh_dynbuf *out) {
  return describe_step(pre_tokenizer, 0, out);
}

static const char *look_up(const char *steps, bool ignores_merges) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(known[i].steps, steps) != 0) continue;
    if (ignores_merges && known[i].name_ignoring_merges != NULL) return known[i].name_ignoring_merges;
    return known[i].name;
  }
  return NULL;
}

rh_status rh_pretokenizer_find(const json_t *tokenizer, const char **out, rh_error *error) {
  rh_dynbuf steps;
  rh_dynbuf_init(&steps, STEPS_BYTES_MAX);
  (void)rh_pretokenizer_describe(json_object_get(tokenizer, "pre_tokenizer"), &steps);
  const char *processor = json_string_value(json_object_get(json_object_get(tokenizer, "post_processor"), "type"));
  bool roberta = processor != NULL && strcmp(processor, "RobertaProcessing") == 0;
  *out = steps.failed
             ? NULL
             : look_up(rh_dynbuf_data(&steps), flag(json_object_get(tokenizer, "model"), "ignore_merges", false));
  // The same words, but sentences stand between <s> and </s>.
  if (roberta && *out != NULL && strcmp(*out, "gpt-2") == 0) *out = "roberta-bpe";
  rh_status status = RH_OK;
  if (*out == NULL)
    status = rh_fail(
        error, RH_UNSUPPORTED,
        "tokenizer.json cuts text into words in a way that is not known here: %.400s. If llama.cpp has it by another "
        "name, say --pre NAME",
        rh_dynbuf_data(&steps));
  rh_dynbuf_free(&steps);
  return status;
}
