// SPDX-License-Identifier: Apache-2.0
//
// The table of code points: unicode.txt, which is compiled in, laid out in pages at first use (about 2 ms). The tables are
// this file's own and fixed in size; after rh_unicode_prepare they are only read, so any thread may. The text is ours, so
// whatever is wrong with it is an assertion. Normal forms are in unicode_forms.c.
#include "text/unicode.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "text/unicode_private.h"

extern const unsigned char rh_unicode_txt[];
extern const size_t rh_unicode_txt_length;

uint16_t rh_char_stage[(RH_CODE_MAX + 1) >> RH_CHAR_PAGE_BITS];
uint16_t rh_char_pages[RH_CHAR_PAGES_MAX][1 << RH_CHAR_PAGE_BITS];
rh_char rh_char_kinds[RH_CHAR_KINDS_MAX];

const char rh_category_names[30][3] = {
    "Cc", "Cf", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl", "No",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs", "Cn",
};
#define UNASSIGNED 29

static const char *const grapheme_names[] = {
    "-",       "CR",          "LF", "Control", "Extend", "ZWJ", "Regional_Indicator",
    "Prepend", "SpacingMark", "L",  "V",       "T",      "LV",  "LVT",
};

typedef struct lower_run {
  uint32_t first, last;
  int32_t stride, delta;
} lower_run;

#define LOWER_RUNS_MAX 512
static lower_run lowers[LOWER_RUNS_MAX];
static size_t lower_count;
static uint32_t lower_double[3];  // the one code point whose lower case is two: it, and these

static size_t page_count, kind_count;
static bool page_is_shared[RH_CHAR_PAGES_MAX];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint16_t kind_of(const rh_char *wanted) {
  for (size_t i = kind_count; i-- > 0;) {  // the newest are the likeliest
    if (memcmp(&rh_char_kinds[i], wanted, sizeof *wanted) == 0) return (uint16_t)i;
  }
  assert(kind_count < RH_CHAR_KINDS_MAX);
  rh_char_kinds[kind_count] = *wanted;
  return (uint16_t)kind_count++;
}

// Whoever writes gets a page of his own.
static uint16_t *own_page(uint32_t code) {
  uint16_t *stage = &rh_char_stage[code >> RH_CHAR_PAGE_BITS];
  if (page_is_shared[*stage]) {
    assert(page_count < RH_CHAR_PAGES_MAX);
    memcpy(rh_char_pages[page_count], rh_char_pages[*stage], sizeof rh_char_pages[0]);
    *stage = (uint16_t)page_count++;
  }
  return rh_char_pages[*stage];
}

static void set_kind(uint32_t code, uint16_t kind) { own_page(code)[code & ((1u << RH_CHAR_PAGE_BITS) - 1)] = kind; }

void rh_unicode_add_flags(uint32_t code, unsigned flags) {
  rh_char changed = *rh_char_of(code);
  changed.flags = (uint16_t)(changed.flags | flags);
  set_kind(code, kind_of(&changed));
}

// Long runs (private use, ideographs) share one page for all their whole pages.
static void fill(uint32_t first, uint32_t last, uint16_t kind) {
  uint32_t size = 1u << RH_CHAR_PAGE_BITS;
  size_t shared = 0;
  for (uint32_t code = first; code <= last;) {
    bool whole = code % size == 0 && last - code >= size - 1;
    if (!whole) {
      set_kind(code++, kind);
      continue;
    }
    if (shared == 0) {
      assert(page_count < RH_CHAR_PAGES_MAX);
      shared = page_count++;
      page_is_shared[shared] = true;
      for (size_t i = 0; i < size; i++) rh_char_pages[shared][i] = kind;
    }
    rh_char_stage[code >> RH_CHAR_PAGE_BITS] = (uint16_t)shared;
    code += size;
  }
}

static uint16_t flags_of(const char *word) {
  static const char letters[] = "wnpscmkdoxCLE";  // bit by bit
  uint16_t flags = 0;
  if (strcmp(word, "-") == 0) return 0;
  for (; *word != '\0'; word++) {
    const char *found = strchr(letters, *word);
    assert(found != NULL);
    flags = (uint16_t)(flags | 1u << (found - letters));
  }
  return flags;
}

static uint8_t grapheme_of(const char *word) {
  uint8_t i = 0;
  while (strcmp(grapheme_names[i], word) != 0) i++;
  return i;
}

static uint32_t category_of(const char *word) {
  unsigned i = 0;
  while (strcmp(rh_category_names[i], word) != 0) i++;
  return 1u << i;
}

static uint32_t hex(const char *word) { return (uint32_t)strtoul(word, NULL, 16); }

static void read_line(char *line) {
  char *words[8] = {0};
  size_t count = 0;
  char *rest = NULL;
  for (char *word = strtok_r(line, " ", &rest); word != NULL && count < 8; word = strtok_r(NULL, " ", &rest)) {
    words[count++] = word;
  }
  if (count == 0 || words[0][0] == '#') return;
  if (strcmp(words[0], "lower") == 0) {
    assert(count == 5 && lower_count < LOWER_RUNS_MAX);
    lowers[lower_count++] = (lower_run){.first = hex(words[1]),
                                        .last = hex(words[2]),
                                        .stride = (int32_t)strtol(words[3], NULL, 10),
                                        .delta = (int32_t)strtol(words[4], NULL, 10)};
  } else if (strcmp(words[0], "lower2") == 0) {
    assert(count == 4 && lower_double[0] == 0);
    for (size_t i = 0; i < 3; i++) lower_double[i] = hex(words[1 + i]);
  } else {
    assert(count == 6);
    rh_char kind = {.category = category_of(words[2]),
                    .flags = flags_of(words[3]),
                    .script = (uint8_t)strtoul(words[4], NULL, 10),
                    .grapheme = grapheme_of(words[5])};
    fill(hex(words[0]), hex(words[1]), kind_of(&kind));
  }
}

static void read_table(void) {
  char line[128];
  size_t length = 0;
  for (size_t i = 0; i < rh_unicode_txt_length; i++) {
    char byte = (char)rh_unicode_txt[i];
    if (byte != '\n') {
      assert(length + 1 < sizeof line);
      line[length++] = byte;
      continue;
    }
    line[length] = '\0';
    read_line(line);
    length = 0;
  }
}

static void prepare(void) {
  static_assert(sizeof(rh_char) == 8, "kinds are compared as bytes");
  rh_char_kinds[0] = (rh_char){.category = 1u << UNASSIGNED};
  kind_count = page_count = 1;
  page_is_shared[0] = true;  // of everything that the text does not name
  read_table();
  for (size_t i = 0; i < lower_count; i++) {
    for (uint32_t code = lowers[i].first; code <= lowers[i].last; code += (uint32_t)lowers[i].stride) {
      rh_unicode_add_flags(code, RH_CHAR_LOWERS);
    }
  }
  rh_unicode_add_flags(lower_double[0], RH_CHAR_LOWERS);
  rh_unicode_prepare_forms();
}

void rh_unicode_prepare(void) {
  int failed = pthread_once(&once, prepare);
  assert(failed == 0);
  (void)failed;
}

size_t rh_char_lower(uint32_t code, uint32_t out[3]) {
  out[0] = code;
  if (!rh_char_is(code, RH_CHAR_LOWERS)) return 1;
  if (code == lower_double[0]) {
    out[0] = lower_double[1];
    out[1] = lower_double[2];
    return 2;
  }
  size_t low = 0, high = lower_count;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    if (lowers[middle].first <= code)
      low = middle;
    else
      high = middle;
  }
  // Runs of every second code point may lie within each other.
  for (size_t i = low + 1; i-- > 0 && low - i < 4;) {
    const lower_run *run = &lowers[i];
    if (code < run->first || code > run->last || (code - run->first) % (uint32_t)run->stride != 0) continue;
    out[0] = (uint32_t)((int32_t)code + run->delta);
    return 1;
  }
  assert(false && "a code point that has a lower case lies in one of the runs");
  return 1;
}
