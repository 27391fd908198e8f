// SPDX-License-Identifier: Apache-2.0
//
// What a worker says about the model it has loaded, and what it is told to load.
#ifndef RH_FLOW_MODEL_INFO_H
#define RH_FLOW_MODEL_INFO_H

#include <stdbool.h>
#include <stdint.h>

// Where a model computes. The order is no preference: that is the engine's (src/engine/onnx/providers.c).
typedef enum rh_device_wish {
  RH_DEVICE_AUTO,  // the best there is
  RH_DEVICE_CPU,
  RH_DEVICE_GPU,  // any
  RH_DEVICE_CUDA,
  RH_DEVICE_TENSORRT,
  RH_DEVICE_WEBGPU,
  RH_DEVICE_DIRECTML,
  RH_DEVICE_COUNT
} rh_device_wish;

typedef enum rh_onnx_optimization {
  RH_ONNX_OPTIMIZE_ALL,
  RH_ONNX_OPTIMIZE_EXTENDED,
  RH_ONNX_OPTIMIZE_BASIC,
  RH_ONNX_OPTIMIZE_NONE,
  RH_ONNX_OPTIMIZE_COUNT
} rh_onnx_optimization;

// Whether a graph's variant with int8 weights is taken in its place.
typedef enum rh_onnx_int8 {
  RH_ONNX_INT8_AUTO,    // when the processor is made for it and the answers stay the same within a bound
  RH_ONNX_INT8_ALWAYS,  // whatever is measured; a load without such a variant fails
  RH_ONNX_INT8_NEVER,
  RH_ONNX_INT8_COUNT
} rh_onnx_int8;

// What only the ONNX engine knows. All zero = the usual. Ints are bools unless an enum is named.
typedef struct rh_onnx_options {
  int device;             // rh_device_wish; FORCE_DEVICE of the environment wins
  int optimization;       // rh_onnx_optimization, of the graph
  int parallel;           // independent nodes of the graph at once, on inter_threads
  int no_arena;           // memory goes back to the system after each run
  int no_memory_pattern;  // memory of a run is not planned from the runs before
  int keep_optimized;     // the optimized graph is written to disk and taken from there at the next load
  int exact_growth;       // memory on a GPU grows by what is asked for, not by powers of two
  int int8;               // rh_onnx_int8
  double int8_cosine;     // the bound of RH_ONNX_INT8_AUTO for vectors; 0 = 0.99
  int64_t inter_threads;  // 0 = choose for me
  int64_t device_id;
  int64_t gpu_memory;  // bytes the engine may take on the GPU; 0 = MAX_GPU_MEM_GB of the environment, else no limit
} rh_onnx_options;

// Options of a load; 0 means "choose for me" unless said otherwise.
typedef struct rh_load_options {
  int64_t context;        // tokens of one request (prompt + answer); 0 = min(the model's own, 4096)
  int64_t slots;          // requests served at once; 0 = 4
  int64_t threads;        // 0 = the physical cores this process may use
  int64_t batch;          // tokens of one step at most; 0 = 512. A cancelled run stops between steps
  int64_t prefill_chunk;  // prompt tokens of one step while others decode; 0 = 512
  int64_t gpu_layers;     // -1 = all that fit, 0 = none
  bool mlock;
  rh_onnx_options onnx;
} rh_load_options;

typedef struct rh_load {
  const char *engine;  // "llama", "onnx", "fake"
  const char *path;    // the model's file; the fake engine takes a script here
  rh_load_options options;
  // What was found in the graphs' files by who looked at them, for an engine that cannot. NULL = unknown, none.
  const char *quantization;          // of `path`: "fp32", "fp16", "int8 dynamic", "int4"
  const char *variant;               // the same model with int8 weights, which the engine may take in place of `path`
  const char *variant_quantization;  // of that
  int32_t share;  // threads that may compute while it loads, because other models compute too; 0 = all of its own
} rh_load;

#define RH_SHARE_MAX 65536

typedef struct rh_model_info {
  char engine[32];
  char engine_version[64];
  char description[128];  // "llama 135M Q4_1"
  char architecture[64];
  char quantization[32];   // "Q4_K_M", "fp32", "int8 dynamic"; "" = unknown
  char device[64];         // "cpu", "cuda:0"
  char acceleration[128];  // the CPU variant or execution provider in use
  int64_t context;         // tokens of one request
  int64_t context_trained;
  int64_t slots;
  int64_t vocabulary;
  int64_t parameters;
  int64_t bytes;       // weights
  int64_t vram_bytes;  // on GPUs, measured after the load; 0 without one
  bool has_chat_template;
  char task[32];       // what RH_TASK_OWN means here, a name of rh_task_name; "" = generates
  int64_t dimensions;  // of an embedding; 0 = none
  char fallback[512];  // why no better device, execution provider or int8 variant is used; "" = there is no better one
  double load_ms;
} rh_model_info;

// What a worker reports every second and with each PONG.
typedef struct rh_worker_stats {
  int64_t rss_bytes;
  int64_t vram_bytes;      // on GPUs; 0 without one
  int64_t active_runs;     // runs that hold a slot
  int64_t waiting_runs;    // runs accepted but without a slot
  int64_t paused_runs;     // runs without credit
  uint64_t steps;          // engine steps since the load
  uint64_t prompt_tokens;  // computed
  uint64_t cached_tokens;  // reused
  uint64_t generated_tokens;
  uint64_t cancelled_runs;
  double step_age_ms;  // how long the step that runs now has been running; 0 = idle
} rh_worker_stats;

#endif
