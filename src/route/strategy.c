// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the names of the strategies. Data owned: none. Threads: any.
#include "route/internal.h"

static const struct {
  const char *name;
  rh_strategy strategy;
} names[] = {
    // The first of each is its own name; the others are what people write for it.
    {"rule-based", RH_STRATEGY_RULES},
    {"rules", RH_STRATEGY_RULES},
    {"manual", RH_STRATEGY_RULES},
    {"round-robin", RH_STRATEGY_ROUND_ROBIN},
    {"load-balanced", RH_STRATEGY_BALANCED},
    {"balanced", RH_STRATEGY_BALANCED},
    {"least-busy", RH_STRATEGY_BALANCED},
    {"latency-optimized", RH_STRATEGY_LATENCY},
    {"performance-optimized", RH_STRATEGY_LATENCY},
    {"latency", RH_STRATEGY_LATENCY},
    {"performance", RH_STRATEGY_LATENCY},
    {"speed", RH_STRATEGY_LATENCY},
    {"quality-optimized", RH_STRATEGY_QUALITY},
    {"quality", RH_STRATEGY_QUALITY},
    {"cost-optimized", RH_STRATEGY_COST},
    {"cost", RH_STRATEGY_COST},
    {"learned", RH_STRATEGY_LEARNED},
};

const char *rh_strategy_name(rh_strategy strategy) {
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (names[i].strategy == strategy) return names[i].name;
  }
  return "unknown";
}

rh_strategy rh_strategy_from_name(const char *name) {
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (rh_route_same_word(names[i].name, name)) return names[i].strategy;
  }
  return RH_STRATEGY_COUNT;
}
