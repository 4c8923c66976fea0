/* lvmlocal.conf: written when it is Picket's or says nothing, reported when somebody else's. */

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/lvm_cmd_codec.h"
#include "storage/st_priv.h"

static size_t local_groups(const struct st_op *op, const char **dst)
{
    size_t n = 0;

    for (size_t i = 0; i < op->report.n_vgs && n < LVM_ROWS_MAX; i++) {
        const char *name = op->report.vgs[i].name;

        if (st_object(op->h, "volumegroups", name) == NULL && lvm_name_ok(name)) {
            dst[n++] = name;
        }
    }
    return n;
}

static const char *replace(struct st_op *op, const char *path, const struct buf *want)
{
    int rc = st_file_write(path, want, 0644);

    if (rc != 0) {
        return arena_printf(&op->a, "%s cannot be written: %s", path, strerror(-rc));
    }
    lg_info("storage",
            "file=%s msg=\"written: only groups that are not Picket's can be activated "
            "by hand\"",
            path);
    return "";
}

static const char *judge(struct st_op *op, const char *path, const struct buf *have,
                         struct buf *want)
{
    const char *text = have->data == NULL ? "" : (const char *)have->data;
    size_t line = lvm_conf_drift(text, have->len, buf_cstr(want));

    if (line == 0) {
        return "";
    }
    switch (lvm_conf_owner(text, have->len)) {
    case LVM_CONF_NONE:
    case LVM_CONF_OURS:
        return replace(op, path, want);
    case LVM_CONF_EDITED:
        lg_warn("storage", "file=%s line=%zu msg=\"somebody changed it; it is written again\"",
                path, line);
        (void)replace(op, path, want);
        return arena_printf(&op->a, "%s was changed by somebody (line %zu); it was written again",
                            path, line);
    case LVM_CONF_FOREIGN:
        return arena_printf(&op->a,
                            "%s is not Picket's and stays as it is: nothing refuses that a volume "
                            "of this group is activated by hand. Move its settings to lvm.conf and "
                            "empty it",
                            path);
    }
    CHECK_UNREACHABLE();
}

const char *st_lvm_conf(struct st_op *op)
{
    char *path = arena_printf(&op->a, "%s/lvm/lvmlocal.conf", op->h->etc);
    const char **local = ARENA_ARRAY(&op->a, const char *, op->report.n_vgs + 1);
    struct buf have = { 0 }, want = { 0 };
    const char *why = "";
    struct err err;
    int rc;

    if (!op->h->synced || op->look_why[0] != '\0') {
        return ""; /* a list made now could miss a group that the host needs to boot */
    }
    rc = st_file_read(path, &have);
    if (rc != 0 && rc != -ENOENT) {
        why = arena_printf(&op->a, "%s cannot be read: %s", path, strerror(-rc));
    } else if (lvm_conf_render(local, local_groups(op, local), &want, &err) != 0) {
        why = arena_strdup(&op->a, err.msg);
    } else {
        why = judge(op, path, &have, &want);
    }
    buf_done(&have);
    buf_done(&want);
    return why;
}
