// SPDX-License-Identifier: Apache-2.0
//
// GGUF models through llama.cpp's C API (libllama). See engine/engine.h for the contract.
#ifndef RH_ENGINE_LLAMA_LLAMA_ENGINE_H
#define RH_ENGINE_LLAMA_LLAMA_ENGINE_H

#include "engine/engine.h"

extern const rh_engine_ops rh_engine_llama;

#endif
