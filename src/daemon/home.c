// SPDX-License-Identifier: Apache-2.0
//
// GET /: a plain page for a person, or plain text for a terminal, that says what runs here and what can be asked. Ollama's
// own clients get the one sentence they look for.
#include <string.h>

#include "base/clock.h"
#include "base/version.h"
#include "daemon/pages.h"

static void append_escaped(rh_dynbuf *out, const char *text) {
  for (; *text != '\0'; text++) {
    switch (*text) {
      case '<': (void)rh_dynbuf_append_text(out, "&lt;"); break;
      case '>': (void)rh_dynbuf_append_text(out, "&gt;"); break;
      case '&': (void)rh_dynbuf_append_text(out, "&amp;"); break;
      case '"': (void)rh_dynbuf_append_text(out, "&quot;"); break;
      default: (void)rh_dynbuf_append_char(out, *text);
    }
  }
}

static const char *const head =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
    "content=\"width=device-width\"><title>Roundhouse</title><style>body{font:16px/1.5 system-ui,sans-serif;"
    "max-width:48rem;margin:3rem auto;padding:0 1rem;color:#222;background:#fff}table{border-collapse:collapse;"
    "width:100%}td,th{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd}code,pre{background:#f4f4f4;"
    "padding:.1rem .3rem;border-radius:3px}pre{padding:.8rem;overflow:auto}@media(prefers-color-scheme:dark){body{"
    "color:#ddd;background:#181818}td,th{border-color:#444}code,pre{background:#262626}}</style>";

static void append_html_models(const rh_daemon *daemon, rh_dynbuf *out) {
  (void)rh_dynbuf_append_text(out, "<h2>Models</h2><table><tr><th>Name<th>State<th>Engine<th>Running<th>Waiting</tr>");
  for (size_t i = 0; i < rh_manager_count(daemon->manager); i++) {
    const rh_served *served = rh_manager_at(daemon->manager, i);
    const rh_member *member = rh_served_member(served);
    (void)rh_dynbuf_append_text(out, "<tr><td>");
    append_escaped(out, rh_served_spec(served)->name);
    (void)rh_dynbuf_printf(out, "<td>%s", rh_member_state_name(rh_member_get_state(member)));
    if (rh_member_get_state(member) == RH_MEMBER_FAILED) {
      (void)rh_dynbuf_append_text(out, ": ");
      append_escaped(out, rh_member_failure(member)->message);
    }
    (void)rh_dynbuf_append_text(out, "<td>");
    append_escaped(out, rh_served_spec(served)->engine);
    (void)rh_dynbuf_printf(out, "<td>%zu<td>%zu</tr>", rh_sched_running(rh_served_queue(served)),
                           rh_sched_queued(rh_served_queue(served)));
  }
  (void)rh_dynbuf_append_text(out, "</table>");
}

static void render_html(const rh_daemon *daemon, bool trusted, rh_dynbuf *out) {
  (void)rh_dynbuf_append_text(out, head);
  (void)rh_dynbuf_printf(out, "<h1>Roundhouse is running</h1><p>Version %s, up for %.0f s.</p>", RH_VERSION,
                         rh_ns_to_s(rh_clock_now_ns() - daemon->started_ns));
  if (trusted) append_html_models(daemon, out);
  (void)rh_dynbuf_append_text(out, "<h2>Ask</h2><pre>curl http://");
  append_escaped(out, rh_http_server_address(daemon->http));
  (void)rh_dynbuf_append_text(
      out,
      "/v1/chat/completions \\\n  -H 'Content-Type: application/json' \\\n  -d '{\"messages\":[{\"role\":\"user\","
      "\"content\":\"Hello\"}]}'</pre><p>");
  for (const rh_api_endpoint *const *at = rh_api_all(); *at != NULL; at++) {
    (void)rh_dynbuf_printf(out, "<code>POST %s</code> ", (*at)->path);
  }
  (void)rh_dynbuf_append_text(out,
                              "<a href=\"/v1/models\">/v1/models</a> <a href=\"/health\">/health</a> "
                              "<a href=\"/metrics\">/metrics</a> <a href=\"/api/models\">/api/models</a> "
                              "<a href=\"/last_request_stats\">/last_request_stats</a></p></html>\n");
}

static void render_text(const rh_daemon *daemon, bool trusted, rh_dynbuf *out) {
  (void)rh_dynbuf_printf(out, "Roundhouse %s is running\n%s", RH_VERSION, trusted ? "\nModels:\n" : "");
  for (size_t i = 0; trusted && i < rh_manager_count(daemon->manager); i++) {
    const rh_served *served = rh_manager_at(daemon->manager, i);
    (void)rh_dynbuf_printf(out, "  %s (%s)\n", rh_served_spec(served)->name,
                           rh_member_state_name(rh_member_get_state(rh_served_member(served))));
  }
  (void)rh_dynbuf_append_text(out, "\nEndpoints:\n");
  for (const rh_api_endpoint *const *at = rh_api_all(); *at != NULL; at++) {
    (void)rh_dynbuf_printf(out, "  POST %s\n", (*at)->path);
  }
  (void)rh_dynbuf_append_text(
      out,
      "  POST /api/inference/cancel/{request_id}\n"
      "  GET  /v1/models\n  GET  /v1/models/{id}\n  GET  /health\n  GET  /metrics\n"
      "  GET  /last_request_stats\n"
      "  GET  /api/models\n  GET  /api/models/status/{id}\n  GET  /api/models/catalogue\n"
      "  POST /api/models/load, unload, pin, alias, pull, copy\n  DELETE /api/models/{id}\n"
      "  GET  /api/providers, /api/usage, /api/prices, /api/keys, /api/experiments, /api/cache\n"
      "  POST /api/route/explain, /api/feedback, /api/keys, /api/experiments\n"
      "  Ollama's /api/tags, show, ps, pull, copy, delete, version\n");
}

void rh_page_home(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, rh_page_answer *answer) {
  (void)id;
  bool trusted = rh_gate_trusts(daemon, exchange);
  const char *accept = rh_http_header(exchange, "Accept");
  const char *agent = rh_http_header(exchange, "User-Agent");
  if (agent != NULL && rh_text_starts_with(agent, "ollama")) {
    // Its clients look for these words to know that somebody is there.
    answer->content_type = "text/plain; charset=utf-8";
    (void)rh_dynbuf_append_text(&answer->body, "Ollama is running");
  } else if (accept != NULL && strstr(accept, "text/html") != NULL) {
    answer->content_type = "text/html; charset=utf-8";
    render_html(daemon, trusted, &answer->body);
  } else {
    answer->content_type = "text/plain; charset=utf-8";
    render_text(daemon, trusted, &answer->body);
  }
}
