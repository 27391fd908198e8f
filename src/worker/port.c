// SPDX-License-Identifier: Apache-2.0
//
// One output buffer under a mutex. The engine thread sends its events itself at the end of a step: handing them to the
// I/O thread would cost every token a thread switch. Because both threads send from the front of the same buffer under
// the same lock, the order is the order of writing. Sending never blocks. It knows frames only as bytes.
#include "worker/port.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/message.h"

struct rh_port {
  pthread_mutex_t mutex;
  rh_dynbuf out;
  rh_port_state end;  // RH_PORT_GONE or RH_PORT_OVERFLOW once that happened, else RH_PORT_EMPTY
  bool watched;       // the I/O thread knows that bytes are pending and waits for the socket
  int fd;
  int wake_fd;
};

rh_port *rh_port_new(int fd, size_t bytes_max) {
  rh_port *port = calloc(1, sizeof *port);
  if (port == NULL) return NULL;
  port->fd = fd;
  port->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  rh_dynbuf_init(&port->out, bytes_max);
  if (port->wake_fd < 0 || pthread_mutex_init(&port->mutex, NULL) != 0) {
    if (port->wake_fd >= 0) close(port->wake_fd);
    free(port);
    return NULL;
  }
  return port;
}

void rh_port_free(rh_port *port) {
  if (port == NULL) return;
  pthread_mutex_destroy(&port->mutex);
  rh_dynbuf_free(&port->out);
  close(port->wake_fd);
  free(port);
}

rh_dynbuf *rh_port_begin(rh_port *port) {
  pthread_mutex_lock(&port->mutex);
  return &port->out;
}

void rh_port_end(rh_port *port, rh_status status) {
  if (status != RH_OK && port->end == RH_PORT_EMPTY) port->end = RH_PORT_OVERFLOW;
  // After the end nothing is sent any more, so nothing needs to be kept.
  if (port->end != RH_PORT_EMPTY) rh_dynbuf_clear(&port->out);
  bool overflow = port->end == RH_PORT_OVERFLOW;
  pthread_mutex_unlock(&port->mutex);
  if (overflow) rh_port_wake(port);
}

void rh_port_write_event(rh_port *port, uint32_t stream, const rh_event *event) {
  rh_dynbuf *out = rh_port_begin(port);
  rh_port_end(port, rh_event_write(out, stream, event));
}

void rh_port_write_error(rh_port *port, uint32_t stream, const rh_error *error) {
  rh_event event = {.kind = RH_EVENT_ERROR};
  event.as.error = *error;
  rh_port_write_event(port, stream, &event);
}

// With the mutex held.
static rh_port_state send_some(rh_port *port) {
  while (port->end == RH_PORT_EMPTY && port->out.length > 0) {
    ssize_t sent = send(port->fd, rh_dynbuf_data(&port->out), port->out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      rh_dynbuf_consume(&port->out, (size_t)sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return RH_PORT_PENDING;
    } else if (errno != EINTR) {
      port->end = RH_PORT_GONE;
      rh_dynbuf_clear(&port->out);
    }
  }
  return port->end;
}

void rh_port_flush(rh_port *port) {
  pthread_mutex_lock(&port->mutex);
  rh_port_state state = send_some(port);
  bool wake = state != RH_PORT_EMPTY && !port->watched;
  pthread_mutex_unlock(&port->mutex);
  if (wake) rh_port_wake(port);
}

rh_port_state rh_port_drain(rh_port *port) {
  pthread_mutex_lock(&port->mutex);
  rh_port_state state = send_some(port);
  port->watched = state != RH_PORT_EMPTY;
  pthread_mutex_unlock(&port->mutex);
  return state;
}

int rh_port_wake_fd(const rh_port *port) { return port->wake_fd; }

void rh_port_wake(rh_port *port) {
  uint64_t one = 1;
  // The counter can only be full when a wake is pending already, so a failure loses nothing.
  ssize_t written = write(port->wake_fd, &one, sizeof one);
  (void)written;
}

void rh_port_clear_wake(rh_port *port) {
  uint64_t count = 0;
  ssize_t got = read(port->wake_fd, &count, sizeof count);
  (void)got;
}
