// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the task "token-classify": a label for each token, and tokens of one label put together into spans.
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

// Where the code points of the spans begin in the text; spans come in its order, but may not.
static size_t byte_of(const char *text, size_t length, uint32_t place) {
  size_t at = 0;
  for (; place > 0 && at < length; place--) {
    at++;
    while (at < length && ((unsigned char)text[at] & 0xC0) == 0x80) at++;
  }
  return at;
}

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

// The spans, their texts and the labels that no file names, in one block.
static rh_status make_block(rh_item_state *item, const work *w, size_t count, size_t labels, const rh_item *input,
                            rh_error *error) {
  size_t texts = 0;
  for (size_t i = 0; i < count; i++) {
    size_t from = byte_of(input->text, input->length, w->spans[i].start);
    texts += byte_of(input->text + from, input->length - from, w->spans[i].end - w->spans[i].start) + 1;
  }
  char *block = malloc(count * sizeof(rh_span) + labels * sizeof *w->names + texts + 1);
  if (block == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for %zu spans.", count);
  rh_span *spans = (rh_span *)(void *)block;
  char(*names)[32] = (char(*)[32])(block + count * sizeof *spans);
  memcpy(names, w->names, labels * sizeof *names);
  char *text = (char *)(names + labels);
  for (size_t i = 0; i < count; i++) {
    const rh_tagged_span *span = &w->spans[i];
    size_t from = byte_of(input->text, input->length, span->start);
    size_t bytes = byte_of(input->text + from, input->length - from, span->end - span->start);
    const char *label = w->labels[span->label];
    if (label == w->names[span->label]) label = names[span->label];
    spans[i] = (rh_span){.label = span->group ? group_name(label) : label,
                         .score = span->score,
                         .text = text,
                         .start = span->start,
                         .end = span->end,
                         .index = span->index};
    memcpy(text, input->text + from, bytes);
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
                                     .index = (int32_t)i,
                                     .subword = row->subword[i] != 0};
  }
  return count;
}

static rh_status take(rh_inference_run *run, rh_item_state *item, const rh_row *row, const rh_output *output,
                      rh_error *error) {
  size_t labels = output->width;
  if (output->tokens != row->count || labels == 0 || labels > RH_MODEL_LABELS_MAX) {
    return rh_fail(error, RH_UNSUPPORTED, "the graph does not give label scores for each token");
  }
  work w;
  rh_status status = RH_OK;
  if (!work_init(&w, row->count, labels)) status = rh_fail(error, RH_NO_MEMORY, "There is no memory for the spans.");
  if (status == RH_OK) {
    for (size_t i = 0; i < labels; i++) w.labels[i] = rh_inference_label(run->inference, i, w.names[i]);
    size_t tokens = collect(&w, row, output, run->infer->raw_scores);
    size_t count = rh_token_aggregate(w.tokens, tokens, w.labels, labels, run->infer->aggregation, w.scratch, w.spans);
    status = make_block(item, &w, count, labels, &run->infer->items[row->item], error);
  }
  work_free(&w);
  return status;
}

const rh_task_ops rh_task_token_classify = {
    .output = RH_OUTPUT_TOKENS, .result = RH_RESULT_SPANS, .offsets = true, .take = take};
