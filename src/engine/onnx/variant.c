// SPDX-License-Identifier: Apache-2.0
//
// Purpose: loads a graph, or its variant with int8 weights where that answers alike.
// Data owned: the engine that is not taken, until the choice is made; a verdict on disk for each pair of graphs.
// Threads: the engine thread.
// Not here: which file is a variant, and whether the processor is made for it: who sends the load looked (src/model).
//
// The first load has both in memory for a moment, which the daemon's estimate counts (src/model/need.c). What was measured, or
// that nothing can be, is kept on disk, so that later loads read only the one that is taken.
#include <assert.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/utf8.h"
#include "engine/onnx/internal.h"

#define COSINE_LEAST 0.99
#define PROBABILITY_GAP_MOST 0.05
#define VERDICT_BYTES_MAX 512
#define UNUSABLE "unusable "  // of a verdict; behind it is why
#define GRAPH_SHARE 0.6       // of the progress of both loads and the measurement
#define VARIANT_SHARE 0.3

typedef struct choice {
  const rh_load *load;
  bool (*report)(void *ctx, double fraction);
  void *ctx;
  double from, share;             // of the progress, that what is done now is of
  char verdict[RH_ORT_PATH_MAX];  // its file; "" = nowhere
  bool measured, remembered;      // remembered: by an earlier load, also that nothing can be measured
  rh_ort_accuracy accuracy;
  char reason[256];  // why nothing could be measured
} choice;

static bool report(void *ctx, double fraction) {
  choice *c = ctx;
  return !c->report || c->report(c->ctx, c->from + fraction * c->share);
}

static const char *name_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

// --- the verdict ----------------------------------------------------------------------------------------------------

static double bound_of(const choice *c) {
  double own = c->load->options.onnx.int8_cosine;
  return !c->accuracy.vectors ? PROBABILITY_GAP_MOST : own > 0 ? own : COSINE_LEAST;
}

static bool is_alike(const choice *c) {
  if (!c->measured) return false;
  return c->accuracy.vectors ? c->accuracy.value >= bound_of(c) : c->accuracy.value <= bound_of(c);
}

static bool is_forced(const choice *c) { return c->load->options.onnx.int8 == RH_ONNX_INT8_ALWAYS; }

static bool is_taken(const choice *c) { return is_forced(c) || is_alike(c); }

// "cosine 0.99342, bound 0.99"
static void verdict_text(const choice *c, char *out, size_t size) {
  if (!c->measured) {
    (void)snprintf(out, size, "not measured: %s", c->reason);
  } else if (c->accuracy.vectors) {
    (void)snprintf(out, size, "cosine %.5f, bound %g", c->accuracy.value, bound_of(c));
  } else {
    (void)snprintf(out, size, "probability off by %.5f, bound %g", c->accuracy.value, bound_of(c));
  }
}

// Failures that the files are the cause of, which the next load would meet again.
static bool lasts(rh_status status) {
  return status == RH_UNSUPPORTED || status == RH_LOAD_FAILED || status == RH_INVALID || status == RH_NOT_FOUND;
}

static void remember(const choice *c) {
  char text[VERDICT_BYTES_MAX];
  rh_error error = {0};
  if (c->verdict[0] == '\0') return;
  int length = c->measured ? snprintf(text, sizeof text, "%s %.6f\n", c->accuracy.vectors ? "cosine" : "probability",
                                      c->accuracy.value)
                           : snprintf(text, sizeof text, UNUSABLE "%s\n", c->reason);
  if (rh_file_write_atomic(c->verdict, text, (size_t)length, 0600, &error) == RH_OK) {
    rh_ort_kept_verdict_room(c->verdict);
  } else {
    RH_LOG(RH_LOG_WARN, "what was measured of an int8 variant cannot be kept", rh_log_str("reason", error.message));
  }
}

static void read_verdict(choice *c, const char *text, size_t length) {
  char kind[16] = "";
  if (rh_text_starts_with(text, UNUSABLE) && rh_utf8_valid(text, length)) {
    (void)rh_text_copy(c->reason, sizeof c->reason, text + strlen(UNUSABLE));
    c->reason[strcspn(c->reason, "\n")] = '\0';
    c->remembered = true;
  } else if (sscanf(text, "%15s %lf", kind, &c->accuracy.value) == 2) {
    c->accuracy.vectors = strcmp(kind, "cosine") == 0;
    c->measured = c->remembered = c->accuracy.vectors || strcmp(kind, "probability") == 0;
  }
}

static void recall(choice *c) {
  rh_dynbuf text;
  rh_error ignored = {0};
  const rh_load *load = c->load;
  if (!rh_ort_kept_verdict_path(rh_ort_library_get(), &load->options.onnx, load->path, load->variant, c->verdict,
                                sizeof c->verdict)) {
    c->verdict[0] = '\0';
    return;
  }
  rh_dynbuf_init(&text, VERDICT_BYTES_MAX);
  if (rh_file_read(c->verdict, &text, &ignored) == RH_OK) read_verdict(c, rh_dynbuf_data(&text), text.length);
  rh_dynbuf_free(&text);
}

// --- loading --------------------------------------------------------------------------------------------------------

static rh_status load_one(choice *c, bool variant, double from, double share, rh_engine **out, rh_error *error) {
  rh_load load = *c->load;
  load.path = variant ? c->load->variant : c->load->path;
  load.quantization = variant ? c->load->variant_quantization : c->load->quantization;
  load.variant = NULL;
  c->from = from;
  c->share = share;
  return rh_ort_load_graph(&load, report, c, out, error);
}

// Both, and what is found; the one that is taken into *out.
static rh_status load_and_measure(choice *c, rh_engine **out, rh_error *error) {
  rh_engine *graph = NULL, *variant = NULL;
  rh_error inner = {0};
  rh_status status = load_one(c, false, 0, GRAPH_SHARE, &graph, error);
  if (status != RH_OK) return status;
  status = load_one(c, true, GRAPH_SHARE, VARIANT_SHARE, &variant, &inner);
  if (status == RH_OK) {
    c->from = GRAPH_SHARE + VARIANT_SHARE;
    c->share = 1 - c->from;
    status = rh_ort_accuracy_measure(graph, variant, report, c, &c->accuracy, &inner);
    c->measured = status == RH_OK;
  }
  if (!c->measured) (void)rh_text_copy(c->reason, sizeof c->reason, inner.message);
  // Whatever else is wrong with a variant, the graph can do without it.
  if (status == RH_CANCELLED || (is_forced(c) && (!variant || status == RH_NO_MEMORY))) {
    rh_ort_unload(graph);
    rh_ort_unload(variant);
    return rh_fail(error, status, "%s", inner.message);
  }
  if (c->measured || lasts(status)) remember(c);
  bool taken = variant && is_taken(c);
  *out = taken ? variant : graph;
  rh_ort_unload(taken ? graph : variant);
  (void)malloc_trim(0);
  return RH_OK;
}

// By what an earlier load has found.
static rh_status load_known(choice *c, rh_engine **out, rh_error *error) {
  bool taken = is_taken(c);
  rh_status status = load_one(c, taken, 0, 1, out, error);
  if (status == RH_OK || !taken || status == RH_CANCELLED || is_forced(c)) return status;
  RH_LOG(RH_LOG_WARN, "an int8 variant cannot be loaded", rh_log_str("path", c->load->variant),
         rh_log_str("reason", error ? error->message : ""));
  (void)rh_text_copy(c->reason, sizeof c->reason, error ? error->message : "it cannot be loaded");
  c->measured = false;
  return load_one(c, false, 0, 1, out, error);
}

static void note(const choice *c, rh_engine *engine) {
  char text[320];
  const char *variant = name_of(c->load->variant);
  bool taken = strcmp(engine->path, c->load->variant) == 0;
  verdict_text(c, text, sizeof text);
  RH_LOG(taken && !is_alike(c) ? RH_LOG_WARN : RH_LOG_INFO,
         taken ? "an int8 variant is taken" : "an int8 variant is not taken",
         rh_log_str("graph", name_of(c->load->path)), rh_log_str("variant", variant), rh_log_str("verdict", text),
         rh_log_str("known", c->remembered ? "remembered" : "now"));
  if (taken) {
    size_t used = strlen(engine->acceleration);
    (void)snprintf(engine->acceleration + used, sizeof engine->acceleration - used, "; int8 variant: %s", text);
    return;
  }
  // Before the reasons of providers, which everybody knows who has no such device. Cut between characters.
  char file[65], why[201], others[201];
  (void)rh_text_copy(file, sizeof file, variant);
  (void)rh_text_copy(why, sizeof why, text);
  (void)rh_text_copy(others, sizeof others, engine->fallback);
  (void)snprintf(engine->fallback, sizeof engine->fallback, "%s is not used: %s%s%s", file, why,
                 others[0] != '\0' ? "; " : "", others);
}

// --- whether --------------------------------------------------------------------------------------------------------

// int8 is for processors. Which provider takes the graph shows only at the end of a load; the first that can is it, else none.
static bool computes_on_processor(const rh_load *load) {
  rh_device_wish wish;
  rh_onnx_options ignored;
  rh_error error = {0};
  if (!rh_ort_library_get()->api || rh_ort_wish(&load->options, &wish, &ignored, &error) != RH_OK) return false;
  const rh_ort_providers *all = rh_ort_providers_get();
  for (size_t i = 0; i < all->count; i++) {
    if (!all->items[i].usable || !rh_ort_provider_matches(&all->items[i], wish)) continue;
    return strcmp(all->items[i].word, "cpu") == 0;
  }
  return false;
}

rh_status rh_ort_load(const rh_load *load, bool (*progress)(void *ctx, double fraction), void *progress_ctx,
                      rh_engine **out, rh_error *error) {
  assert(load && load->path && out);
  int use = load->options.onnx.int8;
  *out = NULL;
  if (use == RH_ONNX_INT8_ALWAYS && !load->variant) {
    return rh_fail_param(
        error, RH_LOAD_FAILED, "onnx_int8",
        "onnx_int8 is \"always\", but %s has no int8 variant beside it (%.*s_int8.onnx, ..._quantized.onnx; "
        "scripts/quantize_onnx.py makes one); set it to \"auto\" or add one",
        load->path, (int)strcspn(name_of(load->path), "."), name_of(load->path));
  }
  if (!load->variant || use == RH_ONNX_INT8_NEVER || !computes_on_processor(load))
    return rh_ort_load_graph(load, progress, progress_ctx, out, error);
  uint64_t begin = rh_clock_now_ns();
  choice c = {.load = load, .report = progress, .ctx = progress_ctx, .share = 1};
  recall(&c);
  rh_status status = c.remembered ? load_known(&c, out, error) : load_and_measure(&c, out, error);
  if (status != RH_OK) return status;
  note(&c, *out);
  (*out)->load_ms = rh_ns_to_ms(rh_clock_now_ns() - begin);
  return RH_OK;
}
