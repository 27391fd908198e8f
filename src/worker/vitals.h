// SPDX-License-Identifier: Apache-2.0
//
// How the worker is doing, readable while the engine is busy or stuck. The engine thread writes, any thread reads.
#ifndef RH_WORKER_VITALS_H
#define RH_WORKER_VITALS_H

#include "flow/model_info.h"

typedef struct rh_vitals rh_vitals;

rh_vitals *rh_vitals_new(void);  // NULL when memory is short
void rh_vitals_free(rh_vitals *vitals);

void rh_vitals_publish(rh_vitals *vitals, const rh_worker_stats *stats);  // rss_bytes and step_age_ms are not used
void rh_vitals_step_begin(rh_vitals *vitals);
void rh_vitals_step_end(rh_vitals *vitals);

// What was published last, with the resident memory and the age of the step that runs now.
void rh_vitals_read(rh_vitals *vitals, rh_worker_stats *stats);

#endif
