/* Persistent reservations of a group's LUNs: looked at path by path with sg_persist(8).
 *
 * Whether a path is registered is asked with REGISTER under the key that it should have already
 * (SPC-4 5.13.7): it succeeds where that key is registered, is a RESERVATION CONFLICT elsewhere,
 * and changes nothing in both cases.  So a path that was cut off is never registered by a look. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/lvm_cmd_codec.h"
#include "storage/st_priv.h"

#define SG_PERSIST "/usr/bin/sg_persist"
#define TYPE_WRITE_ALL                                                                             \
    "7" /* write exclusive, all registrants: it stays until the last one goes                      \
         */

/* --- what this boot has registered -------------------------------------------------------------
 */

static char *record_path(const struct st_host *h)
{
    return mem_printf("%s/reservations.json", h->data);
}

void st_pr_load(struct st_host *h)
{
    char *path;
    struct buf b = { 0 };
    json_t *j = NULL;
    const json_t *list;

    if (h->data == NULL) {
        return;
    }
    path = record_path(h);
    if (st_file_read(path, &b) == 0) {
        j = json_loadb((const char *)b.data, b.len, 0, NULL);
    }
    list = json_object_get(j, "devices");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *device = jget_str(json_array_get(list, i), "device", "");
        struct st_pr *pr = OBJ_NEW(struct st_pr);

        pr->key = (uint64_t)jget_int(json_array_get(list, i), "key", 0);
        free(map_put(&h->prs, device, pr));
    }
    json_decref(j);
    buf_done(&b);
    free(path);
}

static int save(struct st_host *h)
{
    json_t *list = json_array();
    json_t *j = json_pack("{s:o}", "devices", list);
    struct buf b = { 0 };
    const char *device;
    char *path, *text;
    void *v;
    int rc = 0;

    for (size_t i = 0; map_next(&h->prs, &i, &device, &v);) {
        if (((const struct st_pr *)v)->key != 0) {
            (void)json_array_append_new(list,
                                        json_pack("{s:s, s:I}", "device", device, "key",
                                                  (json_int_t)((const struct st_pr *)v)->key));
        }
    }
    text = json_dumps(j, JSON_COMPACT);
    buf_add_str(&b, text);
    if (h->data != NULL) {
        path = record_path(h);
        rc = st_file_write(path, &b, 0600);
        free(path);
    }
    buf_done(&b);
    free(text);
    json_decref(j);
    return rc;
}

static struct st_pr *record_of(struct st_host *h, const char *device)
{
    struct st_pr *pr = map_get(&h->prs, device);

    if (pr == NULL) {
        pr = OBJ_NEW(struct st_pr);
        (void)map_put(&h->prs, device, pr);
    }
    return pr;
}

static int record(struct st_op *op, size_t lun, uint64_t key)
{
    struct st_pr *pr = record_of(op->h, op->pr_devices[lun]);
    int rc = 0;

    if (pr->key != key) {
        pr->key = key;
        pr->missed = false;
        rc = save(op->h);
    }
    return rc;
}

/* --- the group may be used ---------------------------------------------------------------------
 */

bool st_pr_wanted(const json_t *group)
{
    return str_eq(jget_str(group, "spec.reservation", ""), "PersistentReservation");
}

bool st_group_usable(const struct st_host *h, const char *group)
{
    return !st_pr_wanted(st_object(h, "volumegroups", group)) || map_get(&h->usable, group) != NULL;
}

static void usable(struct st_op *op, bool yes)
{
    if (yes) {
        (void)map_put(&op->h->usable, op->name, op->h);
    } else {
        (void)map_del(&op->h->usable, op->name);
    }
}

bool st_pr_concerns(const struct st_op *op)
{
    const json_t *luns = jget(op->object, "spec.luns");

    for (size_t i = 0; i < json_array_size(luns); i++) {
        const struct st_lun *l = map_get(&op->h->luns, json_string_value(json_array_get(luns, i)));
        const struct st_pr *pr = l == NULL ? NULL : map_get(&op->h->prs, l->device);

        if (pr != NULL && pr->key != 0) {
            return true;
        }
    }
    return !op->leaving && st_pr_wanted(op->object);
}

/* --- steps -------------------------------------------------------------------------------------
 */

static void pr_step(struct st_op *op);

static const char *hex(struct st_op *op, const char *option, uint64_t key)
{
    return arena_printf(&op->a, "--param-%s=%" PRIx64, option, key);
}

static const char *const *out_argv(struct st_op *op, const char *action, size_t lun,
                                   const char *device, const char *one, const char *two)
{
    const struct st_pr *pr = record_of(op->h, op->pr_devices[lun]);
    const char *dev = arena_printf(&op->a, "/dev/%s", device);

    return pr->ptpl
               ? st_argv(&op->a, SG_PERSIST, "--no-inquiry", "--out", action, one, two,
                         "--param-aptpl", dev, NULL)
               : st_argv(&op->a, SG_PERSIST, "--no-inquiry", "--out", action, one, two, dev, NULL);
}

static void pr_stepped(struct st_op *op, const struct cmd_result *r)
{
    st_step_failed(op, prp_step_name(op->pr.steps[op->step_at].kind), r);
    op->step_at++;
    pr_step(op);
}

static void step_run(struct st_op *op, const struct prp_step *s)
{
    uint64_t key = op->h->key;

    switch (s->kind) {
    case PRP_REGISTER:
        st_run(op,
               out_argv(op, "--register-ignore", s->lun, s->device, hex(op, "rk", 0),
                        hex(op, "sark", key)),
               0, pr_stepped);
        return;
    case PRP_RESERVE:
        st_run(op,
               st_argv(&op->a, SG_PERSIST, "--no-inquiry", "--out", "--reserve", hex(op, "rk", key),
                       "--prout-type=" TYPE_WRITE_ALL, arena_printf(&op->a, "/dev/%s", s->device),
                       NULL),
               0, pr_stepped);
        return;
    case PRP_UNREGISTER:
        st_run(
            op,
            out_argv(op, "--register", s->lun, s->device, hex(op, "rk", key), hex(op, "sark", 0)),
            0, pr_stepped);
        return;
    }
    CHECK_UNREACHABLE();
}

static void pr_step(struct st_op *op)
{
    const struct prp_step *s = &op->pr.steps[op->step_at];
    int rc = 0;

    if (op->step_at >= op->pr.n_steps || op->aborted || op->failed) {
        st_later(op, ST_PAUSE_MS, st_vg_look);
        return;
    }
    lg_info("storage", "group=%s step=%s lun=%s device=%s why=\"%s\"", op->name,
            prp_step_name(s->kind), op->pr_luns[s->lun].name, s->device, s->why);
    if (s->kind == PRP_REGISTER) { /* known before it happens: an agent that dies here remembers */
        rc = record(op, s->lun, op->h->key);
    }
    if (rc != 0) {
        st_answer(op, ST_NOT_READY, "NotRecorded",
                  arena_printf(&op->a, "what is registered cannot be recorded in %s: %s",
                               op->h->data, strerror(-rc)));
        return;
    }
    step_run(op, s);
}

/* --- deciding ----------------------------------------------------------------------------------
 */

/* What one look tells the next: a key that was missed, a right that was given up. */
static void remember_looks(struct st_op *op)
{
    bool changed = false;

    for (size_t i = 0; i < op->n_pr_luns; i++) {
        const struct prp_lun *l = &op->pr_luns[i];
        struct st_pr *pr = record_of(op->h, op->pr_devices[i]);

        if (l->looked && !op->pr_want) {
            changed = changed || (pr->key != 0 && !l->has_key);
            pr->key = l->has_key ? pr->key : 0;
        }
        if (l->looked) {
            pr->missed = l->was_ours && !l->has_key;
        }
    }
    if (changed) {
        (void)save(op->h);
    }
}

static void pr_decide(struct st_op *op)
{
    struct prp_want want = { .wanted = op->pr_want,
                             .paused = json_is_true(jget(op->object, "spec.paused")),
                             .key_known = op->h->key != 0,
                             .meta_lock = op->meta_lock,
                             .in_use = LVM_NO,
                             .luns = op->pr_luns,
                             .n_luns = op->n_pr_luns };

    for (size_t i = 0; i < op->report.n_lvs; i++) {
        const struct lvm_lv *lv = &op->report.lvs[i];

        want.in_use = str_eq(lv->vg, op->name) && lv->active != LVM_NO ? lv->active : want.in_use;
    }
    want.in_use = op->look_why[0] != '\0' ? LVM_UNKNOWN : want.in_use;
    prp_plan(&want, &op->a, &op->pr);
    remember_looks(op);
    usable(op, op->pr_want && op->pr.state == ST_READY);
    if (op->pr.n_steps > 0 && !st_over(op)) {
        op->step_at = 0;
        pr_step(op);
    } else if (op->pr.state == ST_READY) {
        op->report = (struct lvm_report){ 0 };
        op->look_why = "";
        st_vg_list(op);
    } else {
        op->ans.lock_needed = str_eq(op->pr.reason, "LockNeeded");
        op->ans.again_ms = op->pr.look_twice ? 1000 : 0;
        op->ans.cut_off = op->pr.reset;
        st_answer(op, op->pr.state, op->pr.reason, op->pr.message);
    }
}

/* --- looking -----------------------------------------------------------------------------------
 */

static void look_at_path(struct st_op *op);

static void probed(struct st_op *op, const struct cmd_result *r)
{
    struct prp_path *p = &op->pr_luns[op->pr_at].paths[op->pr_path];

    p->registered = r->end == CMD_OK                                           ? LVM_YES
                    : r->end == CMD_FAILED && r->status == PRT_CONFLICT_STATUS ? LVM_NO
                                                                               : LVM_UNKNOWN;
    op->pr_path++;
    look_at_path(op);
}

static void look_at_lun(struct st_op *op);

/* By its name: it need not be its WWID. */
static const struct mpath_map *map_of(const struct st_op *op, const char *device)
{
    const char *name = strrchr(device, '/') + 1;

    for (size_t i = 0; op->has_maps && i < op->maps.n; i++) {
        if (str_eq(op->maps.list[i].name, name)) {
            return &op->maps.list[i];
        }
    }
    return NULL;
}

static bool path_usable(const struct st_op *op, size_t lun, size_t path)
{
    const struct mpath_map *m = map_of(op, op->pr_devices[lun]);

    return m != NULL && path < m->n_paths && m->paths[path].usable;
}

static void look_at_path(struct st_op *op)
{
    struct prp_lun *l = &op->pr_luns[op->pr_at];

    while (op->pr_path < l->n_paths && !path_usable(op, op->pr_at, op->pr_path)) {
        op->pr_path++; /* it would only be waited for */
    }
    if (op->pr_path >= l->n_paths || !l->looked) {
        op->pr_at++;
        look_at_lun(op);
        return;
    }
    st_run(op,
           out_argv(op, "--register", op->pr_at, l->paths[op->pr_path].device,
                    hex(op, "rk", op->h->key), hex(op, "sark", op->h->key)),
           0, probed);
}

static void look_failed(struct st_op *op, const char *why)
{
    op->pr_luns[op->pr_at].looked = false;
    op->pr_luns[op->pr_at].why = arena_strdup(&op->a, why);
    op->pr_at++;
    look_at_lun(op);
}

static void have_reservation(struct st_op *op, const struct cmd_result *r)
{
    struct prp_lun *l = &op->pr_luns[op->pr_at];
    struct prt_reservation res;
    struct err err;

    if (cmd_result_err(r, &err) != 0 ||
        prt_reservation_parse(r->out, r->out_len, &op->a, &res, &err) != 0) {
        look_failed(op, err.msg);
        return;
    }
    l->reserved = res.type;
    l->reserved_text = res.text;
    l->looked = true;
    op->pr_path = 0;
    look_at_path(op);
}

static void in_run(struct st_op *op, const char *action, st_next *next)
{
    st_run(
        op,
        st_argv(&op->a, SG_PERSIST, "--no-inquiry", "--in", action,
                arena_printf(&op->a, "/dev/%s", op->pr_luns[op->pr_at].paths[op->pr_path].device),
                NULL),
        0, next);
}

static void have_keys(struct st_op *op, const struct cmd_result *r)
{
    struct prt_keys keys;
    struct err err;

    if (cmd_result_err(r, &err) != 0 ||
        prt_keys_parse(r->out, r->out_len, &op->a, &keys, &err) != 0) {
        look_failed(op, err.msg);
        return;
    }
    op->pr_luns[op->pr_at].has_key = prt_keys_have(&keys, op->h->key);
    in_run(op, "--read-reservation", have_reservation);
}

static void have_caps(struct st_op *op, const struct cmd_result *r)
{
    struct st_pr *pr = record_of(op->h, op->pr_devices[op->pr_at]);
    struct err err;

    if (cmd_result_err(r, &err) != 0 ||
        prt_caps_parse(r->out, r->out_len, &op->a, &pr->ptpl, &err) != 0) {
        look_failed(op, err.msg);
        return;
    }
    in_run(op, "--read-keys", have_keys);
}

/* Through the first path that can be expected to answer. */
static void look_at_lun(struct st_op *op)
{
    while (op->pr_at < op->n_pr_luns && op->pr_luns[op->pr_at].ready != LVM_YES) {
        op->pr_at++;
    }
    if (op->pr_at == op->n_pr_luns) {
        pr_decide(op);
        return;
    }
    for (op->pr_path = 0; op->pr_path < op->pr_luns[op->pr_at].n_paths; op->pr_path++) {
        if (path_usable(op, op->pr_at, op->pr_path)) {
            in_run(op, "--report-capabilities", have_caps);
            return;
        }
    }
    look_failed(op, op->has_maps ? "no path answers" : op->look_why);
}

static void add_paths(struct st_op *op, struct prp_lun *l, const char *device)
{
    const struct mpath_map *m = map_of(op, device);

    l->n_paths = m == NULL ? 0 : m->n_paths;
    l->paths = ARENA_ARRAY(&op->a, struct prp_path, l->n_paths + 1);
    for (size_t i = 0; i < l->n_paths; i++) {
        l->paths[i].device = m->paths[i].device;
    }
}

static void collect(struct st_op *op)
{
    const json_t *luns = jget(op->object, "spec.luns");

    op->pr_luns = ARENA_ARRAY(&op->a, struct prp_lun, json_array_size(luns) + 1);
    op->pr_devices = ARENA_ARRAY(&op->a, const char *, json_array_size(luns) + 1);
    op->n_pr_luns = json_array_size(luns);
    for (size_t i = 0; i < op->n_pr_luns; i++) {
        const char *name = json_string_value(json_array_get(luns, i));
        const struct st_lun *s = map_get(&op->h->luns, name);
        struct prp_lun *l = &op->pr_luns[i];
        const struct st_pr *pr;

        op->pr_devices[i] =
            arena_strdup(&op->a, s == NULL || s->device[0] == '\0' ? "/" : s->device);
        l->name = arena_strdup(&op->a, name);
        l->why = l->reserved_text = "";
        l->ready = s == NULL || s->state == ST_UNKNOWN ? LVM_UNKNOWN
                   : s->state == ST_READY              ? LVM_YES
                                                       : LVM_NO;
        pr = map_get(&op->h->prs, op->pr_devices[i]);
        l->was_ours = pr != NULL && pr->key != 0 && pr->key == op->h->key;
        l->missed = l->was_ours && pr->missed;
        add_paths(op, l, op->pr_devices[i]);
    }
}

static void have_lvs(struct st_op *op, const struct cmd_result *r)
{
    struct err err;

    if (cmd_result_err(r, &err) != 0 ||
        lvm_report_parse(r->out, r->out_len, &op->a, &op->report, &err) != 0) {
        op->look_why = arena_strdup(&op->a, err.msg);
    }
    look_at_lun(op);
}

/* After the look at sessions and maps. */
void st_pr_look(struct st_op *op)
{
    op->pr_want = !op->leaving && st_pr_wanted(op->object);
    op->pr_at = op->pr_path = 0;
    collect(op);
    if (op->pr_want) {
        look_at_lun(op);
    } else { /* giving up: is anything of it active here? */
        st_run(op, lvm_look_argv(LVM_LOOK_LVS, &op->a), 8U << 20, have_lvs);
    }
}
