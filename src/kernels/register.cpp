// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the hook: llama.cpp's CPU backend asks a list of C++ objects whether they take a weight or an operation; this file puts
// ours at its front. Everything else is C.
// Data owned: one buffer type and one object behind it, for the life of the process.
// Threads: rh_kernels_install once; the objects' methods on the backend's threads.
// Not here: anything that computes.
#include "kernels/kernels.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "ggml-cpu/traits.h"
#include "kernels/buffer.h"

extern "C" {
#include "kernels/attention.h"
#include "kernels/choose.h"
#include "kernels/operation.h"
}

// These two have no code, but whoever derives from them needs them, and the backend's own are not exported for linking.
namespace ggml::cpu {
tensor_traits::~tensor_traits() = default;
extra_buffer_type::~extra_buffer_type() = default;
}  // namespace ggml::cpu

namespace {

const rk_set *set;
ggml_backend_buffer_type type;
void (*backend_barrier)(ggml_threadpool *);

void wait_for_all(void *pool) { backend_barrier(static_cast<ggml_threadpool *>(pool)); }

bool is_attention(const ggml_tensor *op) { return op->op == GGML_OP_FLASH_ATTN_EXT; }

// Asked only for operations that Weights::get_tensor_traits has taken.
class Operations : public ggml::cpu::tensor_traits {
 public:
  bool work_size(int threads, const ggml_tensor *op, size_t &size) override {
    size = is_attention(op) ? rk_attention_work_size(set, op, threads) : rk_operation_work_size(set, op, threads);
    return true;
  }

  bool compute_forward(ggml_compute_params *params, ggml_tensor *op) override {
    rk_team team = {params->ith,   params->nth,  static_cast<uint8_t *>(params->wdata),
                    params->wsize, wait_for_all, params->threadpool};
    if (is_attention(op)) {
      rk_attention_run(set, op, &team);
    } else {
      rk_operation_run(set, op, &team);
    }
    return true;
  }
};

class Weights : public ggml::cpu::extra_buffer_type {
 public:
  bool supports_op(ggml_backend_dev_t, const ggml_tensor *op) override {
    return op->src[0] && op->src[0]->buffer && op->src[0]->buffer->buft == &type && rk_operation_fits(set, op);
  }

  ggml::cpu::tensor_traits *get_tensor_traits(const ggml_tensor *op) override {
    return is_attention(op) ? attention(op) : product(op);
  }

 private:
  ggml::cpu::tensor_traits *attention(const ggml_tensor *op) {
    return rk_attention_fits(set, op) ? &operations : nullptr;
  }

  ggml::cpu::tensor_traits *product(const ggml_tensor *op) {
    bool packed = op->src[0] && op->src[0]->buffer && op->src[0]->buffer->buft == &type;
    bool computes = op->op == GGML_OP_MUL_MAT || op->op == GGML_OP_MUL_MAT_ID || op->op == GGML_OP_GET_ROWS;
    return packed && computes ? &operations : nullptr;
  }

  Operations operations;
};

Weights weights;

// The handle of the library that `function` is in.
void *library_of(void *function) {
  Dl_info where;
  if (!function || dladdr(function, &where) == 0 || !where.dli_fname) return nullptr;
  return dlopen(where.dli_fname, RTLD_NOW | RTLD_NOLOAD);
}

using list_function = std::vector<ggml_backend_buffer_type_t> &(*)();

// Finds the hook, or says what is missing.
list_function find_hook(void *backend_function, const char **missing) {
  if (std::strcmp(ggml_version(), RK_GGML_VERSION) != 0) {
    *missing = "another version of llama.cpp than " RK_GGML_VERSION;
    return nullptr;
  }
  void *library = library_of(backend_function);
  void *list = library ? dlsym(library, "_Z39ggml_backend_cpu_get_extra_buffer_typesv") : nullptr;
  void *barrier = library ? dlsym(library, "ggml_barrier") : nullptr;
  if (!list || !barrier) {
    *missing = "this build of llama.cpp has no hook for kernels";
    return nullptr;
  }
  std::memcpy(&backend_barrier, &barrier, sizeof barrier);
  list_function function;
  std::memcpy(&function, &list, sizeof list);
  return function;
}

}  // namespace

extern "C" bool rh_kernels_install(void *backend_function, const char *wish, char *words, size_t size) {
  const rk_set *chosen = rk_choose(wish, words, size);
  if (!chosen) return false;
  const char *missing = nullptr;
  list_function list = find_hook(backend_function, &missing);
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (!list || !device) {
    std::snprintf(words, size, "stock (%s)", missing ? missing : "no CPU backend");
    return false;
  }
  set = chosen;
  type.iface = rk_buffer_type(set);
  type.device = device;
  type.context = static_cast<ggml::cpu::extra_buffer_type *>(&weights);
  list().insert(list().begin(), &type);
  return true;
}

extern "C" void rh_kernels_mapped(bool mapped) { rk_buffer_mapped(mapped); }
