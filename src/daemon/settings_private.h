// SPDX-License-Identifier: Apache-2.0
//
// Shared by the settings*.c only.
#ifndef RH_DAEMON_SETTINGS_PRIVATE_H
#define RH_DAEMON_SETTINGS_PRIVATE_H

#include "daemon/settings.h"

// All defaults, no models.
rh_status rh_settings_new(rh_configuration **out, rh_error *error) RH_MUST_CHECK;
// The options of a model that says nothing itself.
rh_load_options rh_settings_load_options(const rh_settings *settings);
// Everything but "models".
rh_status rh_settings_apply_json(rh_configuration *conf, const json_t *root, rh_error *error) RH_MUST_CHECK;
// "models"; after all settings are known, because they are the models' defaults. Relative paths are below `folder`.
rh_status rh_settings_apply_models(rh_configuration *conf, const json_t *root, const char *folder,
                                   rh_error *error) RH_MUST_CHECK;
// "aliases" and "catalogue".
rh_status rh_settings_apply_names(rh_configuration *conf, const json_t *root, rh_error *error) RH_MUST_CHECK;
// What providers of this machine's own models say of engines: is it sound; and into the options of a model, but for what its own
// configuration says.
rh_status rh_engine_options_check(const rh_configuration *conf, rh_error *error) RH_MUST_CHECK;
void rh_engine_options_apply(const rh_configuration *conf, rh_model_spec *spec);
// What one setting alone cannot show.
rh_status rh_settings_check(const rh_configuration *conf, rh_error *error) RH_MUST_CHECK;

#endif
