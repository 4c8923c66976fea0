#ifndef CMD_PICKET_WHY_PLAN_H
#define CMD_PICKET_WHY_PLAN_H

/* `picket why`: what an object's status says, in sentences, and what to do next.  Pure. */

#include <jansson.h>

#include <stdint.h>

#include "api/kind.h"
#include "base/buf.h"

struct why_in {
    const struct kind *kind;
    const json_t *obj;
    const json_t *hosts;    /* Host objects; NULL: could not be read */
    const json_t *fencings; /* Fencing objects; NULL likewise */
    const json_t *missing;  /* [{"kind", "name", "path"}]: references to nothing; may be NULL */
    uint64_t now_wall_ms;
};

void why_print(const struct why_in *in, struct buf *out);
/* What to do about a reason of a condition or of placement; NULL: nothing special.  "{}" stands for
 * the object's name. */
const char *why_advice(const char *reason);
/* The condition that tells best why the object is not well: the first that is not as it should be,
 * Scheduled and Ready before others; NULL: all is well. */
const json_t *why_worst(const json_t *obj);
/* How long ago an RFC 3339 time was, "" when it is none. */
void why_since(const char *time, uint64_t now_wall_ms, char dst[32]);

#endif
