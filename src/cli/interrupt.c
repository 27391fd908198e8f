// SPDX-License-Identifier: Apache-2.0
//
// The signal handler of the commands. Owns one pipe and one counter for the life of the process. The handler may run on
// any thread; everything else belongs to the main thread. The handler only counts and writes one byte.
#include "cli/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupts;
static int ends[2] = {-1, -1};

static void on_signal(int number) {
  (void)number;
  int saved = errno;
  interrupts = interrupts + 1;
  ssize_t written = write(ends[1], "!", 1);  // a full pipe is readable already
  (void)written;
  errno = saved;
}

bool rh_interrupt_install(void) {
  if (ends[0] >= 0) return true;
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_signal;  // no SA_RESTART: a read at the prompt must return
  return sigaction(SIGINT, &action, NULL) == 0;
}

unsigned rh_interrupt_count(void) { return (unsigned)interrupts; }

void rh_interrupt_clear(void) {
  char bytes[64];
  interrupts = 0;
  while (ends[0] >= 0 && read(ends[0], bytes, sizeof bytes) > 0) continue;
}

int rh_interrupt_fd(void) { return ends[0]; }
