// SPDX-License-Identifier: Apache-2.0
//
// The endpoints that run no model. Private to src/daemon.
#ifndef RH_DAEMON_PAGES_H
#define RH_DAEMON_PAGES_H

#include "daemon/internal.h"

#define RH_PAGE_BYTES_MAX (8u * 1024u * 1024u)

#define RH_PAGE_OPEN (1u << 31)

typedef struct rh_page_answer {
  unsigned status;           // 200 unless the page says otherwise
  const char *content_type;  // application/json unless the page says otherwise
  rh_dynbuf body;
} rh_page_answer;

typedef struct rh_page {
  const char *path;
  const char *name;  // metric label
  unsigned scope;    // of a key that may look, as RH_KEY_ bits: 0 = any, RH_PAGE_OPEN = no key is needed
  void (*render)(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer);
} rh_page;

void rh_page_home(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer);
void rh_page_health(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer);
void rh_page_metrics(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer);
void rh_page_models(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer);
void rh_page_model(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer);
void rh_page_providers(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer);
void rh_page_last_request(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer);

#endif
