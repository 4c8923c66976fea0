#ifndef STORAGE_MPATH_CODEC_H
#define STORAGE_MPATH_CODEC_H

/* multipathd: what `multipathd show maps json` prints, and its configuration from MultipathPolicy
 * objects. Memory belongs to the arena of the caller. Pure; any thread. Source: multipathd(8),
 * multipath.conf(5), multipath-tools 0.9.4. */

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define MPATH_MAPS_MAX 16384
#define MPATH_PATHS_MAX 1024 /* of one map */

struct mpath_path {
    const char *device;  /* "sdb" */
    const char *dm;      /* "active", "failed", "undef" */
    const char *checker; /* "ready", "ghost", "faulty", "shaky", "i/o pending", ... */
    const char *target;  /* name of the target, or "[undef]" */
    bool usable;         /* a command sent to it now can be expected to be answered */
};

struct mpath_map {
    const char *name;
    const char *wwid;
    const char *dm;       /* "dm-3" */
    bool queues_for_ever; /* queue_if_no_path without an end: what we never want */
    struct mpath_path *paths;
    size_t n_paths;
    size_t usable;
};

struct mpath_maps {
    struct mpath_map *list;
    size_t n;
};

/* ERR_CORRUPT: not such output. */
int mpath_parse_maps(const char *text, size_t len, struct arena *a, struct mpath_maps *ret,
                     struct err *err) ERR_USED;
const struct mpath_map *mpath_find(const struct mpath_maps *m, const char *wwid);

/* The whole fragment for MultipathPolicy objects, in their order: written as one file of
 * multipath.conf.d. ERR_INVALID: an object that validation would have refused; *out is unusable. */
int mpath_conf_render(const json_t *const *policies, size_t n, struct buf *out,
                      struct err *err) ERR_USED;

#endif
