// SPDX-License-Identifier: Apache-2.0
//
// The offer to pull a model that is not here.
#ifndef RH_CLI_OFFER_H
#define RH_CLI_OFFER_H

// When `model` is a name of the catalogue that neither this machine nor its server has: asks on a terminal whether to
// pull it, and does; elsewhere says which command would. RH_EXIT_OK: go on (also for everything else, which is for the
// server to judge). `asked` is --server or NULL; a server that a person named has its own models.
int rh_offer_pull(const char *asked, const char *model);

#endif
