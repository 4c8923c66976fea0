#ifndef API_VALID_H
#define API_VALID_H

/* Validation, defaults and the life cycle rules of objects.  Pure. */

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/kind.h"
#include "base/err.h"

struct problem {
    char path[192];     /* "spec.disks[1].size" */
    char message[320];  /* what is wrong, the value, what is allowed */
    const char *reason; /* FieldValueInvalid, FieldValueRequired, FieldValueNotSupported,
                           FieldValueForbidden (unknown field), FieldValueDuplicate */
    bool warning;
};

struct problems {
    struct problem *items; /* at most 64 */
    size_t n;
    bool more; /* there were more */
};

void problems_done(struct problems *p);
void problem_add(struct problems *p, const char *reason, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void problem_warn(struct problems *p, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Any that is not a warning? */
bool problems_bad(const struct problems *p);

/* The kind of an object by its apiVersion and kind; ERR_INVALID names what is known. */
int obj_kind(const json_t *obj, const struct kind **ret, struct err *err) ERR_USED;

/* Check metadata, spec (and, for `status`, status) against the table: unknown fields, types, units,
 * ranges, names, required ones.  Never changes the object. */
void obj_validate(const struct kind *k, const json_t *obj, bool status, struct problems *ret);
/* Fill in defaults of spec in place. */
void obj_default(const struct kind *k, json_t *obj);
/* Take away what the table does not know (fieldValidation=Warn and Ignore). */
void obj_prune(const struct kind *k, json_t *obj);
/* Secret: move stringData into data (base64) and drop the annotation in which `kubectl apply` keeps
 * a copy of what it sent.  Others: nothing.  Call it before an object is stored. */
void obj_seal_fields(const struct kind *k, json_t *obj);
/* Take secret values out, in place, of an object that leaves the server: Secret keeps status.keys
 * only. */
void obj_redact(const struct kind *k, json_t *obj);
/* Changes of immutable fields between two versions. */
void obj_validate_update(const struct kind *k, const json_t *old, const json_t *obj,
                         struct problems *ret);

/* RFC 7386 on a copy: returns a new value. */
json_t *json_merge_patch(const json_t *target, const json_t *patch);
/* RFC 6902. */
int json_patch(const json_t *target, const json_t *patch, json_t **ret, struct err *err) ERR_USED;
/* Equal in meaning: as JSON, with sizes and durations compared by value where the table says so. */
bool obj_spec_equal(const struct kind *k, const json_t *a, const json_t *b);

/* Three-way apply: what the manager applied last (NULL: never), what is there, what it applies now.
 * Fields that it stops to declare go away, fields of others stay; lists with keys merge by key. */
json_t *obj_apply(const struct kind *k, const json_t *last, const json_t *live, const json_t *want);

/* Names of objects that `obj` refers to; the callback gets the kind, the name and the field path.
 */
void obj_refs(const struct kind *k, const json_t *obj,
              void (*fn)(void *ctx, const char *ref_kind, const char *name, const char *path),
              void *ctx);

/* Readers that never fail: dotted path ("spec.ha.policy", "spec.disks.0.name"), with a fallback. */
const json_t *jget(const json_t *obj, const char *path); /* NULL when absent */
const char *jget_str(const json_t *obj, const char *path, const char *fallback);
int64_t jget_int(const json_t *obj, const char *path, int64_t fallback);
bool jget_bool(const json_t *obj, const char *path, bool fallback);
uint64_t jget_size(const json_t *obj, const char *path, uint64_t fallback);     /* bytes */
uint64_t jget_duration(const json_t *obj, const char *path, uint64_t fallback); /* ms */
/* Set a value at a dotted path, making objects on the way; steals the reference of v. */
void jset(json_t *obj, const char *path, json_t *v);
const char *obj_name(const json_t *obj); /* "" when absent */
/* A number of bytes or "4Gi"; "1m30s" or 0. */
bool json_as_size(const json_t *v, uint64_t *ret_bytes);
bool json_as_duration(const json_t *v, uint64_t *ret_ms);

/* Conditions, as Kubernetes has them (type, status True|False|Unknown, reason, message,
 * lastTransitionTime, observedGeneration).  cond_set changes lastTransitionTime only when status
 * does; returns whether anything changed.  `conditions` is created under status when missing. */
bool cond_set(json_t *obj, const char *type, const char *status, const char *reason,
              const char *message, uint64_t wall_ms);
const json_t *cond_get(const json_t *obj, const char *type);
void cond_drop(json_t *obj, const char *type);

/* Label selectors "a=b,c!=d,e in (x,y),!f"; field selectors
 * "metadata.name=x,status.phase!=Running". */
int selector_match(const char *selector, const json_t *labels, bool *ret, struct err *err) ERR_USED;
/* Has an object with these labels all of `want` (a map, as hostSelector is)?  An absent or empty
 * map: yes. */
bool labels_match(const json_t *want, const json_t *labels);
/* Does an object with spec.hosts and spec.hostSelector (either, both or none) concern this host? */
bool obj_on_host(const json_t *obj, const char *host, const json_t *labels);
int field_selector_match(const char *selector, const json_t *obj, bool *ret,
                         struct err *err) ERR_USED;

#endif
