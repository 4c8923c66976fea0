/* Volume groups on this host: looked at, made on LUNs that are provably empty, extended. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_path.h"
#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/lvm_cmd_codec.h"
#include "storage/st_priv.h"

#define WIPEFS "/usr/sbin/wipefs"
#define DD "/usr/bin/dd"
#define BLOCKDEV "/usr/sbin/blockdev"
#define UNKNOWN_MIB UINT64_MAX

static void look_at_disk(struct st_op *op);

/* --- the end -----------------------------------------------------------------------------------
 */

static void vg_end(struct st_op *op)
{
    const struct lvm_vg *vg = lvm_find_vg(&op->report, op->name);
    const char *conf;

    if (vg != NULL) {
        st_detail(op, "uuid", json_string(vg->uuid));
        st_detail(op, "size", json_integer((json_int_t)vg->size));
        st_detail(op, "free", json_integer((json_int_t)vg->free));
    }
    conf = st_lvm_conf(op);
    op->ans.lock_needed = str_eq(op->plan.reason, "LockNeeded");
    if (conf[0] != '\0' && op->plan.state == ST_READY) {
        st_answer(op, ST_READY, "LvmConfigDrift", conf);
    } else {
        st_answer(op, op->plan.state, op->plan.reason, op->plan.message);
    }
}

/* --- steps -------------------------------------------------------------------------------------
 */

static void vg_step(struct st_op *op);

static void stepped(struct st_op *op, const struct cmd_result *r)
{
    st_step_failed(op, st_step_name(op->plan.steps[op->step_at].kind), r);
    op->step_at++;
    if (r->end != CMD_OK) {
        op->step_at = op->plan.n_steps; /* look before anything else is written */
    }
    vg_step(op);
}

static const char *const *devices_of(struct st_op *op)
{
    const char **v = ARENA_ARRAY(&op->a, const char *, op->n_vg_disks + 1);

    for (size_t i = 0; i < op->n_vg_disks; i++) {
        v[i] = op->vg_disks[i].device;
    }
    return v;
}

static void vg_step(struct st_op *op)
{
    const struct st_step *s;
    struct lvm_cmd cmd = { .group = op->name,
                           .extent = jget_size(op->object, "spec.extentSize", 0) };
    const char *const *argv = NULL;
    struct err err;

    if (op->step_at >= op->plan.n_steps || op->aborted) {
        st_later(op, ST_PAUSE_MS, st_vg_look);
        return;
    }
    s = &op->plan.steps[op->step_at];
    cmd.devices = devices_of(op);
    if (lvm_step_argv(s, &cmd, &op->a, &argv, &err) != 0) {
        st_answer(op, ST_NOT_READY, "Invalid", err.msg);
        return;
    }
    lg_info("storage", "group=%s step=%s device=%s why=\"%s\"", op->name, st_step_name(s->kind),
            s->device == NULL ? "" : s->device, s->why);
    st_run(op, argv, 0, stepped);
}

/* --- what is there -----------------------------------------------------------------------------
 */

static void vg_decide(struct st_op *op)
{
    const struct lvm_vg *vg = lvm_find_vg(&op->report, op->name);
    struct vg_want want = { .name = op->name,
                            .exists = true,
                            .initialise = json_is_true(jget(op->object, "spec.initialise")),
                            .paused = json_is_true(jget(op->object, "spec.paused")),
                            .extent = jget_size(op->object, "spec.extentSize", 0),
                            .uuid = jget_str(op->object, "status.uuid", ""),
                            .meta_lock = op->meta_lock,
                            .disks = op->vg_disks,
                            .n_disks = op->n_vg_disks };
    struct vg_have have = { .present = op->look_why[0] != '\0' ? LVM_UNKNOWN
                                       : vg == NULL            ? LVM_NO
                                                               : LVM_YES,
                            .uuid = "",
                            .why = op->look_why };

    for (size_t i = 0; i < op->report.n_vgs; i++) {
        have.same_name += str_eq(op->report.vgs[i].name, op->name) ? 1 : 0;
    }
    if (vg != NULL) {
        have.uuid = vg->uuid;
        have.extent = vg->extent;
        have.pvs = vg->pvs;
        have.missing = vg->missing;
        have.exported = vg->exported;
        have.shared = vg->shared;
        have.writable = vg->writable;
    }
    vg_plan(&want, &have, &op->a, &op->plan);
    if (op->plan.n_steps == 0 || st_over(op)) {
        vg_end(op);
    } else {
        vg_step(op);
    }
}

static void disk_done(struct st_op *op, bool edges_read)
{
    struct sig_verdict v =
        sig_verdict_of(&op->a, op->has_sigs ? &op->sigs : NULL, edges_read, op->edge_at);

    op->vg_disks[op->disk_at].blank = v.blank;
    op->vg_disks[op->disk_at].what = v.what;
    op->disk_at++;
    look_at_disk(op);
}

static void have_last(struct st_op *op, const struct cmd_result *r)
{
    const struct vg_disk *d = &op->vg_disks[op->disk_at];

    if (r->end == CMD_OK && r->out_len == SIG_EDGE_BYTES && op->edge_at == UINT64_MAX) {
        size_t at = sig_first_data(r->out, r->out_len);

        op->edge_at = at == r->out_len ? UINT64_MAX : d->dev_size - SIG_EDGE_BYTES + at;
    }
    disk_done(op, r->end == CMD_OK && r->out_len == SIG_EDGE_BYTES);
}

static void read_edge(struct st_op *op, uint64_t skip, st_next *next)
{
    const struct vg_disk *d = &op->vg_disks[op->disk_at];

    st_run(op,
           st_argv(&op->a, DD, arena_printf(&op->a, "if=%s", d->device), "bs=1048576", "count=1",
                   "iflag=direct,skip_bytes,fullblock", arena_printf(&op->a, "skip=%" PRIu64, skip),
                   "status=none", NULL),
           SIG_EDGE_BYTES, next);
}

static void have_first(struct st_op *op, const struct cmd_result *r)
{
    size_t at;

    if (r->end != CMD_OK || r->out_len != SIG_EDGE_BYTES) {
        disk_done(op, false);
        return;
    }
    at = sig_first_data(r->out, r->out_len);
    op->edge_at = at == r->out_len ? UINT64_MAX : at;
    read_edge(op, op->vg_disks[op->disk_at].dev_size - SIG_EDGE_BYTES, have_last);
}

static void have_sigs(struct st_op *op, const struct cmd_result *r)
{
    struct err err;

    op->has_sigs =
        r->end == CMD_OK && sig_parse_wipefs(r->out, r->out_len, &op->a, &op->sigs, &err) == 0;
    if (!op->has_sigs || op->sigs.blank != SIG_EMPTY ||
        op->vg_disks[op->disk_at].dev_size < 2 * SIG_EDGE_BYTES) {
        disk_done(op, false);
    } else {
        read_edge(op, 0, have_first);
    }
}

static void have_size(struct st_op *op, const struct cmd_result *r)
{
    struct vg_disk *d = &op->vg_disks[op->disk_at];
    char digits[24] = "";
    size_t len = r->end == CMD_OK ? strcspn(r->out, "\r\n ") : 0;

    if (len < sizeof(digits)) {
        memcpy(digits, r->out, len);
    }
    if (!str_parse_u64(digits, &d->dev_size)) {
        d->dev_size = 0;
    }
    st_run(op, st_argv(&op->a, WIPEFS, "-J", d->device, NULL), 0, have_sigs);
}

/* Disks that LVM knows nothing of: is there anything on them? */
static void look_at_disk(struct st_op *op)
{
    struct vg_disk *d;

    while (op->disk_at < op->n_vg_disks && (op->vg_disks[op->disk_at].ready != LVM_YES ||
                                            op->vg_disks[op->disk_at].blank == SIG_LVM)) {
        op->disk_at++;
    }
    if (op->disk_at == op->n_vg_disks || op->look_why[0] != '\0') {
        vg_decide(op);
        return;
    }
    d = &op->vg_disks[op->disk_at];
    op->has_sigs = false;
    op->edge_at = UINT64_MAX;
    st_run(op, st_argv(&op->a, BLOCKDEV, "--getsize64", d->device, NULL), 0, have_size);
}

static struct vg_disk disk_of(struct st_op *op, const char *name)
{
    const struct st_lun *l = map_get(&op->h->luns, name);
    const struct lvm_pv *pv = l == NULL ? NULL : lvm_find_pv(&op->report, l->device);
    struct vg_disk d = { .lun = name, .device = "", .what = "", .vg = "", .vg_uuid = "" };

    d.ready = l == NULL || l->state == ST_UNKNOWN ? LVM_UNKNOWN
              : l->state == ST_READY              ? LVM_YES
                                                  : LVM_NO;
    if (l != NULL) {
        d.device = arena_strdup(&op->a, l->device);
        d.what = arena_strdup(&op->a, l->message);
    }
    if (pv != NULL) {
        d.blank = SIG_LVM;
        d.what = "a physical volume of LVM";
        d.vg = pv->vg;
        d.vg_uuid = pv->vg_uuid;
        d.pv_size = pv->size;
        d.dev_size = pv->dev_size;
    }
    return d;
}

static void have_pvs(struct st_op *op, const struct cmd_result *r)
{
    const json_t *luns = jget(op->object, "spec.luns");
    struct err err;

    if (cmd_result_err(r, &err) != 0 ||
        lvm_report_parse(r->out, r->out_len, &op->a, &op->report, &err) != 0) {
        op->look_why = arena_strdup(&op->a, err.msg);
    }
    op->vg_disks = ARENA_ARRAY(&op->a, struct vg_disk, json_array_size(luns) + 1);
    for (size_t i = 0; i < json_array_size(luns); i++) {
        op->vg_disks[op->n_vg_disks++] =
            disk_of(op, arena_strdup(&op->a, json_string_value(json_array_get(luns, i))));
    }
    look_at_disk(op);
}

static void have_vgs(struct st_op *op, const struct cmd_result *r)
{
    struct err err;

    if (cmd_result_err(r, &err) != 0 ||
        lvm_report_parse(r->out, r->out_len, &op->a, &op->report, &err) != 0) {
        op->look_why = arena_strdup(&op->a, err.msg);
    }
    st_run(op, lvm_look_argv(LVM_LOOK_PVS, &op->a), 8U << 20, have_pvs);
}

void st_vg_list(struct st_op *op)
{
    if (op->leaving) {
        st_answer(op, ST_READY, "Deleted", "the group and its data stay where they are");
    } else {
        st_run(op, lvm_look_argv(LVM_LOOK_VGS, &op->a), 8U << 20, have_vgs);
    }
}

void st_vg_look(struct st_op *op)
{
    if (st_pr_concerns(op)) {
        st_look_san(op, st_pr_look);
    } else {
        st_round_begin(op);
        st_vg_list(op);
    }
}

void st_vg_begin(struct st_op *op)
{
    if (op->object == NULL) {
        op->leaving = true;
        op->object = json_incref(op->before);
    }
    st_vg_look(op);
}
