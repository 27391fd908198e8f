// SPDX-License-Identifier: Apache-2.0
//
// kernels_accuracy [--tokens N] [--context N] [--batch N] [--threads N] [--set NAME] [--reference NAME]
//                  [--reference-model FILE] MODEL TEXT...
//
// What our matrix kernels change in a model's answers. The same text goes through llama.cpp twice, in two processes at once: with
// its own kernels (the reference) and with ours. Prints one JSON object: the Kullback-Leibler divergence of ours from stock, mean, 99th
// percentile and greatest, in nats; both perplexities and their relative difference; how often both find the same next token
// most likely. Ends with 1 when the mean divergence is above 0.001 or the perplexities differ by more than 0.2 %.
//
// The text is cut into pieces of --context tokens (512), each read with nothing before it, --batch tokens (512) at a time: 1
// measures the kernels of a single stream. All positions of a piece but the last count, --tokens (4,096) in all.
//
// Activations are rounded to 8 bits, so that any two ways to multiply drift apart. "plain" for --set or --reference is llama.cpp
// without its repacked weights: how far its own two ways are from each other. --reference-model takes other weights for the
// reference, such as the same ones as floats (llama-quantize MODEL FLOATS F32): who is nearer to the truth, stock or ours.
#include <errno.h>
#include <llama.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels_load.h"

#define DIVERGENCE_MAX 1e-3
#define PERPLEXITY_MAX 2e-3
#define TEXT_MAX ((size_t)64 << 20)

typedef struct run_options {
  int tokens;
  int context;
  int batch;
  int threads;
  const char *set;
  const char *reference;
  const char *reference_model;
  const char *model;
  char *const *texts;
  int text_count;
} run_options;

// What a side writes to its pipe: this, then for each position the token that follows in the text and all logits.
typedef struct side_head {
  int32_t vocabulary;
  int32_t positions;
  char words[256];
} side_head;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "kernels_accuracy: %s\n", what);
  exit(2);
}

// --- a side: one process with one kind of kernels ---

static char *read_texts(const run_options *options, size_t *length) {
  char *text = malloc(TEXT_MAX);
  size_t used = 0;
  if (!text) fail("no memory");
  for (int i = 0; i < options->text_count; i++) {
    FILE *file = fopen(options->texts[i], "rb");
    if (!file) fail(options->texts[i]);
    used += fread(text + used, 1, TEXT_MAX - used, file);
    (void)fclose(file);
  }
  *length = used;
  return text;
}

static llama_token *tokenize(const run_options *options, const struct llama_vocab *vocab, int *count) {
  size_t length;
  char *text = read_texts(options, &length);
  llama_token *tokens = malloc((length + 8) * sizeof *tokens);
  if (!tokens) fail("no memory");
  *count = llama_tokenize(vocab, text, (int32_t)length, tokens, (int32_t)length + 8, false, false);
  if (*count < 0) fail("the text does not become tokens");
  free(text);
  return tokens;
}

static void quiet(enum ggml_log_level level, const char *text, void *data) {
  (void)data;
  if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static void put(FILE *out, const void *data, size_t size) {
  if (fwrite(data, 1, size, out) != size) exit(2);  // the parent has left
}

// One piece of the text; `last` is how many of its positions count.
static void run_piece(struct llama_context *context, const run_options *options, const llama_token *piece, int counted,
                      int vocabulary, FILE *out) {
  struct llama_batch batch = llama_batch_init(options->batch, 0, 1);
  llama_memory_clear(llama_get_memory(context), true);
  for (int at = 0; at < counted; at += options->batch) {
    int size = counted - at < options->batch ? counted - at : options->batch;
    batch.n_tokens = size;
    for (int i = 0; i < size; i++) {
      batch.token[i] = piece[at + i];
      batch.pos[i] = at + i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) fail("llama_decode failed");
    for (int i = 0; i < size; i++) {
      put(out, &piece[at + i + 1], sizeof *piece);
      put(out, llama_get_logits_ith(context, i), (size_t)vocabulary * sizeof(float));
    }
  }
  llama_batch_free(batch);
}

static struct llama_context *open_model(const run_options *options, const char *path, bool plain) {
  struct llama_model_params model_params = llama_model_default_params();
  model_params.use_extra_bufts = !plain;
  struct llama_model *model = llama_model_load_from_file(path, model_params);
  if (!model) fail("the model cannot be loaded");
  struct llama_context_params params = llama_context_default_params();
  params.n_ctx = (uint32_t)options->context;
  params.n_batch = (uint32_t)options->batch;
  params.n_ubatch = (uint32_t)options->batch;
  params.n_threads = params.n_threads_batch = options->threads;
  struct llama_context *context = llama_init_from_model(model, params);
  if (!context) fail("no context");
  return context;
}

static int run_side(const run_options *options, const char *wish, const char *path, FILE *out) {
  side_head head = {0};
  llama_log_set(quiet, NULL);
  bool plain = wish && strcmp(wish, "plain") == 0;
  bool ours = bench_load(plain ? "stock" : wish, head.words, sizeof head.words);
  if (!ours && (!wish || (strcmp(wish, "stock") != 0 && !plain))) fail(head.words);
  if (plain) (void)snprintf(head.words, sizeof head.words, "plain");
  struct llama_context *context = open_model(options, path, plain);
  const struct llama_vocab *vocab = llama_model_get_vocab(llama_get_model(context));
  int count;
  llama_token *tokens = tokenize(options, vocab, &count);
  int wanted = options->tokens;
  int positions = options->context - 1;
  if (count / options->context * positions < wanted) wanted = count / options->context * positions;
  if (wanted < 1) fail("the text is shorter than a context");
  head.vocabulary = llama_vocab_n_tokens(vocab);
  head.positions = wanted;
  put(out, &head, sizeof head);
  for (llama_token *piece = tokens; wanted > 0; piece += options->context, wanted -= positions) {
    if (llama_vocab_get_add_bos(vocab)) piece[0] = llama_vocab_bos(vocab);
    run_piece(context, options, piece, wanted < positions ? wanted : positions, head.vocabulary, out);
  }
  if (fclose(out) != 0) return 2;
  // Taking the model apart is the end of the process's work.
  _exit(0);
}

// --- the two beside each other ---

typedef struct side {
  pid_t pid;
  FILE *in;
  side_head head;
  float *logits;
  double offset;  // log of the sum of exp(logit)
  double surprise;
} side;

static void start_side(const run_options *options, const char *wish, const char *path, side *out) {
  int ends[2];
  if (pipe(ends) != 0) fail("no pipe");
  (void)fflush(NULL);
  out->pid = fork();
  if (out->pid < 0) fail("no process");
  if (out->pid == 0) {
    (void)close(ends[0]);
    FILE *file = fdopen(ends[1], "wb");
    exit(file ? run_side(options, wish, path, file) : 2);
  }
  (void)close(ends[1]);
  out->in = fdopen(ends[0], "rb");
  if (!out->in) fail("no file");
}

static void take(side *from, void *data, size_t size) {
  if (fread(data, 1, size, from->in) != size) fail("a side ended early");
}

static void open_side(side *from) {
  take(from, &from->head, sizeof from->head);
  if (from->head.vocabulary < 1) fail("no vocabulary");
  from->logits = malloc((size_t)from->head.vocabulary * sizeof(float));
  if (!from->logits) fail("no memory");
}

// The next position: which token follows, which is the most likely.
static void read_position(side *from, int32_t *next, int *best) {
  take(from, next, sizeof *next);
  take(from, from->logits, (size_t)from->head.vocabulary * sizeof(float));
  *best = 0;
  for (int i = 1; i < from->head.vocabulary; i++) {
    if (from->logits[i] > from->logits[*best]) *best = i;
  }
  double sum = 0.0;
  for (int i = 0; i < from->head.vocabulary; i++) sum += exp((double)from->logits[i] - (double)from->logits[*best]);
  from->offset = (double)from->logits[*best] + log(sum);
  from->surprise += from->offset - (double)from->logits[*next];
}

static double divergence(const side *p, const side *q) {
  double sum = 0.0;
  for (int i = 0; i < p->head.vocabulary; i++) {
    double one = (double)p->logits[i] - p->offset;
    double two = (double)q->logits[i] - q->offset;
    sum += exp(one) * (one - two);
  }
  return sum > 0.0 ? sum : 0.0;
}

static int by_value(const void *a, const void *b) {
  double one = *(const double *)a;
  double two = *(const double *)b;
  return (one > two) - (one < two);
}

static int compare(side *stock, side *ours) {
  int positions = stock->head.positions;
  if (positions != ours->head.positions || stock->head.vocabulary != ours->head.vocabulary) fail("the sides disagree");
  double *each = malloc((size_t)positions * sizeof *each);
  if (!each) fail("no memory");
  double sum = 0.0;
  int agree = 0;
  for (int i = 0; i < positions; i++) {
    int32_t next[2];
    int best[2];
    read_position(stock, &next[0], &best[0]);
    read_position(ours, &next[1], &best[1]);
    if (next[0] != next[1]) fail("the sides read different texts");
    agree += best[0] == best[1];
    each[i] = divergence(stock, ours);
    sum += each[i];
  }
  qsort(each, (size_t)positions, sizeof *each, by_value);
  double mean = sum / positions;
  double their_perplexity = exp(stock->surprise / positions);
  double our_perplexity = exp(ours->surprise / positions);
  double relative = our_perplexity / their_perplexity - 1.0;
  printf(
      "{\"reference\": \"%s\", \"kernels\": \"%s\", \"positions\": %d, \"divergence_mean\": %.3e, \"divergence_p99\": "
      "%.3e, "
      "\"divergence_max\": %.3e, \"perplexity_reference\": %.5f, \"perplexity_ours\": %.5f, "
      "\"perplexity_difference\": %.3e, \"same_top\": %.5f}\n",
      stock->head.words, ours->head.words, positions, mean, each[(size_t)positions * 99 / 100], each[positions - 1],
      their_perplexity, our_perplexity, relative, (double)agree / positions);
  free(each);
  // Written so that a NaN is a failure.
  return mean <= DIVERGENCE_MAX && fabs(relative) <= PERPLEXITY_MAX ? 0 : 1;
}

static int number(const char *text) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno != 0 || *end || end == text || value < 1 || value > 1 << 20) fail("a number is not one, or out of range");
  return (int)value;
}

static void parse(int argc, char **argv, run_options *out) {
  *out = (run_options){.tokens = 4096,
                       .context = 512,
                       .batch = 512,
                       .threads = (int)sysconf(_SC_NPROCESSORS_ONLN),
                       .reference = "stock"};
  const struct {
    const char *name;
    int *value;
  } numbers[] = {
      {"--tokens", &out->tokens}, {"--context", &out->context}, {"--batch", &out->batch}, {"--threads", &out->threads}};
  const struct {
    const char *name;
    const char **value;
  } words[] = {{"--set", &out->set}, {"--reference", &out->reference}, {"--reference-model", &out->reference_model}};
  int i = 1;
  for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
    bool known = false;
    for (size_t n = 0; n < sizeof words / sizeof words[0] && !known; n++) {
      known = strcmp(argv[i], words[n].name) == 0;
      if (known) *words[n].value = argv[i + 1];
    }
    for (size_t n = 0; n < sizeof numbers / sizeof numbers[0] && !known; n++) {
      known = strcmp(argv[i], numbers[n].name) == 0;
      if (known) *numbers[n].value = number(argv[i + 1]);
    }
    if (!known) fail("unknown option");
  }
  if (argc - i < 2 || out->context < 2) {
    fail(
        "usage: kernels_accuracy [--tokens N] [--context N] [--batch N] [--threads N] [--set NAME] "
        "[--reference NAME] [--reference-model FILE] MODEL TEXT...");
  }
  out->model = argv[i];
  if (!out->reference_model) out->reference_model = out->model;
  out->texts = argv + i + 1;
  out->text_count = argc - i - 1;
}

int main(int argc, char **argv) {
  run_options options;
  side stock = {0};
  side ours = {0};
  parse(argc, argv, &options);
  start_side(&options, options.reference, options.reference_model, &stock);
  start_side(&options, options.set, options.model, &ours);
  open_side(&stock);
  open_side(&ours);
  int code = compare(&stock, &ours);
  for (int i = 0; i < 2; i++) {
    int status;
    if (waitpid(i == 0 ? stock.pid : ours.pid, &status, 0) < 0 || status != 0) fail("a side failed");
  }
  (void)fclose(stock.in);
  (void)fclose(ours.in);
  free(stock.logits);
  free(ours.logits);
  return code;
}
