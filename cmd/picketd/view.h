#ifndef CMD_PICKETD_VIEW_H
#define CMD_PICKETD_VIEW_H

/* Safety records as API objects: Lock and Fencing. */

#include <jansson.h>

#include "api/kind.h"
#include "store/safety.h"

#define OBJECT_NAME_MAX 320

/* The object (without resourceVersion) of a record of this kind; NULL with err when it is corrupt.
 */
json_t *view_record(const struct kind *k, const struct kv *v, struct err *err);

/* "Off", "Reboot", ...; "" for none. */
const char *proof_name(enum proof_kind p);
const char *fence_result_name(enum fence_result r);
const char *quorum_loss_name(enum quorum_loss q);
const char *wd_name(enum wd_kind w);

/* Lease terms to and from the JSON of the API. */
json_t *terms_to_json(const struct terms *t);
int terms_from_json(const json_t *j, struct terms *ret, struct err *err) ERR_USED;

#endif
