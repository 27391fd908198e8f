// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the engine's table of functions.
// Data owned: none. Threads: the engine thread, except probe().
// Not here: the work itself; text is generated in engine/onnx/generate.
#include "engine/onnx/generate/generate.h"

static const char *get_folder(const rh_engine *engine) { return engine->folder; }

static const rh_graph *get_graph(const rh_engine *engine) { return &engine->graph; }

static const rh_engine_infer_ops infer_ops = {.folder = get_folder, .graph = get_graph, .run = rh_ort_run};

static const rh_engine_infer_ops *get_infer(const rh_engine *engine) {
  (void)engine;
  return &infer_ops;
}

static void get_counts(const rh_engine *engine, rh_engine_counts *counts) { *counts = engine->counts; }

// No use_threads: a session's threads cannot be made fewer or more while it lives. A session that is made while other
// models compute gets their share for good (session.c), and no thread of it spins between runs.
const rh_engine_ops rh_engine_onnx = {
    .name = "onnx",
    .version = "ONNX Runtime",  // describe() and probe() give the exact version
    .probe = rh_ort_probe,
    .load = rh_ort_load,
    .describe = rh_ort_describe,
    .start = rh_gen_start,
    .stop = rh_gen_stop,
    .pause = rh_gen_pause,
    .step = rh_gen_step,
    .infer = get_infer,
    .counts = get_counts,
    .unload = rh_ort_unload,
};
