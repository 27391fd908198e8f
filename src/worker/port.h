// SPDX-License-Identifier: Apache-2.0
//
// The way out: frames of both threads, in the order they were written, to the daemon's socket.
#ifndef RH_WORKER_PORT_H
#define RH_WORKER_PORT_H

#include <stdint.h>

#include "base/dynbuf.h"
#include "base/status.h"
#include "flow/event.h"

typedef struct rh_port rh_port;

typedef enum rh_port_state {
  RH_PORT_EMPTY,     // all was sent
  RH_PORT_PENDING,   // the socket takes no more now
  RH_PORT_GONE,      // the daemon closed its end
  RH_PORT_OVERFLOW,  // the daemon reads too slowly: `bytes_max` was passed, or memory was short
} rh_port_state;

// `fd` is borrowed. NULL when the system refuses.
rh_port *rh_port_new(int fd, size_t bytes_max);
void rh_port_free(rh_port *port);

// Append whole frames: lock, write into the buffer with the wire's functions, unlock with their status. A failed write
// makes the port RH_PORT_OVERFLOW, after which nothing is sent. Any thread.
rh_dynbuf *rh_port_begin(rh_port *port);
void rh_port_end(rh_port *port, rh_status status);
void rh_port_write_event(rh_port *port, uint32_t stream, const rh_event *event);
void rh_port_write_error(rh_port *port, uint32_t stream, const rh_error *error);

// The engine thread: send what the socket takes at once and leave the rest to the I/O thread.
void rh_port_flush(rh_port *port);
// The I/O thread: the same; it waits for the socket itself when the answer is RH_PORT_PENDING.
rh_port_state rh_port_drain(rh_port *port);

// The I/O thread sleeps on this descriptor too; it is readable after a wake.
int rh_port_wake_fd(const rh_port *port);
void rh_port_wake(rh_port *port);        // any thread
void rh_port_clear_wake(rh_port *port);  // the I/O thread

#endif
