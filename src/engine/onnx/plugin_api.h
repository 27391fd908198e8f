// SPDX-License-Identifier: Apache-2.0
//
// Plugin execution providers: separate libraries that ONNX Runtime 1.22 and newer can take in. The header that Debian
// has is of 1.21, whose table of functions ends before them. The table only ever grows at its end (its first functions
// keep their places for ever, as its header promises), so what follows can be said here. Order and types: the
// documented C API of 1.22. Ask for version 22 before using it.
#ifndef RH_ENGINE_ONNX_PLUGIN_API_H
#define RH_ENGINE_ONNX_PLUGIN_API_H

#include <onnxruntime_c_api.h>

#if ORT_API_VERSION >= 22
typedef OrtApi rh_ort_plugin_api;
#else
typedef struct OrtEpDevice OrtEpDevice;
typedef struct OrtHardwareDevice OrtHardwareDevice;

typedef void rh_ort_unused(void);  // a place in the table that is not called here

typedef struct rh_ort_plugin_api {
  OrtApi until_21;
  // ValueInfo, Node, Graph and Model released, a value's name and type, the model editor
  rh_ort_unused *editor[7];
  rh_ort_unused *CreateTensorWithDataAndDeleterAsOrtValue;
  OrtStatus *(*SessionOptionsSetLoadCancellationFlag)(OrtSessionOptions *options, bool cancel);
  rh_ort_unused *GetCompileApi;
  rh_ort_unused *key_values[6];
  OrtStatus *(*RegisterExecutionProviderLibrary)(OrtEnv *env, const char *registration_name, const char *path);
  OrtStatus *(*UnregisterExecutionProviderLibrary)(OrtEnv *env, const char *registration_name);
  OrtStatus *(*GetEpDevices)(const OrtEnv *env, const OrtEpDevice *const **ep_devices, size_t *num_ep_devices);
  OrtStatus *(*SessionOptionsAppendExecutionProvider_V2)(OrtSessionOptions *session_options, OrtEnv *env,
                                                         const OrtEpDevice *const *ep_devices, size_t num_ep_devices,
                                                         const char *const *ep_option_keys,
                                                         const char *const *ep_option_vals, size_t num_ep_options);
  rh_ort_unused *SessionOptionsSetEpSelectionPolicy;
  rh_ort_unused *SessionOptionsSetEpSelectionPolicyDelegate;
  int (*HardwareDevice_Type)(const OrtHardwareDevice *device);  // 0 a processor, 1 a GPU, 2 a neural processor
  rh_ort_unused *HardwareDevice_VendorId;
  rh_ort_unused *HardwareDevice_Vendor;
  rh_ort_unused *HardwareDevice_DeviceId;
  rh_ort_unused *HardwareDevice_Metadata;
  const char *(*EpDevice_EpName)(const OrtEpDevice *ep_device);
  rh_ort_unused *EpDevice_EpVendor;
  rh_ort_unused *EpDevice_EpMetadata;
  rh_ort_unused *EpDevice_EpOptions;
  const OrtHardwareDevice *(*EpDevice_Device)(const OrtEpDevice *ep_device);
} rh_ort_plugin_api;
#endif

#endif
