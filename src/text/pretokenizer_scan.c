// SPDX-License-Identifier: Apache-2.0
//
// The patterns that most byte-level tokenizers share, cut by hand: several times as fast as through PCRE2, and with the
// Unicode of the package. Used only when a file's pattern is one of them to the letter; a test holds them against PCRE2.
// Every character belongs to a match, so each match is a piece. Pure functions; any thread.
#include <string.h>

#include "text/pretokenizer_private.h"

enum { OTHER, LETTER, NUMBER, SPACE };

typedef struct scan {
  const char *bytes;
  size_t end;
} scan;

static inline int kind_of(uint32_t code) {
  const rh_char *kind = rh_char_of(code);
  if ((kind->category & RH_CATEGORY_LETTER) != 0) return LETTER;
  if ((kind->category & RH_CATEGORY_NUMBER) != 0) return NUMBER;
  return (kind->flags & RH_CHAR_SPACE) != 0 ? SPACE : OTHER;
}

// The kind of the character at a place, and where the next one begins. -1 at the end.
static inline int look(const scan *text, size_t at, size_t *next) {
  if (at >= text->end) {
    *next = at;
    return -1;
  }
  uint8_t byte = (uint8_t)text->bytes[at];
  if (byte < 0x80) {
    *next = at + 1;
    if (rh_char_is_letter_ascii(byte)) return LETTER;
    if (byte == ' ') return SPACE;
    if (rh_char_is_digit_ascii(byte)) return NUMBER;
    return byte >= '\t' && byte <= '\r' ? SPACE : OTHER;
  }
  uint32_t code;
  *next = at + rh_char_read(text->bytes + at, text->bytes + text->end, &code);
  return kind_of(code);
}

// Behind all of one kind.
static size_t skip(const scan *text, size_t at, int kind) {
  size_t next;
  while (look(text, at, &next) == kind) at = next;
  return at;
}

static bool is_newline(const scan *text, size_t at) {
  return at < text->end && (text->bytes[at] == '\n' || text->bytes[at] == '\r');
}

// Behind 's, 't, 're, 've, 'm, 'll, 'd, where `at` is the quote; `at` when there is none. Folded, U+017F is an s too.
static size_t contraction(const scan *text, size_t at, bool folds) {
  size_t left = text->end - at - 1;
  const char *after = text->bytes + at + 1;
  if (left == 0) return at;
  char first = after[0], second = left > 1 ? after[1] : '\0';
  if (folds && left > 1 && (uint8_t)first == 0xC5 && (uint8_t)second == 0xBF) return at + 3;
  if (folds) {
    first = (char)(first >= 'A' && first <= 'Z' ? first + 32 : first);
    second = (char)(second >= 'A' && second <= 'Z' ? second + 32 : second);
  }
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
  return first == 'l' && second == 'l' ? at + 3 : at;
}

// \s+(?!\S)|\s+ : all of it at the end of the text, else all but the last, which goes with the next word; a single one
// stands alone.
static size_t spaces(const scan *text, size_t at) {
  size_t last = at, next;
  size_t i = at;
  while (look(text, i, &next) == SPACE) {
    last = i;
    i = next;
  }
  return i == text->end || last == at ? i : last;
}

void rh_cut_gpt2(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  (void)step;
  scan text = {bytes, end};
  for (size_t at = start; at < end;) {
    size_t next, after, stop = at;
    int kind = look(&text, at, &next);
    if (bytes[at] == '\'') stop = contraction(&text, at, false);
    if (stop == at && bytes[at] == ' ') {
      int follows = look(&text, next, &after);
      stop = follows >= 0 && follows != SPACE ? skip(&text, after, follows) : spaces(&text, at);
    } else if (stop == at) {
      stop = kind == SPACE ? spaces(&text, at) : skip(&text, next, kind);
    }
    rh_cutter_add(out, at, stop);
    at = stop;
  }
}

// \s*[\r\n]+ : up to behind the last line end among the white space; `at` when there is none.
static size_t lines(const scan *text, size_t at) {
  size_t found = at, next;
  while (look(text, at, &next) == SPACE) {
    if (is_newline(text, at)) found = next;
    at = next;
  }
  return found;
}

// ` ?[^\s\p{L}\p{N}]+[\r\n]*`, from the first that is neither.
static size_t others(const scan *text, size_t at) {
  at = skip(text, at, OTHER);
  while (is_newline(text, at)) at++;
  return at;
}

static size_t digits(const scan *text, size_t at, unsigned max) {
  size_t next;
  for (unsigned i = 0; i < max && look(text, at, &next) == NUMBER; i++) at = next;
  return at;
}

void rh_cut_cl100k(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out) {
  scan text = {bytes, end};
  for (size_t at = start; at < end;) {
    size_t next, after, stop = at;
    int kind = look(&text, at, &next);
    if (kind == LETTER) {
      stop = skip(&text, next, LETTER);
    } else if (kind == NUMBER) {
      stop = digits(&text, at, step->digits_max);
    } else {
      if (bytes[at] == '\'') stop = contraction(&text, at, true);
      int follows = look(&text, next, &after);
      if (stop == at && follows == LETTER && !is_newline(&text, at))
        stop = skip(&text, after, LETTER);
      else if (stop == at && kind == OTHER)
        stop = others(&text, next);
      else if (stop == at && bytes[at] == ' ' && follows == OTHER)
        stop = others(&text, after);
      if (stop == at) stop = lines(&text, at);
      if (stop == at) stop = spaces(&text, at);
    }
    rh_cutter_add(out, at, stop);
    at = stop;
  }
}

#define CL100K_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CL100K_HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"

static const struct {
  const char *pattern;
  rh_cut cut;
  unsigned digits_max;
} known[] = {
    {RH_PATTERN_GPT2, rh_cut_gpt2, 0},
    {CL100K_HEAD "\\p{N}{1,3}" CL100K_TAIL, rh_cut_cl100k, 3},  // cl100k, Llama 3
    {CL100K_HEAD "\\p{N}" CL100K_TAIL, rh_cut_cl100k, 1},       // Qwen
};

bool rh_scan_for(const char *pattern, size_t length, rh_pretokenizer_step *step) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strlen(known[i].pattern) != length || memcmp(known[i].pattern, pattern, length) != 0) continue;
    step->cut = known[i].cut;
    step->digits_max = known[i].digits_max;
    return true;
  }
  return false;
}
