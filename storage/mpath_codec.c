#include "storage/mpath_codec.h"

#include <string.h>

#include "base/str.h"

struct reader {
    struct arena *a;
    struct err *err;
    int rc;
};

static const char *text(struct reader *r, const json_t *obj, const char *key, const char *what)
{
    const char *s = json_string_value(json_object_get(obj, key));

    if (s == NULL && r->rc == 0) {
        r->rc = err_set(r->err, ERR_CORRUPT, "multipathd's maps: a %s without \"%s\"", what, key);
    }
    return s != NULL ? arena_strdup(r->a, s) : "";
}

static void read_path(struct reader *r, const json_t *obj, struct mpath_path *p)
{
    const char *target = json_string_value(json_object_get(obj, "target_wwnn"));
    const char *dev = json_string_value(json_object_get(obj, "dev_st"));

    p->device = text(r, obj, "dev", "path");
    p->dm = text(r, obj, "dm_st", "path");
    p->checker = text(r, obj, "chk_st", "path");
    p->target = arena_strdup(r->a, target != NULL ? target : "");
    p->usable = str_eq(p->dm, "active") && (dev == NULL || str_eq(dev, "running")) &&
                (str_eq(p->checker, "ready") || str_eq(p->checker, "ghost"));
}

static void read_paths(struct reader *r, const json_t *groups, struct mpath_map *m)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(groups); i++) {
        n += json_array_size(json_object_get(json_array_get(groups, i), "paths"));
    }
    if (!json_is_array(groups) || n > MPATH_PATHS_MAX) {
        r->rc = err_set(r->err, ERR_CORRUPT,
                        "multipathd's maps: \"%s\" has no path groups, or too "
                        "many paths",
                        m->name);
        return;
    }
    m->paths = ARENA_ARRAY(r->a, struct mpath_path, n + 1);
    for (size_t i = 0; i < json_array_size(groups); i++) {
        const json_t *paths = json_object_get(json_array_get(groups, i), "paths");

        for (size_t k = 0; k < json_array_size(paths); k++) {
            read_path(r, json_array_get(paths, k), &m->paths[m->n_paths]);
            m->usable += m->paths[m->n_paths++].usable ? 1 : 0;
        }
    }
}

/* "on": queue_if_no_path without an end. "5 chk", "12 sec" and "off" end. */
static void read_map(struct reader *r, const json_t *obj, struct mpath_map *m)
{
    m->name = text(r, obj, "name", "map");
    m->wwid = text(r, obj, "uuid", "map");
    m->dm = text(r, obj, "sysfs", "map");
    m->queues_for_ever = str_eq(text(r, obj, "queueing", "map"), "on");
    if (r->rc == 0) {
        read_paths(r, json_object_get(obj, "path_groups"), m);
    }
}

int mpath_parse_maps(const char *input, size_t len, struct arena *a, struct mpath_maps *ret,
                     struct err *err)
{
    struct reader r = { .a = a, .err = err };
    json_error_t je;
    json_t *root = json_loadb(input, len, 0, &je);
    const json_t *maps = json_object_get(root, "maps");
    size_t n = json_array_size(maps);

    memset(ret, 0, sizeof(*ret));
    if (!json_is_array(maps) || n > MPATH_MAPS_MAX) {
        r.rc = err_set(err, ERR_CORRUPT, "multipathd's maps: %s",
                       root == NULL ? je.text : "no list of maps, or a too long one");
        goto out;
    }
    ret->list = ARENA_ARRAY(a, struct mpath_map, n + 1);
    for (size_t i = 0; i < n && r.rc == 0; i++) {
        read_map(&r, json_array_get(maps, i), &ret->list[ret->n++]);
    }
out:
    json_decref(root);
    return r.rc;
}

const struct mpath_map *mpath_find(const struct mpath_maps *m, const char *wwid)
{
    for (size_t i = 0; i < m->n; i++) {
        if (str_eq(m->list[i].wwid, wwid)) {
            return &m->list[i];
        }
    }
    return NULL;
}
