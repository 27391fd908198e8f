// SPDX-License-Identifier: Apache-2.0
//
// Purpose: quantize a GGUF file with llama.cpp's own code, told by its log how far it is and why it failed.
// Data owned: the log's line being put together (llama's logger is one a process). Threads: llama logs from the thread that
// called it. Not here: any number of a weight.
#include <ctype.h>
#include <ggml.h>
#include <gguf.h>
#include <llama.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "convert/convert.h"
#include "convert/imatrix.h"
#include "convert/writer.h"

typedef struct quant_type {
  const char *name;
  enum llama_ftype type;
  const char *about;
  bool needs_matrix;  // llama.cpp refuses it without an importance matrix
} quant_type;

// llama.cpp's own names; bits are a weight's, as measured over whole models.
static const quant_type types[] = {
    {"f32", LLAMA_FTYPE_ALL_F32, "32 bits, no loss", false},
    {"f16", LLAMA_FTYPE_MOSTLY_F16, "16 bits", false},
    {"bf16", LLAMA_FTYPE_MOSTLY_BF16, "16 bits, f32's range", false},
    {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, "8.5 bits, hardly any loss", false},
    {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K, "6.6 bits", false},
    {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M, "5.7 bits; also q5_k", false},
    {"q5_k", LLAMA_FTYPE_MOSTLY_Q5_K_M, NULL, false},
    {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S, "5.5 bits", false},
    {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1, "6 bits, older", false},
    {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0, "5.5 bits, older", false},
    {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M, "4.9 bits, the usual choice; also q4_k", false},
    {"q4_k", LLAMA_FTYPE_MOSTLY_Q4_K_M, NULL, false},
    {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S, "4.6 bits", false},
    {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1, "5 bits, older", false},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0, "4.5 bits, fast on ARM", false},
    {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL, "4.5 bits", false},
    {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS, "4.25 bits", false},
    {"mxfp4_moe", LLAMA_FTYPE_MOSTLY_MXFP4_MOE, "4.25 bits, for mixtures of experts", false},
    {"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L, "4.3 bits", false},
    {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M, "3.9 bits; also q3_k", false},
    {"q3_k", LLAMA_FTYPE_MOSTLY_Q3_K_M, NULL, false},
    {"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S, "3.5 bits", false},
    {"iq3_m", LLAMA_FTYPE_MOSTLY_IQ3_M, "3.7 bits", false},
    {"iq3_s", LLAMA_FTYPE_MOSTLY_IQ3_S, "3.4 bits", false},
    {"iq3_xs", LLAMA_FTYPE_MOSTLY_IQ3_XS, "3.3 bits", true},
    {"iq3_xxs", LLAMA_FTYPE_MOSTLY_IQ3_XXS, "3.1 bits", true},
    {"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K, "3 bits, plain losses", false},
    {"q2_k_s", LLAMA_FTYPE_MOSTLY_Q2_K_S, "2.8 bits", true},
    {"iq2_m", LLAMA_FTYPE_MOSTLY_IQ2_M, "2.7 bits", true},
    {"iq2_s", LLAMA_FTYPE_MOSTLY_IQ2_S, "2.5 bits", true},
    {"iq2_xs", LLAMA_FTYPE_MOSTLY_IQ2_XS, "2.3 bits", true},
    {"iq2_xxs", LLAMA_FTYPE_MOSTLY_IQ2_XXS, "2.1 bits", true},
    {"iq1_m", LLAMA_FTYPE_MOSTLY_IQ1_M, "1.75 bits", true},
    {"iq1_s", LLAMA_FTYPE_MOSTLY_IQ1_S, "1.6 bits", true},
    {"tq2_0", LLAMA_FTYPE_MOSTLY_TQ2_0, "2.1 bits, for models trained with three values", false},
    {"tq1_0", LLAMA_FTYPE_MOSTLY_TQ1_0, "1.7 bits, for models trained with three values", false},
    {"q2_0", LLAMA_FTYPE_MOSTLY_Q2_0, "2.25 bits", false},
    {"q1_0", LLAMA_FTYPE_MOSTLY_Q1_0, "1.1 bits", false},
};
#define TYPE_COUNT (sizeof types / sizeof *types)

void rh_quantize_list(FILE *stream) {
  for (size_t i = 0; i < TYPE_COUNT; i++) {
    if (types[i].about != NULL)
      fprintf(stream, "%-10s %s%s\n", types[i].name, types[i].about,
              types[i].needs_matrix ? "; needs an importance matrix" : "");
  }
}

static const quant_type *find_type(const char *name) {
  for (size_t i = 0; i < TYPE_COUNT; i++) {
    if (strcasecmp(types[i].name, name) == 0) return &types[i];
  }
  return NULL;
}

// What llama.cpp says, line by line.
typedef struct listener {
  rh_report *report;
  char line[1024];
  size_t length;
  char reason[512];
  double new_mib;  // of the result, when it has been said
} listener;

static void take_line(listener *self) {
  int at = 0, total = 0;
  char name[64];
  const char *size = strstr(self->line, "quant size");
  if (sscanf(self->line, "[%d/%d] %63s", &at, &total, name) == 3 && total > 0) {
    rh_report_progress(self->report, (double)(at - 1) / total, name);
  } else if (size != NULL) {
    (void)sscanf(size, "quant size = %lf", &self->new_mib);
  }
  const char *failed = strstr(self->line, "failed to quantize: ");
  if (failed != NULL) (void)rh_text_copy(self->reason, sizeof self->reason, failed + strlen("failed to quantize: "));
}

static void on_log(enum ggml_log_level level, const char *text, void *ctx) {
  (void)level;
  listener *self = ctx;
  for (; *text != '\0'; text++) {
    if (*text == '\n' || self->length + 1 == sizeof self->line) {
      self->line[self->length] = '\0';
      take_line(self);
      self->length = 0;
    } else {
      self->line[self->length++] = *text;
    }
  }
  // Progress stands before the tensor's work is done, on a line that is not ended yet.
  self->line[self->length] = '\0';
  if (self->length > 0 && self->line[0] == '[' && strchr(self->line, ']') != NULL) take_line(self);
}

static const char *architecture_of(const struct gguf_context *gguf, char *out, size_t size) {
  int64_t key = gguf_find_key(gguf, "general.architecture");
  bool text = key >= 0 && gguf_get_kv_type(gguf, key) == GGUF_TYPE_STRING;
  (void)rh_text_copy(out, size, text ? gguf_get_val_str(gguf, key) : "unknown");
  return out;
}

static rh_status check_input(const rh_quantize_options *options, char *architecture, size_t size, rh_error *error) {
  if (access(options->input, R_OK) != 0) return rh_fail(error, RH_NOT_FOUND, "cannot read %s", options->input);
  struct gguf_context *gguf = gguf_init_from_file(options->input, (struct gguf_init_params){.no_alloc = true});
  if (gguf == NULL) return rh_fail(error, RH_INVALID, "%s is no GGUF file, or a damaged one", options->input);
  const char *quantized = NULL;
  for (int64_t i = 0; i < gguf_get_n_tensors(gguf) && quantized == NULL; i++) {
    enum ggml_type type = gguf_get_tensor_type(gguf, i);
    if (ggml_is_quantized(type)) quantized = ggml_type_name(type);
  }
  (void)architecture_of(gguf, architecture, size);
  int64_t tensors = gguf_get_n_tensors(gguf);
  gguf_free(gguf);
  if (tensors == 0) return rh_fail(error, RH_INVALID, "%s holds no weights", options->input);
  if (quantized != NULL && !options->requantize)
    return rh_fail(error, RH_CONFLICT,
                   "%s is quantized already (%s), and doing it twice loses twice; take the f16 or f32 file, "
                   "or say --requantize",
                   options->input, quantized);
  return RH_OK;
}

static bool same_file(const char *a, const char *b) {
  char *x = realpath(a, NULL), *y = realpath(b, NULL);
  bool same = x != NULL && y != NULL && strcmp(x, y) == 0;
  free(x);
  free(y);
  return same;
}

static rh_status fail_quantize(const listener *heard, const rh_writer *writer, rh_error *error) {
  // llama.cpp's stream does not say why it could not write.
  bool stream = strstr(heard->reason, "ios") != NULL || strstr(heard->reason, "write") != NULL;
  if (stream)
    return rh_fail(
        error, RH_NO_SPACE,
        "cannot write %s: the disk is full, or a limit on file sizes is reached; nothing is left of this attempt",
        writer->path);
  return rh_fail(error, RH_UNSUPPORTED, "cannot quantize: %s",
                 heard->reason[0] != '\0' ? heard->reason : "llama.cpp gave no reason");
}

static rh_status quantize(const rh_quantize_options *options, const quant_type *type, const rh_imatrix *matrix,
                          rh_report *report, rh_writer *writer, rh_error *error) {
  listener heard = {.report = report};
  struct llama_model_quantize_params params = llama_model_quantize_default_params();
  params.ftype = type->type;
  params.nthread = options->threads;
  params.allow_requantize = options->requantize;
  params.imatrix = matrix->entries;
  // Weights pass through memory in parts, not whole.
  params.max_buf_size = (size_t)512 << 20;
  rh_report silent = {.json = true, .shown_ns = INT64_MAX};
  llama_log_set(on_log, &heard);
  // First without writing: its size, and whether it can be done at all.
  params.dry_run = true;
  heard.report = &silent;
  rh_status status = rh_writer_begin_foreign(writer, options->output, 0, error);
  if (status == RH_OK && llama_model_quantize(options->input, writer->part, &params) != 0)
    status = fail_quantize(&heard, writer, error);
  if (status == RH_OK) {
    rh_writer_abandon(writer);
    status = rh_writer_begin_foreign(writer, options->output, (int64_t)(heard.new_mib * 1024 * 1024), error);
  }
  params.dry_run = false;
  heard.report = report;
  heard.length = 0;
  if (status == RH_OK && llama_model_quantize(options->input, writer->part, &params) != 0)
    status = fail_quantize(&heard, writer, error);
  if (status == RH_OK) status = rh_writer_finish_foreign(writer, error);
  llama_log_set(NULL, NULL);
  return status;
}

rh_status rh_quantize_run(const rh_quantize_options *options, rh_report *report, rh_error *error) {
  const quant_type *type = find_type(options->type);
  if (type == NULL)
    return rh_fail(error, RH_INVALID, "there is no type \"%.40s\"; roundhouse-convert quantize --list shows them",
                   options->type);
  if (same_file(options->input, options->output))
    return rh_fail(error, RH_INVALID, "%s cannot be read and written at once", options->input);
  if (type->needs_matrix && options->imatrix == NULL)
    return rh_fail(error, RH_INVALID,
                   "%s needs an importance matrix: --imatrix FILE, as llama.cpp's llama-imatrix makes it", type->name);
  char architecture[64];
  rh_status status = check_input(options, architecture, sizeof architecture, error);
  rh_imatrix matrix = {0};
  if (status == RH_OK && options->imatrix != NULL) status = rh_imatrix_read(options->imatrix, &matrix, error);
  if (status != RH_OK) return status;
  rh_writer writer = {.fd = -1};
  llama_backend_init();
  status = quantize(options, type, &matrix, report, &writer, error);
  int64_t bytes = writer.written;
  rh_writer_abandon(&writer);
  rh_imatrix_free(&matrix);
  llama_backend_free();
  if (status == RH_OK) {
    rh_report_progress(report, 1.0, "done");
    rh_report_done(report, options->output, bytes, architecture, type->name);
  }
  return status;
}
