// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: the few elements of S3's XML that a pull needs. Pure functions.
#ifndef RH_PULL_S3_LIST_H
#define RH_PULL_S3_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

// A page of ListObjectsV2. `object` is called for each key with its size and ETag (quotes as they came; may be ""); an
// error from it ends the walk. `token` gets NextContinuationToken, or "" on the last page. RH_INVALID: no such page.
rh_status rh_s3_list_parse(const char *xml, size_t length,
                           rh_status (*object)(void *ctx, const char *key, int64_t bytes, const char *etag,
                                               rh_error *error),
                           void *ctx, char *token, size_t token_size, rh_error *error) RH_MUST_CHECK;
// The Code of an error answer, "NoSuchKey"; false when there is none.
bool rh_s3_error_code(const char *xml, char *out, size_t size);

#endif
