// SPDX-License-Identifier: Apache-2.0
//
// The part of `roundhouse show` about ONNX graphs: what they take and give, read from the file without loading it.
#ifndef RH_CLI_SHOW_ONNX_H
#define RH_CLI_SHOW_ONNX_H

#include <jansson.h>

// "onnx": {...} into `object`; nothing when the graph cannot be read.
void rh_show_add_onnx(json_t *object, const char *path);
// An array of ports, one a line below its heading.
void rh_show_print_ports(const char *heading, const json_t *ports);

#endif
