// SPDX-License-Identifier: Apache-2.0
//
// Ctrl-C as a counter and a descriptor that becomes readable, for commands that go on after it.
#ifndef RH_CLI_INTERRUPT_H
#define RH_CLI_INTERRUPT_H

#include <stdbool.h>

bool rh_interrupt_install(void);    // SIGINT is counted from now on; false when the system refuses
unsigned rh_interrupt_count(void);  // since the last clear
void rh_interrupt_clear(void);
int rh_interrupt_fd(void);  // -1 when not installed

#endif
