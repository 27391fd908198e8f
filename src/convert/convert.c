// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the conversion from its beginning to its end. Weights go through a buffer of a few megabytes, whatever the
// model's size.
// Data owned: the conversion, the plan, the writer. Threads: one. Not here: what any one part does.
#include "convert/convert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "convert/plan.h"
#include "convert/writer.h"

#include <llama.h>

#define CHUNK_NUMBERS ((int64_t)1 << 19)

typedef struct copier {
  const rh_conversion *conversion;
  rh_writer writer;
  float *numbers;       // CHUNK_NUMBERS, or one row if that is longer
  uint8_t *encoded;     // the same in the output's type
  int64_t done, total;  // bytes
} copier;

static rh_status parse_type(rh_conversion *self, const char *type, rh_error *error) {
  static const struct {
    const char *name;
    enum ggml_type type;
  } known[] = {{"f32", GGML_TYPE_F32}, {"f16", GGML_TYPE_F16}, {"bf16", GGML_TYPE_BF16}, {"q8_0", GGML_TYPE_Q8_0}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(known[i].name, type) != 0) continue;
    self->type = known[i].type;
    return RH_OK;
  }
  if (strcmp(type, "auto") != 0)
    return rh_fail(error, RH_INVALID,
                   "--type is \"%.20s\"; it can be auto, f32, f16, bf16 or q8_0 (others: roundhouse quantize)", type);
  // What most of the weights are; f32 becomes f16, which no model is known to suffer from.
  int64_t bf16 = 0, other = 0;
  for (size_t i = 0; i < self->source->tensor_count; i++) {
    const rh_safetensor *info = self->source->tensors[i].info;
    if (info->dtype == RH_DTYPE_BF16) bf16 += info->elements;
    if (info->dtype == RH_DTYPE_F16 || info->dtype == RH_DTYPE_F32) other += info->elements;
  }
  self->type = bf16 > other ? GGML_TYPE_BF16 : GGML_TYPE_F16;
  return RH_OK;
}

static enum llama_ftype file_type(enum ggml_type type) {
  switch (type) {
    case GGML_TYPE_F16: return LLAMA_FTYPE_MOSTLY_F16;
    case GGML_TYPE_BF16: return LLAMA_FTYPE_MOSTLY_BF16;
    case GGML_TYPE_Q8_0: return LLAMA_FTYPE_MOSTLY_Q8_0;
    default: return LLAMA_FTYPE_ALL_F32;
  }
}

// The tensors' names, shapes and types into the header; ggml counts the offsets.
static rh_status declare_tensors(const rh_conversion *self, const rh_plan *plan, rh_error *error) {
  struct ggml_init_params params = {.mem_size = (plan->count + 1) * ggml_tensor_overhead(), .no_alloc = true};
  struct ggml_context *context = ggml_init(params);
  if (context == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the list of tensors");
  for (size_t i = 0; i < plan->count; i++) {
    const rh_plan_tensor *planned = &plan->tensors[i];
    struct ggml_tensor *tensor = ggml_new_tensor(context, planned->type, (int)planned->dims, planned->ne);
    ggml_set_name(tensor, planned->name);
    gguf_add_tensor(self->gguf, tensor);
  }
  ggml_free(context);
  return RH_OK;
}

static void read_row(const rh_plan_tensor *tensor, int64_t row, int64_t length, float *out) {
  int64_t first = rh_plan_source_row(tensor, row) * length;
  if (tensor->source == NULL) {
    memcpy(out, tensor->own + first, (size_t)length * sizeof *out);
    return;
  }
  const uint8_t *bytes = tensor->source->file->map + tensor->source->info->offset;
  switch (tensor->source->info->dtype) {
    case RH_DTYPE_F32: memcpy(out, bytes + first * 4, (size_t)length * sizeof *out); break;
    // A file's tensors may begin at odd addresses, so these two go through memory that does not.
    default: {
      uint16_t halves[256];
      for (int64_t at = 0; at < length; at += 256) {
        int64_t count = length - at < 256 ? length - at : 256;
        memcpy(halves, bytes + (first + at) * 2, (size_t)count * sizeof *halves);
        if (tensor->source->info->dtype == RH_DTYPE_F16) {
          ggml_fp16_to_fp32_row((const ggml_fp16_t *)halves, out + at, count);
        } else {
          ggml_bf16_to_fp32_row((const ggml_bf16_t *)(const void *)halves, out + at, count);
        }
      }
    }
  }
}

// A number beyond f16's reach would silently become infinite.
static rh_status check_numbers(const rh_plan_tensor *tensor, const float *numbers, int64_t count, rh_error *error) {
  float limit = tensor->type == GGML_TYPE_F16 ? 65504.0F : INFINITY;
  for (int64_t i = 0; i < count; i++) {
    if (fabsf(numbers[i]) <= limit && !isinf(numbers[i])) continue;
    if (!isfinite(numbers[i]))
      return rh_fail(error, RH_INVALID, "%s holds numbers that are not finite: the weights are damaged", tensor->name);
    return rh_fail(error, RH_UNSUPPORTED, "%s holds %g, which %s cannot express; use --type bf16 or f32", tensor->name,
                   (double)numbers[i], ggml_type_name(tensor->type));
  }
  return RH_OK;
}

static rh_status copy_rows(copier *self, const rh_plan_tensor *tensor, int64_t row, int64_t rows, int64_t length,
                           rh_error *error) {
  for (int64_t i = 0; i < rows; i++) read_row(tensor, row + i, length, self->numbers + i * length);
  for (int64_t i = 0; i < rows * length && tensor->add != 0.0F; i++) self->numbers[i] += tensor->add;
  rh_status status = check_numbers(tensor, self->numbers, rows * length, error);
  if (status != RH_OK) return status;
  if (tensor->type == GGML_TYPE_F32)
    return rh_writer_put(&self->writer, self->numbers, (size_t)(rows * length) * sizeof(float), error);
  size_t bytes = ggml_quantize_chunk(tensor->type, self->numbers, self->encoded, 0, rows, length, NULL);
  return rh_writer_put(&self->writer, self->encoded, bytes, error);
}

// What has been read need not stay in memory. Turned rows come from nearby, and are read again if they were not yet.
static void forget_rows(const rh_plan_tensor *tensor, int64_t row, int64_t rows, int64_t length) {
  if (tensor->source == NULL) return;
  uint64_t each = tensor->source->info->dtype == RH_DTYPE_F32 ? 4 : 2;
  rh_safetensors_forget(tensor->source->file, tensor->source->info,
                        (uint64_t)((row + tensor->row_first) * length) * each, (uint64_t)(rows * length) * each);
}

static rh_status copy_tensor(copier *self, const rh_plan_tensor *tensor, rh_error *error) {
  int64_t length = rh_plan_row_length(tensor), rows = rh_plan_rows(tensor);
  int64_t at_once = CHUNK_NUMBERS / length > 0 ? CHUNK_NUMBERS / length : 1;
  for (int64_t row = 0; row < rows; row += at_once) {
    int64_t count = rows - row < at_once ? rows - row : at_once;
    rh_report_progress(self->conversion->report, (double)self->writer.written / (double)self->total, tensor->name);
    rh_status status = copy_rows(self, tensor, row, count, length, error);
    if (status != RH_OK) return status;
    forget_rows(tensor, row, count, length);
  }
  return rh_writer_pad(&self->writer, gguf_get_alignment(self->conversion->gguf), error);
}

static rh_status write_header(copier *self, rh_error *error) {
  size_t bytes = gguf_get_meta_size(self->conversion->gguf);
  void *header = malloc(bytes);
  if (header == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the file's header");
  gguf_get_meta_data(self->conversion->gguf, header);
  rh_status status = rh_writer_put(&self->writer, header, bytes, error);
  free(header);
  return status;
}

static rh_status make_buffers(copier *self, const rh_plan *plan, rh_error *error) {
  int64_t numbers = CHUNK_NUMBERS;
  for (size_t i = 0; i < plan->count; i++) {
    if (plan->tensors[i].ne[0] > numbers) numbers = plan->tensors[i].ne[0];
  }
  self->numbers = malloc((size_t)numbers * sizeof *self->numbers);
  self->encoded = malloc((size_t)numbers * 4);  // no type of ours is larger than f32
  if (self->numbers == NULL || self->encoded == NULL)
    return rh_fail(error, RH_NO_MEMORY, "out of memory for %lld numbers", (long long)numbers);
  return RH_OK;
}

static int64_t output_bytes(const rh_conversion *self) {
  int64_t count = gguf_get_n_tensors(self->gguf);
  int64_t last = count - 1;
  return (int64_t)(gguf_get_meta_size(self->gguf) + gguf_get_tensor_offset(self->gguf, last) +
                   gguf_get_tensor_size(self->gguf, last));
}

static rh_status write_file(const rh_conversion *self, const rh_plan *plan, const char *output, int64_t *bytes,
                            rh_error *error) {
  copier work = {.conversion = self, .writer.fd = -1, .total = output_bytes(self)};
  rh_status status = make_buffers(&work, plan, error);
  if (status == RH_OK) status = rh_writer_open(&work.writer, output, work.total, error);
  if (status == RH_OK) status = write_header(&work, error);
  for (size_t i = 0; status == RH_OK && i < plan->count; i++) status = copy_tensor(&work, &plan->tensors[i], error);
  if (status == RH_OK) status = rh_writer_finish(&work.writer, error);
  *bytes = work.writer.written;
  rh_writer_abandon(&work.writer);
  free(work.numbers);
  free(work.encoded);
  return status;
}

static rh_status convert_source(rh_conversion *self, const rh_convert_options *options, rh_error *error) {
  rh_plan plan = {0};
  int64_t bytes = 0;
  rh_status status = parse_type(self, options->type, error);
  if (status == RH_OK) status = rh_hparams_read(self, error);
  if (status == RH_OK) status = rh_metadata_write(self, options->name, error);
  if (status == RH_OK) status = rh_tokenizer_write(self, error);
  if (status == RH_OK) status = rh_plan_make(self, &plan, error);
  if (status == RH_OK) {
    gguf_set_val_u32(self->gguf, "general.file_type", (uint32_t)file_type(self->type));
    gguf_set_val_u32(self->gguf, "general.quantization_version", GGML_QNT_VERSION);
    status = declare_tensors(self, &plan, error);
  }
  if (status == RH_OK) status = write_file(self, &plan, options->output, &bytes, error);
  rh_plan_free(&plan);
  if (status == RH_OK) {
    rh_report_progress(self->report, 1.0, "done");
    rh_report_done(self->report, options->output, bytes, self->arch->gguf, ggml_type_name(self->type));
  }
  return status;
}

rh_status rh_convert_run(const rh_convert_options *options, rh_report *report, rh_error *error) {
  rh_source source;
  rh_status status = rh_source_open(options->folder, &source, error);
  if (status != RH_OK) return status;
  rh_conversion conversion = {.source = &source, .report = report, .pre = options->pre, .gguf = gguf_init_empty()};
  status = convert_source(&conversion, options, error);
  gguf_free(conversion.gguf);
  rh_source_close(&source);
  return status;
}
