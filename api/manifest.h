#ifndef API_MANIFEST_H
#define API_MANIFEST_H

/* Manifests: YAML (or JSON, which is read as YAML) text to objects, with the place of every value.
 *
 * Refused with line and column: duplicate keys, tags, anchors and aliases beyond a small depth and
 * count, NUL bytes, bad UTF-8, lines above 1 MiB, documents above 4 MiB, more than 64 levels, and
 * anything that is not a mapping at the top.  Scalars are typed by spelling as in YAML 1.2's core
 * schema (no `yes`/`no` booleans, no octal); the field tables then decide.  Pure but for
 * manifest_read_path.
 */

#include <jansson.h>

#include <stddef.h>

#include "base/err.h"

struct manifest;

struct manifest_doc {
    json_t *obj;        /* owned by the manifest */
    const char *source; /* file name or "-" */
    unsigned line;      /* of its first line */
};

/* Parse text with any number of documents (a `kind: List` is flattened).  Appends to *ret. */
int manifest_parse(const char *text, size_t len, const char *source, struct manifest **ret,
                   struct err *err) ERR_USED;
/* A file, a folder (its *.yaml, *.yml, *.json, sorted) or "-" for standard input. */
int manifest_read_path(const char *path, struct manifest **ret, struct err *err) ERR_USED;
void manifest_free(struct manifest *m);
size_t manifest_count(const struct manifest *m);
const struct manifest_doc *manifest_doc(const struct manifest *m, size_t i);
/* "FILE:LINE:COLUMN" of the value at a field path such as "spec.disks[0].size" (of the deepest part
 * of it that exists); returns false when nothing is known. */
bool manifest_where(const struct manifest *m, size_t doc, const char *path, char *dst, size_t size);

/* One JSON value as the server gets it in a body: strict, no duplicate keys, depth and size
 * bounded; errors carry line and column.  The caller owns the result. */
int json_parse_strict(const char *text, size_t len, json_t **ret, struct err *err) ERR_USED;
/* Canonical text: sorted keys, compact.  The caller frees it. */
char *json_canonical(const json_t *v, size_t *ret_len);
/* YAML text of a value, as `get -o yaml` prints it: keys in the order apiVersion, kind, metadata,
 * spec, data, status, then sorted.  The caller frees it. */
char *json_to_yaml(const json_t *v);

#endif
