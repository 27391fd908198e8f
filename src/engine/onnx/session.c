// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a session for a graph: its options, on the first execution provider that takes it.
// Data owned: nothing; the session belongs to the engine.
// Threads: making a session blocks for seconds, with TensorRT for minutes, and cannot report; so it is done on a thread of
// its own while the engine's thread reports progress and may give up.
// Not here: what the graph takes and gives (graph.c).
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/onnx/internal.h"

#define LOOK_INTERVAL_NS INT64_C(50000000)
// Weights lie in memory about twice while a session is made: as they came, and arranged for the kernels.
#define MEMORY_FACTOR 2.0

typedef struct making {
  const rh_ort_library *library;
  const char *path;
  OrtSessionOptions *options;
  OrtSession *session;
  OrtStatus *status;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  bool done;
} making;

static void *make(void *ctx) {
  making *m = ctx;
  OrtStatus *status = m->library->api->CreateSession(m->library->env, m->path, m->options, &m->session);
  pthread_mutex_lock(&m->mutex);
  m->status = status;
  m->done = true;
  pthread_cond_signal(&m->changed);
  pthread_mutex_unlock(&m->mutex);
  return NULL;
}

static int64_t resident_bytes(void) {
  FILE *stream = fopen("/proc/self/statm", "re");
  long long all = 0, resident = 0;
  if (!stream) return 0;
  if (fscanf(stream, "%lld %lld", &all, &resident) != 2) resident = 0;
  fclose(stream);
  return resident * sysconf(_SC_PAGESIZE);
}

// How far it is cannot be asked; what has come into memory tells. It never claims to be ready.
static double guess_progress(const rh_engine *engine, int64_t before) {
  double expected = (double)engine->bytes * MEMORY_FACTOR + 1.0;
  double there = (double)(resident_bytes() - before) / expected;
  return there < 0 ? 0 : there > 0.95 ? 0.95 : there;
}

static bool wait_a_moment(making *m) {
  struct timespec until;
  pthread_mutex_lock(&m->mutex);
  if (!m->done) {
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_INTERVAL_NS;
    if (until.tv_nsec >= 1000000000) {
      until.tv_sec++;
      until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&m->changed, &m->mutex, &until);
  }
  bool done = m->done;
  pthread_mutex_unlock(&m->mutex);
  return done;
}

typedef struct reporter {
  bool (*report)(void *ctx, double fraction);
  void *ctx;
  bool cancelled;
} reporter;

// The session of m->options into m->session, or m->status.
static bool make_watched(const rh_engine *engine, making *m, reporter *to) {
  pthread_condattr_t attributes;
  pthread_t thread;
  int64_t before = resident_bytes();
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_mutex_init(&m->mutex, NULL);
  pthread_cond_init(&m->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  bool started = pthread_create(&thread, NULL, make, m) == 0;
  while (started && !wait_a_moment(m)) {
    if (to->cancelled || !to->report || to->report(to->ctx, guess_progress(engine, before))) continue;
    to->cancelled = true;
    // An older ONNX Runtime cannot be stopped and is waited for.
    OrtStatus *status =
        m->library->plugins ? m->library->plugins->SessionOptionsSetLoadCancellationFlag(m->options, true) : NULL;
    if (status) m->library->api->ReleaseStatus(status);
  }
  if (started) pthread_join(thread, NULL);
  pthread_cond_destroy(&m->changed);
  pthread_mutex_destroy(&m->mutex);
  return started;
}

// --- options --------------------------------------------------------------------------------------------------------

static GraphOptimizationLevel level_of(const rh_onnx_options *options) {
  switch (options->optimization) {
    case RH_ONNX_OPTIMIZE_EXTENDED: return ORT_ENABLE_EXTENDED;
    case RH_ONNX_OPTIMIZE_BASIC: return ORT_ENABLE_BASIC;
    case RH_ONNX_OPTIMIZE_NONE: return ORT_DISABLE_ALL;
    default: return ORT_ENABLE_ALL;
  }
}

static OrtStatus *set_threads(const OrtApi *api, OrtSessionOptions *to, const rh_engine *engine, bool shared) {
  const rh_onnx_options *onnx = &engine->options.onnx;
  OrtStatus *status = api->SetIntraOpNumThreads(to, (int)engine->threads);
  if (!status && onnx->inter_threads > 0) status = api->SetInterOpNumThreads(to, (int)onnx->inter_threads);
  if (!status) status = api->SetSessionExecutionMode(to, onnx->parallel ? ORT_PARALLEL : ORT_SEQUENTIAL);
  // Threads that wait for work by spinning take the processor from other models: never between runs, and not at all
  // where others compute too.
  if (!status) status = api->AddSessionConfigEntry(to, "session.force_spinning_stop", "1");
  if (!status && shared) status = api->AddSessionConfigEntry(to, "session.intra_op.allow_spinning", "0");
  if (!status && shared) status = api->AddSessionConfigEntry(to, "session.inter_op.allow_spinning", "0");
  return status;
}

static OrtStatus *set_memory(const OrtApi *api, OrtSessionOptions *to, const rh_onnx_options *onnx) {
  OrtStatus *status = onnx->no_arena ? api->DisableCpuMemArena(to) : api->EnableCpuMemArena(to);
  if (!status) status = onnx->no_memory_pattern ? api->DisableMemPattern(to) : api->EnableMemPattern(to);
  return status;
}

// Without VNNI sums of products of unsigned and signed bytes overflow; then signed weights are shifted to unsigned ones. It
// does nothing elsewhere.
static OrtStatus *set_precision(const OrtApi *api, OrtSessionOptions *to) {
  return api->AddSessionConfigEntry(to, "session.x64quantprecision", "1");
}

static rh_status make_options(rh_engine *engine, bool shared, OrtSessionOptions **out, rh_error *error) {
  const OrtApi *api = engine->library->api;
  OrtStatus *status = api->CreateSessionOptions(out);
  if (!status) status = set_threads(api, *out, engine, shared);
  if (!status) status = set_memory(api, *out, &engine->options.onnx);
  if (!status) status = set_precision(api, *out);
  if (!status) status = api->SetSessionGraphOptimizationLevel(*out, level_of(&engine->options.onnx));
  return status ? rh_ort_fail(status, RH_LOAD_FAILED, error, "the session's options") : RH_OK;
}

// --- one try --------------------------------------------------------------------------------------------------------

static rh_status try_path(rh_engine *engine, const rh_ort_provider *provider, const char *path, const char *write_to,
                          bool shared, reporter *to, rh_error *error) {
  const OrtApi *api = engine->library->api;
  making m = {.library = engine->library, .path = path};
  OrtStatus *status = NULL;
  rh_status result = make_options(engine, shared, &m.options, error);
  if (result == RH_OK) {
    result = rh_ort_provider_append(engine->library, m.options, provider, &engine->options.onnx, error);
  }
  // What comes from there was optimized when it was written.
  if (result == RH_OK && path != engine->path)
    status = api->SetSessionGraphOptimizationLevel(m.options, ORT_DISABLE_ALL);
  if (result == RH_OK && write_to) status = rh_ort_kept_write(api, m.options, write_to);
  if (status) result = rh_ort_fail(status, RH_LOAD_FAILED, error, "the session's options");
  if (result == RH_OK && !make_watched(engine, &m, to)) {
    result = rh_fail(error, RH_NO_MEMORY, "no thread to load %s with", engine->name);
  }
  if (m.options) api->ReleaseSessionOptions(m.options);
  if (to->cancelled) {
    if (m.status) api->ReleaseStatus(m.status);
    if (m.session) api->ReleaseSession(m.session);
    return rh_fail(error, RH_CANCELLED, "loading %s was given up", engine->name);
  }
  if (m.status) return rh_ort_fail(m.status, RH_LOAD_FAILED, error, engine->path);
  engine->session = m.session;
  return result;
}

// With the optimized graph of an earlier load, where there is one; writing it, where there shall be.
static rh_status try_provider(rh_engine *engine, const rh_ort_provider *provider, bool shared, reporter *to,
                              rh_error *error) {
  char kept[RH_ORT_PATH_MAX], unfinished[RH_ORT_PATH_MAX + 32];
  if (!rh_ort_kept_path(engine, provider->word, kept, sizeof kept)) {
    return try_path(engine, provider, engine->path, NULL, shared, to, error);
  }
  if (access(kept, R_OK) == 0) {
    rh_status status = try_path(engine, provider, kept, NULL, shared, to, error);
    if (status == RH_OK || status == RH_CANCELLED) return status;
    RH_LOG(RH_LOG_WARN, "a kept optimized graph cannot be used and is made anew", rh_log_str("path", kept),
           rh_log_str("reason", error ? error->message : ""));
    rh_ort_kept_remove(kept);
  }
  (void)snprintf(unfinished, sizeof unfinished, "%s-%ld", kept, (long)getpid());
  rh_status status = try_path(engine, provider, engine->path, unfinished, shared, to, error);
  rh_ort_kept_done(unfinished, kept, status == RH_OK);
  if (status != RH_OK || access(kept, R_OK) != 0) return status;
  // From now on as at every later load: weights that are mapped take half the memory of weights that were made.
  OrtSession *made = engine->session;
  engine->session = NULL;
  if (try_path(engine, provider, kept, NULL, shared, to, NULL) == RH_OK) {
    engine->library->api->ReleaseSession(made);
  } else {
    engine->session = made;
  }
  return RH_OK;
}

// --- the list -------------------------------------------------------------------------------------------------------

static void note_fallback(rh_engine *engine, const char *word, const char *reason) {
  size_t used = strlen(engine->fallback);
  (void)snprintf(engine->fallback + used, sizeof engine->fallback - used, "%s%s: %s", used > 0 ? "; " : "", word,
                 reason);
}

static void note_chosen(rh_engine *engine, const rh_ort_provider *provider) {
  static const char *const levels[RH_ONNX_OPTIMIZE_COUNT] = {"all", "extended", "basic", "none"};
  const rh_onnx_options *onnx = &engine->options.onnx;
  if (strcmp(provider->word, "cpu") == 0) {
    (void)rh_text_copy(engine->device, sizeof engine->device, "cpu");
  } else {
    (void)snprintf(engine->device, sizeof engine->device, "%s:%lld", provider->word, (long long)onnx->device_id);
  }
  (void)snprintf(
      engine->acceleration, sizeof engine->acceleration, "%s, %lld threads, graph optimization %s", provider->name,
      (long long)engine->threads,
      onnx->optimization >= 0 && onnx->optimization < RH_ONNX_OPTIMIZE_COUNT ? levels[onnx->optimization] : levels[0]);
  RH_LOG(RH_LOG_INFO, "an ONNX graph is loaded", rh_log_str("graph", engine->name),
         rh_log_str("device", engine->device), rh_log_str("acceleration", engine->acceleration),
         rh_log_str("fallback", engine->fallback), rh_log_str("library", engine->library->version));
}

static rh_status nothing_fits(rh_device_wish wish, const rh_engine *engine, rh_error *error) {
  return rh_fail(
      error, RH_HARDWARE,
      "%s shall compute on %s, which this machine cannot do (%s); take FORCE_DEVICE or the model's onnx_device "
      "away to use what there is, or see roundhouse info",
      engine->name, rh_ort_wish_word(wish), engine->fallback[0] ? engine->fallback : "no such provider");
}

static int64_t choose_threads(const rh_load *load) {
  int64_t threads = load->options.threads > 0 ? load->options.threads : rh_cores_available();
  return load->share > 0 && load->share < threads ? load->share : threads;
}

rh_status rh_ort_session_make(rh_engine *engine, const rh_load *load, bool (*progress)(void *ctx, double fraction),
                              void *progress_ctx, rh_error *error) {
  rh_device_wish wish;
  rh_status status = rh_ort_wish(&load->options, &wish, &engine->options.onnx, error);
  if (status != RH_OK) return status;
  const rh_ort_providers *all = rh_ort_providers_get();
  reporter to = {.report = progress, .ctx = progress_ctx};
  engine->threads = choose_threads(load);
  status = RH_HARDWARE;
  for (size_t i = 0; i < all->count; i++) {
    const rh_ort_provider *provider = &all->items[i];
    rh_error inner = {0};
    if (!rh_ort_provider_matches(provider, wish)) continue;
    if (!provider->usable) {
      note_fallback(engine, provider->word, provider->reason);
      continue;
    }
    status = try_provider(engine, provider, load->share > 0, &to, &inner);
    if (status == RH_OK) {
      // The graph as it was read, its weights in it, is freed by now but still ours; that may be half of all there is.
      (void)malloc_trim(0);
      note_chosen(engine, provider);
      return RH_OK;
    }
    if (error) *error = inner;
    if (status == RH_CANCELLED || status == RH_NO_MEMORY) return status;
    note_fallback(engine, provider->word, inner.message);
  }
  return status == RH_HARDWARE ? nothing_fits(wish, engine, error) : status;
}
