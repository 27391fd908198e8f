// SPDX-License-Identifier: Apache-2.0
//
// What fits this machine: the check before a pull or a load, the advice when it does not, and the best that does.
// Pure functions over the catalogue and a hardware probe; owns nothing, any thread. It does not look at what is in use now:
// that is the memory broker's business.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "model/known.h"
#include "model/need.h"

// The same share of RAM that the daemon takes as its budget; the rest belongs to the system and other programs.
#define RAM_SHARE 0.8
#define GPU_SHARE 0.9
#define CONTEXT_SERVED 4096
#define SLOTS_SERVED 4
#define BYTES_TEXT 32
// What people wait for before the first word, at most: the reading of a prompt of about a page.
#define PROMPT_TOKENS 512
#define PROMPT_SECONDS_MAX 30.0

static int64_t need_of(const rh_known *known) {
  if (known->memory_bytes > 0) return known->memory_bytes;
  int64_t context = known->context > 0 && known->context < CONTEXT_SERVED ? known->context : CONTEXT_SERVED;
  return rh_need_rough(known->bytes, known->parameters, context, SLOTS_SERVED);
}

static int64_t largest_gpu(const rh_hardware *hardware) {
  int64_t largest = 0;
  for (size_t i = 0; i < hardware->gpu_count; i++) {
    if (hardware->gpu[i].memory_bytes > largest) largest = hardware->gpu[i].memory_bytes;
  }
  return largest;
}

// llama.cpp spreads a model's layers over all GPUs; the other engines keep a model on one.
static int64_t gpu_usable(const rh_known *known, const rh_hardware *hardware) {
  int64_t bytes = 0;
  for (size_t i = 0; known->format == RH_FORMAT_GGUF && i < hardware->gpu_count; i++) {
    bytes += hardware->gpu[i].memory_bytes;
  }
  if (known->format != RH_FORMAT_GGUF) bytes = largest_gpu(hardware);
  return (int64_t)((double)bytes * GPU_SHARE);
}

static int64_t ram_usable(const rh_hardware *hardware) { return (int64_t)((double)hardware->memory_bytes * RAM_SHARE); }

static rh_status needs_gpu(const rh_known *known, const rh_hardware *hardware, rh_error *error) {
  char need[BYTES_TEXT], have[BYTES_TEXT];
  int64_t largest = largest_gpu(hardware);
  rh_text_format_bytes(need, sizeof need, (uint64_t)need_of(known));
  rh_text_format_bytes(have, sizeof have, (uint64_t)largest);
  if (hardware->gpu_count == 0) {
    return rh_fail_param(
        error, RH_HARDWARE, "model",
        "%s:%s needs a GPU with %s of memory, and this machine has none that is known; choose a model for "
        "CPUs (roundhouse recommend shows one)",
        known->name, known->version, need);
  }
  // A driver that does not say how much there is leaves it to the load.
  if (largest == 0 || need_of(known) <= gpu_usable(known, hardware)) return RH_OK;
  return rh_fail_param(error, RH_HARDWARE, "model",
                       "%s:%s needs a GPU with %s of memory, and the largest here has %s; choose a smaller version or "
                       "quantization",
                       known->name, known->version, need, have);
}

static bool fits_gpu(const rh_known *known, const rh_hardware *hardware) {
  return need_of(known) <= gpu_usable(known, hardware);
}

// Operations a second of one core on quantized weights: llama.cpp reads 223 tokens/s of a model with 135 million
// parameters on two cores with AVX2 (docs/benchmarks.md), two operations a parameter; the others by the width of their
// instructions. A guess that only has to tell seconds from minutes.
static double core_speed(const char *features) {
  static const struct {
    const char *feature;
    double speed;
  } speeds[] = {{"amx_int8", 120e9}, {"avx512_vnni", 60e9}, {"avx512f", 45e9}, {"avx2", 30e9},
                {"i8mm", 40e9},      {"asimddp", 25e9},     {"asimd", 12e9},   {"avx", 12e9}};
  for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++) {
    size_t length = strlen(speeds[i].feature);
    for (const char *at = features; (at = strstr(at, speeds[i].feature)) != NULL; at += length) {
      bool begins = at == features || at[-1] == ' ';
      if (begins && (at[length] == ' ' || at[length] == '\0')) return speeds[i].speed;
    }
  }
  return 5e9;
}

// Seconds that the processor takes to read a prompt of a page; 0 = a GPU does it, or nobody knows.
static double prompt_seconds(const rh_known *known, const rh_hardware *hardware) {
  if (hardware->cores_physical <= 0 || (hardware->gpu_count > 0 && fits_gpu(known, hardware))) return 0;
  double operations = 2.0 * (double)known->parameters * PROMPT_TOKENS;
  return operations / (core_speed(hardware->cpu_features) * hardware->cores_physical);
}

static bool fast_enough(const rh_known *known, const rh_hardware *hardware) {
  return prompt_seconds(known, hardware) <= PROMPT_SECONDS_MAX;
}

// Without the advice, which would ask here again.
static bool fits(const rh_known *known, const rh_hardware *hardware) {
  if (known->gpu_required) return needs_gpu(known, hardware, NULL) == RH_OK;
  if (hardware->memory_bytes <= 0) return true;
  bool in_ram = need_of(known) <= ram_usable(hardware) && known->memory_min_bytes <= hardware->memory_bytes;
  return in_ram || fits_gpu(known, hardware);
}

// "12.8 GiB of this machine's 16 GiB of memory are for models", and what its GPUs have.
static void describe_room(const rh_hardware *hardware, char *out, size_t size) {
  char usable[BYTES_TEXT], total[BYTES_TEXT], gpus[BYTES_TEXT];
  int64_t sum = 0;
  for (size_t i = 0; i < hardware->gpu_count; i++) sum += hardware->gpu[i].memory_bytes;
  rh_text_format_bytes(usable, sizeof usable, (uint64_t)ram_usable(hardware));
  rh_text_format_bytes(total, sizeof total, (uint64_t)hardware->memory_bytes);
  rh_text_format_bytes(gpus, sizeof gpus, (uint64_t)((double)sum * GPU_SHARE));
  int used = snprintf(out, size, "%s of this machine's %s of memory are for models", usable, total);
  if (sum > 0 && used > 0 && (size_t)used < size) {
    snprintf(out + used, size - (size_t)used, ", and %s of its GPU memory", gpus);
  }
}

rh_status rh_known_fits(const rh_known *known, const rh_hardware *hardware, rh_error *error) {
  if (known->gpu_required) return needs_gpu(known, hardware, error);
  if (hardware->memory_bytes <= 0) return RH_OK;  // nobody knows: let the load find out
  int64_t need = need_of(known);
  if (fits(known, hardware)) return RH_OK;
  if (need < known->memory_min_bytes) need = known->memory_min_bytes;
  char need_text[BYTES_TEXT], room[200];
  rh_text_format_bytes(need_text, sizeof need_text, (uint64_t)need);
  describe_room(hardware, room, sizeof room);
  const rh_known *smaller = rh_known_smaller(known, hardware);
  return rh_fail_param(error, RH_HARDWARE, "model", "%s:%s needs %s of memory with room for its context; %s; %s%s%s%s",
                       known->name, known->version, need_text, room,
                       smaller != NULL ? "a smaller one that fits is " : "choose a smaller model or quantization",
                       smaller != NULL ? smaller->name : "", smaller != NULL ? ":" : "",
                       smaller != NULL ? smaller->version : "");
}

const rh_known *rh_known_smaller(const rh_known *known, const rh_hardware *hardware) {
  const rh_known *best = NULL;
  for (size_t i = 0; i < rh_known_count(); i++) {
    const rh_known *other = rh_known_at(i);
    if (other == known || strcmp(other->name, known->name) != 0 || strcmp(other->task, known->task) != 0) continue;
    if (need_of(other) >= need_of(known) || !fits(other, hardware)) continue;
    if (best == NULL || need_of(other) > need_of(best)) best = other;
  }
  return best;
}

static bool is_candidate(const rh_known *known, const char *task) {
  return known->rank > 0 && !known->base_model && strcmp(known->task, task) == 0 &&
         (known->format == RH_FORMAT_SAFETENSORS || rh_format_engine(known->format) != NULL);
}

static void explain(const rh_hardware *hardware, rh_recommendation *out) {
  char need[BYTES_TEXT], room[200];
  describe_room(hardware, room, sizeof room);
  if (out->best != NULL) {
    rh_text_format_bytes(need, sizeof need, (uint64_t)need_of(out->best));
    bool on_gpu = hardware->gpu_count > 0 && fits_gpu(out->best, hardware);
    snprintf(out->why, sizeof out->why, "%.100s:%.100s needs %s with its KV cache%s; %s", out->best->name,
             out->best->version, need, on_gpu ? ", which fits on the GPU" : "", room);
  } else {
    snprintf(out->why, sizeof out->why, "no model of the catalogue fits: %s", room);
  }
  if (out->bigger == NULL) return;
  rh_error reason = {0};
  if (rh_known_fits(out->bigger, hardware, &reason) != RH_OK) {
    (void)rh_text_copy(out->why_not_bigger, sizeof out->why_not_bigger, reason.message);
  } else {
    snprintf(
        out->why_not_bigger, sizeof out->why_not_bigger,
        "%.100s:%.100s would fit, but without a GPU for it %d core%s take about %.0f s to read a prompt of %d tokens",
        out->bigger->name, out->bigger->version, hardware->cores_physical, hardware->cores_physical == 1 ? "" : "s",
        prompt_seconds(out->bigger, hardware), PROMPT_TOKENS);
  }
}

static bool suits(const rh_known *known, const rh_hardware *hardware) {
  return fits(known, hardware) && fast_enough(known, hardware);
}

void rh_known_recommend(const rh_hardware *hardware, const char *task, rh_recommendation *out) {
  *out = (rh_recommendation){.best = NULL};
  const char *wanted = task != NULL ? task : "chat";
  for (size_t i = 0; i < rh_known_count(); i++) {
    const rh_known *known = rh_known_at(i);
    if (!is_candidate(known, wanted) || !suits(known, hardware)) continue;
    if (out->best == NULL || known->rank > out->best->rank) out->best = known;
  }
  for (size_t i = 0; i < rh_known_count(); i++) {
    const rh_known *known = rh_known_at(i);
    int32_t floor = out->best != NULL ? out->best->rank : 0;
    if (!is_candidate(known, wanted) || known->rank <= floor || suits(known, hardware)) continue;
    if (out->bigger == NULL || known->rank < out->bigger->rank) out->bigger = known;
  }
  explain(hardware, out);
}
