#ifndef CMD_PICKETD_ADMIT_H
#define CMD_PICKETD_ADMIT_H

/* Admission: the rules of an object that need more than the object itself. */

#include <jansson.h>

#include "api/kind.h"
#include "api/valid.h"
#include "cmd/picketd/node.h"

/* Validate `obj` (API form, as it shall become) against its table, its former self (stored form,
 * NULL: new) and the cluster.  ERR_INVALID with problems. */
int admit_validate(struct node *n, const struct kind *k, const json_t *old, const json_t *obj,
                   bool status, struct problems *problems, struct err *err) ERR_USED;

#endif
