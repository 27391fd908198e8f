// SPDX-License-Identifier: Apache-2.0
//
// Health checks of providers: those on this machine (which come and go), and those whose configuration names a healthPath. A
// hosted provider is not asked all day long how it is: its breaker learns that from requests.
//
// One that is not well is no candidate until it is again; it is then asked more often than usual. Loop thread only.
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/internal.h"

#define ILL_INTERVAL_NS (2 * RH_NS_PER_S)

struct rh_health {
  rh_gateway *gateway;
  rh_provider *provider;
  rh_timer timer;
  bool known, well;
  char why[200];
};

static void plan_next(rh_health *health) {
  uint64_t interval = rh_provider_get_spec(health->provider)->health_interval_ns;
  if (!health->well && interval > ILL_INTERVAL_NS) interval = ILL_INTERVAL_NS;
  rh_loop_timer_set(health->gateway->loop, &health->timer, interval);
}

static void on_done(void *ctx, bool well, const char *why) {
  rh_health *health = ctx;
  bool news = !health->known || well != health->well;
  health->known = true;
  health->well = well;
  (void)rh_text_copy(health->why, sizeof health->why, why != NULL ? why : "");
  // At the start it is no news that somebody is well.
  if (news && (!well || health->gateway->ticks > 0)) {
    RH_LOG(well ? RH_LOG_INFO : RH_LOG_WARN, well ? "a provider is well" : "a provider is not well",
           rh_log_str("provider", rh_provider_get_spec(health->provider)->name), rh_log_str("why", health->why));
  }
  plan_next(health);
}

static void on_timer(void *ctx) {
  rh_health *health = ctx;
  rh_error ignored;
  if (rh_provider_probe(health->provider, on_done, health, &ignored) != RH_OK) plan_next(health);
}

static bool is_checked(const rh_provider_spec *spec) {
  return spec->health_interval_ns > 0 && (spec->health_path != NULL || spec->local);
}

rh_status rh_healths_open(rh_gateway *gateway, rh_error *error) {
  size_t count = gateway->config->provider_count;
  gateway->healths = calloc(count + 1, sizeof *gateway->healths);
  if (gateway->healths == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for health checks");
  for (size_t i = 0; i < count; i++) {
    const rh_provider_spec *spec = &gateway->config->providers[i];
    rh_provider *provider = gateway->providers != NULL ? rh_providers_find(gateway->providers, spec->name) : NULL;
    if (provider == NULL || !is_checked(spec)) continue;
    rh_health *health = &gateway->healths[gateway->health_count++];
    *health = (rh_health){.gateway = gateway, .provider = provider, .well = true};
    health->timer = (rh_timer){.fn = on_timer, .ctx = health};
    rh_loop_timer_set(gateway->loop, &health->timer, 0);
  }
  return RH_OK;
}

// The providers must be gone, so that no check is under way.
void rh_healths_close(rh_gateway *gateway) {
  for (size_t i = 0; i < gateway->health_count; i++) rh_loop_timer_cancel(gateway->loop, &gateway->healths[i].timer);
  free(gateway->healths);
}

const char *rh_health_complaint(const rh_gateway *gateway, const rh_provider *provider) {
  for (size_t i = 0; i < gateway->health_count; i++) {
    const rh_health *health = &gateway->healths[i];
    if (health->provider == provider) return health->well ? NULL : health->why;
  }
  return NULL;
}
