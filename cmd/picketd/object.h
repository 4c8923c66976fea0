#ifndef CMD_PICKETD_OBJECT_H
#define CMD_PICKETD_OBJECT_H

/* Objects between the store and the API.
 *
 * A stored object is its API form without metadata.resourceVersion (that is the revision of the
 * key), with Secrets' values sealed, and with one private member, "_applied": what each field
 * manager applied last. Lock and Fencing are made from safety records; they have no o/ key.
 */

#include <jansson.h>

#include "api/kind.h"
#include "base/buf.h"
#include "store/store.h"

#define OBJECT_KEY_MAX 512

/* The key prefix of a kind's objects ("o/virtualmachines/", "s/lock/", "s/fencing/"). */
void object_prefix(const struct kind *k, char *dst, size_t size);
/* The key of one object; false when the name cannot be one of this kind. */
bool object_key(const struct kind *k, const char *name, char *dst, size_t size);

/* The stored form, private parts included; *ret_rev is the revision of its last change.  The caller
 * owns the result; NULL with err set (ERR_NOT_FOUND, ERR_CORRUPT). */
json_t *object_load(const struct store *s, const struct kind *k, const char *name,
                    uint64_t *ret_rev, struct err *err);
/* The stored form of one version of a key of this kind; NULL when it is corrupt. */
json_t *object_stored(const struct kind *k, const struct kv *v, struct err *err);
/* The API form of one version of a key of this kind; NULL when it is corrupt. */
json_t *object_present(const struct kind *k, const struct kv *v, struct err *err);
/* From a stored form (stolen): strip private parts, mask secrets, set the resourceVersion. */
json_t *object_dress(const struct kind *k, json_t *stored, uint64_t rev);
/* object_load + object_dress, by plural. */
json_t *object_read(const struct store *s, const char *plural, const char *name, struct err *err);
/* The value for the store. */
void object_encode(const json_t *stored, struct buf *out);

/* Visit all objects of a kind at `rev` (0: now) in the stored form; the callback borrows it. */
typedef bool object_visit_fn(void *ctx, json_t *stored, const struct kv *v);
void object_each(const struct store *s, const struct kind *k, object_visit_fn *fn, void *ctx);

#endif
