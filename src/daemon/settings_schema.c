// SPDX-License-Identifier: Apache-2.0
//
// The JSON Schema of roundhouse.json, made from the tables. Owns nothing; any thread.
#include <stddef.h>

#include "daemon/settings.h"
#include "model/known.h"

#define NAME_PATTERN "^[A-Za-z0-9._:/-]{1,128}$"

// A number of seconds is fine too.
static int allow_seconds(json_t *property) {
  return property == NULL ? -1 : json_object_set_new(property, "type", json_pack("[ss]", "string", "number"));
}

// {"path","engine",...} of one model. Its defaults are the daemon's settings of the same name, so it states none.
static json_t *model_schema(void) {
  json_t *schema = rh_config_schema(rh_model_settings, rh_model_settings_count);
  json_t *properties = json_object_get(schema, "properties");
  const char *key;
  json_t *property;
  json_object_foreach(properties, key, property) {
    (void)key;
    json_object_del(property, "default");
  }
  int failed = json_object_set_new(json_object_get(properties, "engine"), "enum",
                                   json_pack("[ssss]", "", "llama", "onnx", "fake"));
  failed |= allow_seconds(json_object_get(properties, "keep_alive"));
  failed |= json_object_set_new(schema, "required", json_pack("[s]", "path"));
  if (failed == 0) return schema;
  json_decref(schema);
  return NULL;
}

static json_t *aliases_schema(void) {
  return json_pack("{sss{ss}s{ss}ss}", "type", "object", "propertyNames", "pattern", NAME_PATTERN,
                   "additionalProperties", "type", "string", "description",
                   "other names of models; an alias that is set while the server runs wins over the one here");
}

static json_t *catalogue_schema(void) {
  return json_pack("{sss{ss}so?ss}", "type", "object", "propertyNames", "pattern", NAME_PATTERN, "additionalProperties",
                   rh_known_schema(), "description",
                   "models that roundhouse pull knows by name, besides the built-in ones");
}

json_t *rh_configuration_schema(void) {
  json_t *schema = rh_config_schema(rh_settings_table, rh_settings_table_count);
  json_t *properties = json_object_get(schema, "properties");
  json_t *head = json_pack("{ssssss}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
                           "roundhouse.json", "description", "Configuration of the roundhouse daemon");
  json_t *models =
      json_pack("{sss{ss}so?ss}", "type", "object", "propertyNames", "pattern", NAME_PATTERN, "additionalProperties",
                model_schema(), "description", "the models by name, besides those in models_dir");
  int failed = models == NULL;
  failed |= json_object_set_new(properties, "models", models);
  failed |= json_object_set_new(properties, "aliases", aliases_schema());
  failed |= json_object_set_new(properties, "catalogue", catalogue_schema());
  failed |= allow_seconds(json_object_get(properties, "keep_alive"));
  json_t *gateway = rh_gateway_config_schema();
  failed |= gateway == NULL || json_object_update(properties, gateway) != 0;
  json_decref(gateway);
  failed |= json_object_set_new(properties, "$schema",
                                json_pack("{ssss}", "type", "string", "description", "this schema, for editors"));
  failed |= head == NULL || json_object_update(head, schema) != 0;
  json_decref(schema);
  if (failed == 0) return head;
  json_decref(head);
  return NULL;
}
