// SPDX-License-Identifier: Apache-2.0
//
// The tables of the state database and the steps from one version to the next. Nobody outside src/ledger and its tests includes
// this.
#ifndef RH_LEDGER_SCHEMA_H
#define RH_LEDGER_SCHEMA_H

#include "base/status.h"
#include "ledger/database.h"

#define RH_SCHEMA_APPLICATION 0x52484442  // "RHDB", the file's application id

// The version that this build writes.
int rh_schema_version(void);
// Is it ours, and not newer than this build? Changes nothing. Errors as rh_schema_update's.
rh_status rh_schema_check(rh_database *database, rh_error *error) RH_MUST_CHECK;
// Brings an open file up to that version in one transaction. RH_UNSUPPORTED: it is newer; RH_INVALID: it is not ours.
rh_status rh_schema_update(rh_database *database, rh_error *error) RH_MUST_CHECK;

#endif
