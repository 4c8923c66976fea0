#ifndef CMD_PICKETD_WORLD_PRIV_H
#define CMD_PICKETD_WORLD_PRIV_H

/* Private to world*.c. */

#include "cmd/picketd/world.h"

struct world_refs {
    struct ctl_obj **items;
    size_t n;
};

void world_put(struct world *w, const struct kv *v);
/* A safety record changed: read again what it is about. */
void world_safety(struct world *w, const char *key);
/* The next piece of a load. */
void world_load_some(struct world *w);
/* Forget everything and load anew. */
void world_reload(struct world *w);

#endif
