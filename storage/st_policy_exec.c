/* Path policies on this host: one fragment of multipathd's configuration for all of them. */

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/st_priv.h"

#define MULTIPATHD "/usr/sbin/multipathd"

static void reconfigured(struct st_op *op, const struct cmd_result *r)
{
    if (r->end == CMD_OK) {
        st_answer(op, ST_READY, "Written", "");
    } else {
        st_answer(op, ST_NOT_READY, "NotReconfigured", r->why);
    }
}

static bool same_file(const char *path, const struct buf *want)
{
    struct buf have = { 0 };
    bool same = st_file_read(path, &have) == 0 && have.len == want->len &&
                memcmp(have.data, want->data, want->len) == 0;

    buf_done(&have);
    return same;
}

static size_t policies(struct st_op *op, const json_t **dst, size_t max)
{
    const char *key;
    void *v;
    size_t n = 0;

    for (size_t i = 0; map_next(&op->h->objects, &i, &key, &v);) {
        if (str_starts(key, "multipathpolicies/") && n < max) {
            dst[n++] = v;
        }
    }
    return n;
}

void st_policy_begin(struct st_op *op)
{
    const json_t *list[256];
    size_t n = policies(op, list, ARRAY_LEN(list));
    struct buf b = { 0 };
    struct err err;
    char *dir = arena_printf(&op->a, "%s/multipath/conf.d", op->h->etc);
    char *path = arena_printf(&op->a, "%s/picket.conf", dir);

    if (mpath_conf_render(list, n, &b, &err) != 0) {
        st_answer(op, ST_NOT_READY, "Invalid", err.msg);
    } else if (same_file(path, &b)) {
        st_answer(op, ST_READY, "Written", "");
    } else if ((mkdir(dir, 0755) != 0 && errno != EEXIST) ||
               (errno = -st_file_write(path, &b, 0600)) != 0) {
        st_answer(op, ST_NOT_READY, "NotWritten",
                  arena_printf(&op->a, "%s: %s", path, strerror(errno)));
    } else {
        lg_info("storage", "file=%s msg=\"written; multipathd reads it again\"", path);
        st_run(op, st_argv(&op->a, MULTIPATHD, "reconfigure", NULL), 0, reconfigured);
    }
    buf_done(&b);
}
