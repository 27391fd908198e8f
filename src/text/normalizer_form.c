// SPDX-License-Identifier: Apache-2.0
//
// NFC, NFD, NFKC and NFKD, with the offsets that the package gives: each code point of the result says whether it takes the
// place of one, was added, or swallowed others. That is known only inside the algorithm, so libutf8proc's own normalizing
// of whole strings is no help. After Unicode's UAX 15. Text that is in its form already is not copied. No state.
#include "text/normalizer_private.h"

typedef struct part {
  uint32_t code;
  int change;  // see rh_transform_put
  uint8_t class;
} part;

// A starter and the marks after it. There is no end to the marks that a text may put on one letter: beyond this many, they
// are let go in the order reached so far (Unicode's "stream-safe" format allows 30).
#define MARKS_MAX 256

typedef struct forming {
  rh_transform out;
  bool composes, compatible;
  size_t count;
  part marks[MARKS_MAX];  // pending, with a class other than 0
  bool has_starter;       // when composing: it waits for what may join it
  part starter;
} forming;

// Stable, by class. Nearly always in order, or two.
static void sort_marks(forming *form) {
  for (size_t i = 1; i < form->count; i++) {
    part moved = form->marks[i];
    size_t at = i;
    for (; at > 0 && form->marks[at - 1].class > moved.class; at--) form->marks[at] = form->marks[at - 1];
    form->marks[at] = moved;
  }
}

// Marks are complete: join to the starter what joins, and keep the rest.
static void settle_marks(forming *form) {
  sort_marks(form);
  if (!form->composes || !form->has_starter) return;
  size_t kept = 0;
  int last_class = -1;
  for (size_t i = 0; i < form->count; i++) {
    part mark = form->marks[i];
    uint32_t joined = mark.class > last_class ? rh_char_compose(form->starter.code, mark.code) : 0;
    if (joined != 0) {
      form->starter.code = joined;
      form->starter.change += mark.change - 1;
    } else {
      last_class = mark.class;
      form->marks[kept++] = mark;
    }
  }
  form->count = kept;
}

static void let_go(forming *form) {
  if (form->has_starter) rh_transform_put(&form->out, form->starter.code, form->starter.change);
  for (size_t i = 0; i < form->count; i++) rh_transform_put(&form->out, form->marks[i].code, form->marks[i].change);
  form->has_starter = false;
  form->count = 0;
}

static void push(forming *form, uint32_t code, int change) {
  uint8_t class = rh_char_combining_class(code);
  if (class != 0) {
    if (form->count == MARKS_MAX) {
      settle_marks(form);
      let_go(form);
    }
    form->marks[form->count++] = (part){code, change, class};
    return;
  }
  settle_marks(form);
  if (form->composes && form->has_starter && form->count == 0) {
    uint32_t joined = rh_char_compose(form->starter.code, code);
    if (joined != 0) {
      form->starter.code = joined;
      form->starter.change += change - 1;
      return;
    }
  }
  let_go(form);
  if (form->composes) {
    form->starter = (part){code, change, 0};
    form->has_starter = true;
  } else {
    rh_transform_put(&form->out, code, change);
  }
}

// The first character that the form may change, or the length. Where composing, the one before it may take part.
static size_t first_unsafe(const char *bytes, size_t length, bool composes, bool compatible) {
  unsigned unsafe = !composes ? RH_CHAR_DECOMPOSES : compatible ? RH_CHAR_UNSAFE_NFKC : RH_CHAR_UNSAFE_NFC;
  size_t before = 0;
  for (size_t i = 0; i < length;) {
    uint32_t code;
    size_t step = rh_char_read(bytes + i, bytes + length, &code);
    if (code >= 0x80 && rh_char_is(code, unsafe)) return composes ? before : i;
    before = i;
    i += step;
  }
  return length;
}

rh_status rh_step_form(const rh_normalizer_step *step, rh_normalizing *text) {
  const char *bytes = rh_normalizing_bytes(text);
  size_t length = rh_normalizing_length(text);
  if (rh_char_is_ascii(bytes, length)) return RH_OK;
  size_t i = first_unsafe(bytes, length, step->composes, step->compatible);
  if (i == length) return RH_OK;
  rh_status status = rh_normalizing_begin(text, length + length / 2);
  if (status == RH_OK) status = rh_mapped_append(text->other, text->now, text->start, text->start + i);
  if (status != RH_OK) return status;
  forming form;
  form.out = (rh_transform){.text = text, .at = i};
  form.composes = step->composes;
  form.compatible = step->compatible;
  form.count = 0;
  form.has_starter = false;
  while (i < length && form.out.status == RH_OK) {
    uint32_t code, parts[RH_DECOMPOSED_MAX];
    i += rh_char_read(bytes + i, bytes + length, &code);
    size_t count = rh_char_decompose(code, form.compatible, parts);
    for (size_t k = 0; k < count; k++) push(&form, parts[k], k == 0 ? 0 : 1);
  }
  settle_marks(&form);
  let_go(&form);
  if (form.out.status == RH_OK) rh_normalizing_swap(text);
  return form.out.status;
}
