// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the task "token-classify": a label for each token, and tokens of one label put together into spans; what the
// windows of a long text gave, put together.
// Data owned: none. Threads: the engine thread.
// Source of the rules: transformers' TokenClassificationPipeline with its five aggregation strategies, compared with it
// in the tests; like there, tokens labelled "O" are left out.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "task/internal.h"

static size_t best_of(const float *scores, size_t count) {
  size_t best = 0;
  for (size_t i = 1; i < count; i++) {
    if (scores[i] > scores[best]) best = i;
  }
  return best;
}

// A label that has neither prefix counts as the inside of a span.
static bool begins(const char *label) { return label[0] == 'B' && label[1] == '-'; }

static const char *tag_of(const char *label) {
  bool prefixed = (label[0] == 'B' || label[0] == 'I') && label[1] == '-';
  return prefixed ? label + 2 : label;
}

// One token's label, or one word's: by its first token, by the surest of them, or by their average.
static rh_tagged_span word_span(const rh_tagged *tokens, size_t count, size_t label_count, rh_aggregation aggregation,
                                float *scratch) {
  const float *scores = tokens[0].scores;
  if (aggregation == RH_AGGREGATION_MAX) {
    for (size_t i = 1; i < count; i++) {
      const float *other = tokens[i].scores;
      if (other[best_of(other, label_count)] > scores[best_of(scores, label_count)]) scores = other;
    }
  } else if (aggregation == RH_AGGREGATION_AVERAGE) {
    for (size_t l = 0; l < label_count; l++) {
      double sum = 0;
      for (size_t i = 0; i < count; i++) sum += (double)tokens[i].scores[l];
      scratch[l] = (float)(sum / (double)count);
    }
    scores = scratch;
  }
  size_t label = best_of(scores, label_count);
  return (rh_tagged_span){.label = (int32_t)label,
                          .score = scores[label],
                          .start = tokens[0].start,
                          .end = tokens[count - 1].end,
                          .index = tokens[0].index};
}

// Spans that stand beside each other with one tag are one, unless the second says that it begins.
static size_t group(rh_tagged_span *spans, size_t count, const char *const *labels) {
  size_t kept = 0;
  for (size_t i = 0; i < count;) {
    rh_tagged_span joined = spans[i];
    double sum = (double)spans[i].score;
    size_t next = i + 1;
    while (next < count && !begins(labels[spans[next].label]) &&
           strcmp(tag_of(labels[spans[next].label]), tag_of(labels[spans[next - 1].label])) == 0) {
      sum += (double)spans[next].score;
      joined.end = spans[next].end;
      next++;
    }
    joined.score = (float)(sum / (double)(next - i));
    joined.group = true;
    joined.index = -1;
    spans[kept++] = joined;
    i = next;
  }
  return kept;
}

// "B-PER" as "PER". What transformers calls a group is all behind the first hyphen, whatever stands before.
static const char *group_name(const char *label) {
  const char *hyphen = strchr(label, '-');
  return hyphen != NULL ? hyphen + 1 : label;
}

size_t rh_token_aggregate(const rh_tagged *tokens, size_t count, const char *const *labels, size_t label_count,
                          rh_aggregation aggregation, float *scratch, rh_tagged_span *out) {
  bool by_words = aggregation != RH_AGGREGATION_NONE && aggregation != RH_AGGREGATION_SIMPLE;
  size_t spans = 0;
  for (size_t i = 0; i < count;) {
    size_t next = i + 1;
    while (by_words && next < count && tokens[next].subword) next++;
    out[spans++] = word_span(tokens + i, next - i, label_count, aggregation, scratch);
    i = next;
  }
  if (aggregation != RH_AGGREGATION_NONE) spans = group(out, spans, labels);
  size_t kept = 0;
  for (size_t i = 0; i < spans; i++) {
    const char *label = labels[out[i].label];
    if (strcmp(out[i].group ? group_name(label) : label, "O") != 0) out[kept++] = out[i];
  }
  return kept;
}

// --- the task ------------------------------------------------------------------------------------------------------

typedef struct work {
  rh_tagged *tokens;
  rh_tagged_span *spans;
  const char **labels;
  char (*names)[32];
  float *scores, *scratch;
} work;

static void work_free(work *w) {
  free(w->tokens);
  free(w->spans);
  free(w->labels);
  free(w->names);
  free(w->scores);
  free(w->scratch);
}

static bool work_init(work *w, size_t tokens, size_t labels) {
  *w = (work){.tokens = malloc(tokens * sizeof *w->tokens),
              .spans = malloc(tokens * sizeof *w->spans),
              .labels = malloc(labels * sizeof *w->labels),
              .names = malloc(labels * sizeof *w->names),
              .scores = malloc(tokens * labels * sizeof *w->scores),
              .scratch = malloc(labels * sizeof *w->scratch)};
  return w->tokens != NULL && w->spans != NULL && w->labels != NULL && w->names != NULL && w->scores != NULL &&
         w->scratch != NULL;
}

// The bytes of the spans in the text. Spans come in its order, or nearly.
typedef struct places {
  rh_text_walker starts, ends;
} places;

static places places_of(const rh_item *input) {
  rh_text_walker start = {.text = input->text, .length = input->length};
  return (places){start, start};
}

static const char *find(places *p, const rh_tagged_span *span, size_t *bytes) {
  rh_text_walk(&p->starts, span->start);
  rh_text_walk(&p->ends, span->end);
  *bytes = p->ends.byte > p->starts.byte ? p->ends.byte - p->starts.byte : 0;
  return p->starts.text + p->starts.byte;
}

// The spans, their texts and the labels that no file names, in one block.
static rh_status make_block(rh_item_state *item, const work *w, const rh_tagged_span *found, size_t count,
                            size_t labels, const rh_item *input, rh_error *error) {
  size_t texts = 0, bytes = 0;
  places p = places_of(input);
  for (size_t i = 0; i < count; i++) {
    (void)find(&p, &found[i], &bytes);
    texts += bytes + 1;
  }
  char *block = malloc(count * sizeof(rh_span) + labels * sizeof *w->names + texts + 1);
  if (block == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for %zu spans.", count);
  rh_span *spans = (rh_span *)(void *)block;
  char(*names)[32] = (char(*)[32])(block + count * sizeof *spans);
  memcpy(names, w->names, labels * sizeof *names);
  char *text = (char *)(names + labels);
  p = places_of(input);
  for (size_t i = 0; i < count; i++) {
    const rh_tagged_span *span = &found[i];
    const char *label = w->labels[span->label], *from = find(&p, span, &bytes);
    if (label == w->names[span->label]) label = names[span->label];
    spans[i] = (rh_span){.label = span->group ? group_name(label) : label,
                         .score = span->score,
                         .text = text,
                         .start = span->start,
                         .end = span->end,
                         .index = span->index};
    memcpy(text, from, bytes);
    text[bytes] = '\0';
    text += bytes + 1;
  }
  item->block = block;
  item->count = count;
  return RH_OK;
}

static size_t collect(work *w, const rh_row *row, const rh_output *output, bool raw) {
  size_t count = 0, labels = output->width;
  for (size_t i = 0; i < row->count; i++) {
    if (row->special[i] != 0) continue;
    float *scores = w->scores + count * labels;
    memcpy(scores, output->values + i * labels, labels * sizeof *scores);
    if (!raw) rh_softmax(scores, labels);
    w->tokens[count++] = (rh_tagged){.scores = scores,
                                     .start = row->starts[i],
                                     .end = row->ends[i],
                                     .index = (int32_t)(i + row->skipped),
                                     .subword = row->subword[i] != 0};
  }
  return count;
}

// --- windows -------------------------------------------------------------------------------------------------------

// What the windows of one text have given so far; they are not computed in their order.
typedef struct gathered {
  size_t labels;  // that the first window had: spans of all windows are named by one list
  size_t count, room;
  rh_window_span spans[];
} gathered;

static rh_status gather(rh_item_state *item, const rh_tagged_span *spans, size_t count, size_t labels, uint32_t window,
                        rh_error *error) {
  gathered *all = item->scratch;
  if (all != NULL && all->labels != labels) {
    return rh_fail(error, RH_UNSUPPORTED,
                   "the graph gives %zu label scores for each token in one window of the text and %zu in another",
                   all->labels, labels);
  }
  size_t have = all != NULL ? all->count : 0, room = all != NULL ? all->room : 0;
  if (all == NULL || have + count > room) {
    room = 2 * room + count + 16;
    all = realloc(all, sizeof *all + room * sizeof *all->spans);
    if (all == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for %zu spans.", have + count);
    item->scratch = all;
    all->labels = labels;
    all->room = room;
  }
  for (size_t i = 0; i < count; i++) {
    all->spans[have + i] = (rh_window_span){.span = spans[i], .window = window, .place = (uint32_t)i};
  }
  all->count = have + count;
  return RH_OK;
}

static int compare(uint32_t a, uint32_t b) { return a < b ? -1 : a > b ? 1 : 0; }

// By where they stand; spans of one place in the order of their windows.
static int earlier(const void *a, const void *b) {
  const rh_window_span *x = a, *y = b;
  int order = x->span.index >= 0 ? compare((uint32_t)x->span.index, (uint32_t)y->span.index)
                                 : compare(x->span.start, y->span.start);
  if (order == 0) order = compare(x->window, y->window);
  return order != 0 ? order : compare(x->place, y->place);
}

// Single tokens are the same when their numbers are; spans are two opinions on one thing when they share a character.
static bool meet(const rh_tagged_span *first, const rh_tagged_span *second) {
  if (first->index >= 0) return first->index == second->index;
  return second->start < first->end;
}

static bool beats(const rh_tagged_span *second, const rh_tagged_span *first) {
  uint32_t was = first->end - first->start, is = second->end - second->start;
  return is != was ? is > was : second->score > first->score;
}

// As transformers does: of spans that meet the longest stays, of equally long ones the surest.
size_t rh_windows_merge(rh_window_span *spans, size_t count, rh_tagged_span *out) {
  if (count == 0) return 0;
  size_t kept = 0;
  qsort(spans, count, sizeof *spans, earlier);
  out[0] = spans[0].span;
  for (size_t i = 1; i < count; i++) {
    const rh_tagged_span *span = &spans[i].span;
    if (!meet(&out[kept], span))
      out[++kept] = *span;
    else if (beats(span, &out[kept]))
      out[kept] = *span;
  }
  return kept + 1;
}

// After the last window: what all of them gave.
static rh_status finish(rh_item_state *item, const work *w, size_t labels, const rh_item *input, rh_error *error) {
  gathered *all = item->scratch;
  rh_tagged_span *merged = malloc((all->count + 1) * sizeof *merged);
  if (merged == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for %zu spans.", all->count);
  size_t count = rh_windows_merge(all->spans, all->count, merged);
  rh_status status = make_block(item, w, merged, count, labels, input, error);
  free(merged);
  return status;
}

static rh_status take(rh_inference_run *run, rh_item_state *item, const rh_row *row, const rh_output *output,
                      rh_error *error) {
  size_t labels = output->width;
  if (output->tokens != row->count || labels == 0 || labels > RH_MODEL_LABELS_MAX) {
    return rh_fail(error, RH_UNSUPPORTED, "the graph does not give label scores for each token");
  }
  const rh_item *input = &run->infer->items[row->item];
  work w;
  rh_status status = RH_OK;
  if (!work_init(&w, row->count, labels)) status = rh_fail(error, RH_NO_MEMORY, "There is no memory for the spans.");
  if (status == RH_OK) {
    for (size_t i = 0; i < labels; i++) w.labels[i] = rh_inference_label(run->inference, i, w.names[i]);
    size_t tokens = collect(&w, row, output, run->infer->raw_scores);
    size_t count = rh_token_aggregate(w.tokens, tokens, w.labels, labels, run->infer->aggregation, w.scratch, w.spans);
    if (item->parts == 1) {
      status = make_block(item, &w, w.spans, count, labels, input, error);
    } else {
      status = gather(item, w.spans, count, labels, row->part, error);
      if (status == RH_OK && item->done + 1 == item->parts) status = finish(item, &w, labels, input, error);
    }
  }
  work_free(&w);
  return status;
}

// What is known without a text; that a text may be shorter than the stride is no error, as it needs no windows.
static rh_status check(rh_inference_run *run, rh_error *error) {
  const rh_infer *infer = run->infer;
  if (!infer->has_stride) return RH_OK;
  if (infer->refuse_long || infer->cut_long) {
    return rh_fail_param(error, RH_INVALID, "stride",
                         "a stride says that long texts are read in windows, \"truncate\" that they are not; leave out "
                         "one of them");
  }
  size_t special = 0;
  rh_status status = rh_windows_special(&run->inference->encoder, &special, error);
  if (status != RH_OK) return status;
  int64_t room = run->inference->encoder.length_max - (int64_t)special;
  if (infer->stride >= 0 && infer->stride < room) return RH_OK;
  return rh_fail_param(error, RH_INVALID, "stride",
                       "the stride must be 0 to %lld: a window of this model holds %lld tokens of a text",
                       (long long)(room > 0 ? room - 1 : 0), (long long)(room > 0 ? room : 0));
}

const rh_task_ops rh_task_token_classify = {.output = RH_OUTPUT_TOKENS,
                                            .result = RH_RESULT_SPANS,
                                            .offsets = true,
                                            .windows = true,
                                            .check = check,
                                            .take = take};
