// SPDX-License-Identifier: Apache-2.0
//
// Private to src/provider: what a protocol is to the transport. One file a protocol (chat.c, responses.c, anthropic.c), pure:
// no sockets, no clock. A protocol writes a request's body and reads an answer's bytes, in pieces of any size, into events.
#ifndef RH_PROVIDER_PROTOCOL_H
#define RH_PROVIDER_PROTOCOL_H

#include "base/dynbuf.h"
#include "provider/provider.h"

#define RH_PROVIDER_EVENT_BYTES_MAX (8u * 1024u * 1024u)  // one event of a stream; a longer one is RH_UPSTREAM
#define RH_PROVIDER_BODY_BYTES_MAX (64u * 1024u * 1024u)  // a whole answer, or an error's

typedef struct rh_protocol_reader rh_protocol_reader;  // the state of one answer

typedef struct rh_protocol_ops {
  // The request's body as JSON, and its path below base_url ("/messages"). RH_UNSUPPORTED names what cannot be said.
  rh_status (*write)(const rh_provider_spec *spec, const char *model, const rh_run *run, bool stream, rh_dynbuf *body,
                     const char **path, rh_error *error);
  // The protocol's header lines beside Content-Type, the key's included, into `lines` ("Name: value\n"...). Those of the
  // configuration (spec->headers) are the transport's to add; they win over these.
  rh_status (*headers)(const rh_provider_spec *spec, const rh_run *run, rh_dynbuf *lines);
  rh_protocol_reader *(*reader_new)(const rh_provider_spec *spec, const rh_run *run, bool stream);
  void (*reader_free)(rh_protocol_reader *reader);
  // Bytes of a 2xx answer: a stream's events, or pieces of the one JSON body. Events go to `sink` as they are complete. A
  // verdict of RH_WAIT is returned but all of `bytes` is taken (the transport pauses then). A fault in the answer is an ERROR
  // event (RH_UPSTREAM; or what an error inside the stream says). Nothing is pushed after a final event.
  rh_verdict (*read)(rh_protocol_reader *reader, const char *bytes, size_t length, const rh_sink *sink);
  // The answer's bytes are over. Pushes what is owed: USAGE and END, or an ERROR when the answer was cut short.
  rh_verdict (*finish)(rh_protocol_reader *reader, const rh_sink *sink);
  // A body with an HTTP status that is not 2xx as an error: the provider's words, shortened and without keys (explain.h); status as
  // in provider.h.
  void (*explain)(const rh_provider_spec *spec, unsigned http_status, const char *body, size_t length, rh_error *error);
} rh_protocol_ops;

const rh_protocol_ops *rh_protocol_find(rh_protocol protocol);

#endif
