// SPDX-License-Identifier: Apache-2.0
//
// https:// and http://: one file at one address. A request for its first byte tells its size and version; the rest is
// the transfer engine's. Sends no credentials anywhere. The pull's thread.
#include <string.h>

#include "base/text.h"
#include "pull/backends.h"
#include "pull/source.h"
#include "pull/url.h"

static rh_status look(rh_pulling *pull, rh_fetch *fetch, rh_error *error) {
  const char *url = pull->source.location;
  char file[256], reason[300];
  rh_url_file_name(url, file, sizeof file);
  rh_status status = rh_fetch_probe(pull, url, file, fetch, error);
  if (status != RH_OK) return status;
  const rh_fetch_head *head = &fetch->head;
  // 416: an empty file has no first byte.
  bool empty = head->status == 416 && head->total == 0;
  if (head->status != 200 && head->status != 206 && !empty) {
    rh_fetch_describe(fetch, CURLE_OK, reason, sizeof reason);
    return rh_pull_explain(pull, fetch, file, reason, error);
  }
  int64_t bytes = head->status == 200 ? head->length : head->total;
  status = rh_plan_add_file(&pull->plan, file, url, NULL, bytes, pull->source.sha256, error);
  if (status != RH_OK) return status;
  rh_pull_file *added = &pull->plan.files[0];
  (void)rh_text_copy(added->validator, sizeof added->validator, rh_fetch_validator(head));
  (void)rh_quantization_of(file, pull->plan.quantization);
  return RH_OK;
}

static rh_status resolve(rh_pulling *pull, rh_error *error) {
  rh_fetch fetch;
  rh_status status = rh_fetch_init(&fetch, error);
  if (status == RH_OK) status = look(pull, &fetch, error);
  rh_fetch_release(&fetch);
  return status;
}

const rh_pull_backend rh_pull_http = {.kind = RH_SOURCE_HTTP, .network = true, .resolve = resolve};
