#ifndef API_OPENAPI_H
#define API_OPENAPI_H

/* Parts of the OpenAPI document; only for openapi*.c.  Pure. */

#include <jansson.h>

#include "api/kind.h"

#define SCHEMA_META "io.k8s.apimachinery.pkg.apis.meta.v1."

json_t *schema_name(const struct kind *k, const char *suffix); /* a string: "picket.v1.Host" */
json_t *schema_ref(const char *name);
json_t *schema_of_kind(const struct kind *k);
json_t *schema_of_list(const struct kind *k);
/* Add ObjectMeta, ListMeta, Status and DeleteOptions. */
void schema_add_meta(json_t *schemas);
/* [{group, kind, version}] of schemas, {..} of operations. */
json_t *openapi_gvk(const struct kind *k);
/* Add all paths of a kind. */
void openapi_add_paths(json_t *paths, const struct kind *k);

#endif
