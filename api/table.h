#ifndef API_TABLE_H
#define API_TABLE_H

/* What people see: columns, the Kubernetes Table, describe, explain, discovery, OpenAPI.  Pure. */

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

#include "api/kind.h"
#include "base/buf.h"
#include "base/err.h"

/* The text of one cell; the caller frees it.  now_wall_ms is for ages. */
char *column_text(const struct column *c, const json_t *obj, uint64_t now_wall_ms);

/* meta.k8s.io/v1 Table of a list; include_object: "Metadata", "Object" or "None". */
json_t *table_build(const struct kind *k, const json_t *items, const char *resource_version,
                    const char *include_object, uint64_t now_wall_ms);
/* Aligned text with headings, as `picket get` prints it. */
void table_print(const struct kind *k, const json_t *items, bool wide, bool headings,
                 uint64_t now_wall_ms, struct buf *out);
/* `picket describe`. */
void describe_print(const struct kind *k, const json_t *obj, uint64_t now_wall_ms, struct buf *out);
/* `picket explain vm.spec.disks`; false when there is no such field (out then says what there is).
 */
bool explain_print(const char *path, bool recursive, struct buf *out);

/* What there is to know about a field beside its text, in one line: "one of A, B; default A; cannot
 * be changed later".  Appends nothing when there is nothing. */
void field_facts(const struct field *f, struct buf *out);
/* "string", "[]object", "map of duration" ... */
void field_type_name(const struct field *f, struct buf *out);
/* docs/reference/kinds.md: all kinds and their fields, as Markdown. */
void reference_print(struct buf *out);

/* Kubernetes discovery and OpenAPI v3 (features.md 6.3 has the forms that kubectl needs). */
json_t *discovery_api_versions(void); /* /api */
json_t *discovery_groups(void);       /* /apis */
json_t *discovery_resources(void);    /* /apis/picket/v1 */
json_t *discovery_aggregated(void);   /* /apis with g=apidiscovery.k8s.io */
json_t *openapi_v3_index(void);       /* /openapi/v3 */
json_t *openapi_v3_group(void);       /* /openapi/v3/apis/picket/v1 */

/* Core v1, of which we have only what clients cannot do without: /api/v1 and aggregated /api. */
json_t *discovery_core_resources(void);
json_t *discovery_core_aggregated(void);

/* A Kubernetes Status for an error; `problems` may be NULL. */
struct problems;
json_t *status_from_err(const struct err *err, const char *plural, const char *name,
                        const struct problems *problems);
/* The one of success: what DELETE answers. */
json_t *status_success(const struct kind *k, const char *name, const char *uid);

#endif
