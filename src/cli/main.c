// SPDX-License-Identifier: Apache-2.0
//
// Entry of the program `roundhouse`. Only this: everything else is in cli.c, where tests can link it.
#include "cli/cli.h"

int main(int argc, char **argv) { return rh_cli_main(argc, argv); }
