// SPDX-License-Identifier: Apache-2.0
//
// The retry budget: further attempts are a share of the requests that came, so that a fault does not multiply the load that caused
// it. A few are always free, so that a quiet server may fall back at all. Pure; one thread.
#include "gateway/internal.h"

#define FREE_MAX 10.0  // further attempts that may be saved up, and that a fresh server has

void rh_retry_budget_earn(rh_retry_budget *budget, double share) {
  budget->tokens += share;
  if (budget->tokens > FREE_MAX) budget->tokens = FREE_MAX;
}

bool rh_retry_budget_has(const rh_retry_budget *budget, double attempts) { return budget->tokens >= attempts; }

bool rh_retry_budget_spend(rh_retry_budget *budget) {
  if (!rh_retry_budget_has(budget, 1)) return false;
  budget->tokens -= 1;
  return true;
}
