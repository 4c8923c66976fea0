/* LUNs on this host. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_path.h"
#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/st_priv.h"

#define ISCSIADM "/usr/sbin/iscsiadm"
#define MULTIPATH "/usr/sbin/multipath"
#define MULTIPATHD "/usr/sbin/multipathd"
#define SCSI_ID "/usr/lib/udev/scsi_id"

/* --- looking -----------------------------------------------------------------------------------
 */

static void have_maps(struct st_op *op, const struct cmd_result *r)
{
    struct err err;

    if (r->end != CMD_OK) {
        op->look_why = arena_strdup(&op->a, r->why);
    } else if (mpath_parse_maps(r->out, r->out_len, &op->a, &op->maps, &err) != 0) {
        op->look_why = arena_strdup(&op->a, err.msg);
    } else {
        op->has_maps = true;
    }
    op->then(op);
}

static void have_sessions(struct st_op *op, const struct cmd_result *r)
{
    bool none = r->end == CMD_FAILED && r->status == ISCSI_NO_SESSIONS_STATUS;
    struct err err;

    if (none) {
        op->has_sessions = true;
    } else if (r->end != CMD_OK) {
        op->look_why = arena_strdup(&op->a, r->why);
    } else if (iscsi_parse_sessions(r->out, r->out_len, &op->a, &op->sessions, &err) != 0) {
        op->look_why = arena_strdup(&op->a, err.msg);
    } else {
        op->has_sessions = true;
    }
    st_run(op, st_argv(&op->a, MULTIPATHD, "show", "maps", "json", NULL), 8U << 20, have_maps);
}

void st_look_san(struct st_op *op, void (*then)(struct st_op *op))
{
    st_round_begin(op);
    op->then = then;
    st_run(op, st_argv(&op->a, ISCSIADM, "-m", "session", "-P", "3", NULL), 8U << 20,
           have_sessions);
}

/* --- a LUN: which disks there are --------------------------------------------------------------
 */

static void look_at_disk(struct st_op *op);

static void add_disk(struct st_op *op, const char *device, const char *wwid)
{
    op->disks[op->n_disks++] = (struct lun_disk){ .device = device, .wwid = wwid };
}

static void session_disks(struct st_op *op)
{
    const json_t *target =
        st_object(op->h, "iscsitargets", jget_str(op->object, "spec.target", ""));
    const char *iqn = target == NULL ? "" : jget_str(target, "spec.iqn", "");
    uint64_t lun = (uint64_t)jget_int(op->object, "spec.lun", 0);

    op->disks = ARENA_ARRAY(&op->a, struct lun_disk, op->sessions.n + 1);
    for (size_t i = 0; i < op->sessions.n; i++) {
        const struct iscsi_session *s = &op->sessions.list[i];

        for (size_t k = 0; k < s->n_disks && str_eq(s->target, iqn); k++) {
            if (s->disks[k].lun == lun) {
                add_disk(op, s->disks[k].device, NULL);
                break;
            }
        }
    }
}

/* A LUN without a target: multipathd has collected its paths. */
static void map_disks(struct st_op *op, const char *wwid)
{
    const struct mpath_map *m = op->has_maps ? mpath_find(&op->maps, wwid) : NULL;

    op->disks = ARENA_ARRAY(&op->a, struct lun_disk, (m == NULL ? 0 : m->n_paths) + 1);
    for (size_t i = 0; m != NULL && i < m->n_paths; i++) {
        add_disk(op, m->paths[i].device, wwid);
    }
}

static void have_wwid(struct st_op *op, const struct cmd_result *r)
{
    size_t len = r->end == CMD_OK ? strcspn(r->out, " \r\n") : 0;

    op->disks[op->disk_at++].wwid = len > 0 ? arena_strndup(&op->a, r->out, len) : NULL;
    look_at_disk(op);
}

/* --- a LUN: what to do -------------------------------------------------------------------------
 */

static const char *pinned(const struct st_op *op)
{
    return jget_str(op->object, "spec.wwid", jget_str(op->object, "status.wwid", ""));
}

size_t st_portals_of(struct st_op *op, const json_t *target, const char **dst)
{
    const json_t *list = target == NULL ? NULL : jget(target, "spec.portals");
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(list) && n < LUN_PORTALS_MAX; i++) {
        dst[n++] = arena_strdup(&op->a, json_string_value(json_array_get(list, i)));
    }
    return n;
}

static void keep_lun(struct st_op *op)
{
    struct st_lun *l = OBJ_NEW(struct st_lun);
    const struct mpath_map *m;
    struct st_lun *old;

    l->device = mem_strdup(op->lun.device);
    l->state = op->lun.state;
    l->message = mem_strdup(op->lun.message[0] != '\0' ? op->lun.message : op->lun.reason);
    m = op->has_maps ? mpath_find(&op->maps, pinned(op)) : NULL;
    l->dark_map = m != NULL && m->usable == 0 ? mem_strdup(m->name) : NULL;
    old = map_put(&op->h->luns, op->name, l);
    st_lun_free(old);
}

/* Each path of its map, and what multipathd and the kernel think of it. */
static json_t *paths_of(const struct st_op *op)
{
    const struct mpath_map *m = op->has_maps ? mpath_find(&op->maps, pinned(op)) : NULL;
    json_t *list = json_array();

    for (size_t i = 0; m != NULL && i < m->n_paths; i++) {
        const struct mpath_path *p = &m->paths[i];
        bool agree = str_eq(p->dm, "active") == p->usable;
        char state[96];

        if (agree) {
            (void)snprintf(state, sizeof(state), "%.40s", p->checker);
        } else {
            (void)snprintf(state, sizeof(state), "%.40s (%.40s)", p->checker, p->dm);
        }
        (void)json_array_append_new(
            list, json_pack("{s:s, s:o}", "device", p->device, "state", json_string_lossy(state)));
    }
    return list;
}

static void lun_end(struct st_op *op)
{
    const struct lun_plan *p = &op->lun;
    const char *wwid = p->pin[0] != '\0' ? p->pin : pinned(op);
    const char *message = p->message;

    keep_lun(op);
    if (p->state == ST_READY && !p->redundant && op->step_why[0] != '\0') {
        message = arena_printf(&op->a, "%s; %s", message, op->step_why); /* why a path is missing */
    }
    if (wwid[0] != '\0' && (p->pin[0] != '\0' || p->state == ST_READY)) {
        st_detail(op, "wwid", json_string(wwid));
    }
    if (p->device[0] != '\0') {
        st_detail(op, "device", json_string(p->device));
    }
    st_detail(op, "paths",
              json_pack("{s:I, s:I, s:o}", "total", (json_int_t)p->min_paths, "active",
                        (json_int_t)p->usable, "list", paths_of(op)));
    st_answer(op, p->state, p->reason, message);
}

static void lun_step(struct st_op *op);

static uint32_t portal_bit(struct st_op *op, const char *portal)
{
    const json_t *target =
        st_object(op->h, "iscsitargets", jget_str(op->object, "spec.target", ""));
    const char *portals[LUN_PORTALS_MAX];
    size_t n = st_portals_of(op, target, portals);

    for (size_t i = 0; i < n; i++) {
        if (str_eq(portals[i], portal)) {
            return 1U << i;
        }
    }
    return 0;
}

/* LUNs of one target share its sessions: only one of them makes the record of a portal and logs in
 * there at a time, the others do what is left to do meanwhile.  After another one's login this
 * one's plan is not of today: it looks again first. */
static bool claim(struct st_op *op, const char *portal)
{
    char *key = mem_printf("%s %s", jget_str(op->object, "spec.target", ""), portal);
    const struct st_op *holder = map_get(&op->h->logins, key);
    bool mine = holder == op || (holder == NULL && op->logins_seen == op->h->logins_done);

    if (mine) {
        (void)map_put(&op->h->logins, key, op);
    }
    free(key);
    return mine;
}

void st_lun_release(struct st_op *op)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&op->h->logins, &i, &key, &v);) {
        if (v == op) {
            (void)map_del(&op->h->logins, key);
        }
    }
}

/* A portal that does not answer is tried once each time: the others go on meanwhile. */
static void stepped(struct st_op *op, const struct cmd_result *r)
{
    const struct lun_step *s = &op->lun.steps[op->step_at];
    bool there = s->kind == LUN_LOGIN && r->end == CMD_FAILED &&
                 r->status == ISCSI_SESSION_EXISTS_STATUS; /* somebody else was faster */

    if (!there) {
        st_step_failed(op, lun_step_name(s->kind), r);
    }
    if (s->kind == LUN_LOGIN) {
        st_lun_release(op);
        op->h->logins_done++;
        op->logins_seen++;
        if (r->end != CMD_OK && !there) {
            op->failed = false;
            op->dark |= portal_bit(op, s->portal);
        }
    }
    op->step_at++;
    op->second_half = false;
    lun_step(op);
}

static void mapped(struct st_op *op, const struct cmd_result *r)
{
    st_step_failed(op, "multipath -a", r);
    op->second_half = true;
    lun_step(op);
}

static void recorded(struct st_op *op, const struct cmd_result *r)
{
    const struct lun_step *s = &op->lun.steps[op->step_at];

    st_step_failed(op, "new node record", r);
    if (r->end == CMD_OK) {
        st_record_set(op, jget_str(op->object, "spec.target", ""), s->portal);
    }
    op->step_at++;
    lun_step(op);
}

static void lun_look(struct st_op *op);

static void run_step(struct st_op *op, const struct lun_step *s)
{
    const json_t *target =
        st_object(op->h, "iscsitargets", jget_str(op->object, "spec.target", ""));
    const char *iqn = target == NULL ? "" : jget_str(target, "spec.iqn", "");
    struct arena *a = &op->a;

    lg_info("storage", "lun=%s step=%s portal=%s wwid=%s why=\"%s\"", op->name,
            lun_step_name(s->kind), s->portal, s->wwid, s->why);
    switch (s->kind) {
    case LUN_RECORD:
        st_run(op,
               st_argv(a, ISCSIADM, "-m", "node", "-T", iqn, "-p", s->portal, "-o", "new", NULL), 0,
               recorded);
        return;
    case LUN_LOGIN:
        st_run(op, st_argv(a, ISCSIADM, "-m", "node", "-T", iqn, "-p", s->portal, "--login", NULL),
               0, stepped);
        return;
    case LUN_RESCAN:
        st_run(op,
               st_argv(a, ISCSIADM, "-m", "session", "-r",
                       arena_printf(a, "%llu", (unsigned long long)s->sid), "--rescan", NULL),
               0, stepped);
        return;
    case LUN_MAP:
        if (op->second_half) {
            st_run(op, st_argv(a, MULTIPATHD, "add", "map", s->wwid, NULL), 0, stepped);
        } else {
            st_run(op, st_argv(a, MULTIPATH, "-a", s->wwid, NULL), 0, mapped);
        }
        return;
    case LUN_STOP_QUEUEING:
        st_run(op, st_argv(a, MULTIPATHD, "disablequeueing", "map", s->wwid, NULL), 0, stepped);
        return;
    }
    CHECK_UNREACHABLE();
}

static void lun_step(struct st_op *op)
{
    for (; op->step_at < op->lun.n_steps && !op->aborted; op->step_at++) {
        const struct lun_step *s = &op->lun.steps[op->step_at];

        if ((s->kind != LUN_RECORD && s->kind != LUN_LOGIN) || claim(op, s->portal)) {
            run_step(op, s);
            return;
        }
        op->waits = true;
    }
    if (op->waits) {
        op->round--;
        op->waits = false;
    }
    st_later(op, ST_PAUSE_MS, lun_look);
}

/* No login where one failed just now, and none without the secrets that it takes. */
static void leave_dark(struct st_op *op, bool secrets)
{
    size_t n = 0;

    for (size_t i = 0; i < op->lun.n_steps; i++) {
        bool login = op->lun.steps[i].kind == LUN_RECORD || op->lun.steps[i].kind == LUN_LOGIN;

        if ((op->dark & portal_bit(op, op->lun.steps[i].portal)) == 0 && (secrets || !login)) {
            op->lun.steps[n++] = op->lun.steps[i];
        }
    }
    op->lun.n_steps = n;
}

static void lun_decide(struct st_op *op)
{
    const char *portals[LUN_PORTALS_MAX];
    const char *name = jget_str(op->object, "spec.target", NULL);
    const json_t *target = name == NULL ? NULL : st_object(op->h, "iscsitargets", name);
    struct lun_want want = { .name = op->name,
                             .target = target == NULL ? NULL : jget_str(target, "spec.iqn", ""),
                             .portals = portals,
                             .lun = (uint64_t)jget_int(op->object, "spec.lun", 0),
                             .wwid = pinned(op),
                             .min_paths = (size_t)jget_int(op->object, "spec.minPaths", 0),
                             .paused = json_is_true(jget(op->object, "spec.paused")) };
    struct lun_have have = { .sessions = op->has_sessions ? &op->sessions : NULL,
                             .maps = op->has_maps ? &op->maps : NULL,
                             .disks = op->disks,
                             .n_disks = op->n_disks,
                             .why = op->look_why };
    bool secrets = target == NULL || st_has_secrets(op->h, name, target);

    want.n_portals = st_portals_of(op, target, portals);
    lun_plan(&want, &have, &op->a, &op->lun);
    leave_dark(op, secrets);
    if (!secrets && op->lun.n_steps == 0 && op->lun.state != ST_READY) {
        op->lun.state = ST_NOT_READY;
        op->lun.reason = "SecretsMissing";
        op->lun.message = "waits for the CHAP secrets of its ISCSITarget";
    }
    if (op->lun.n_steps == 0 || st_over(op)) {
        lun_end(op);
    } else {
        lun_step(op);
    }
}

static void look_at_disk(struct st_op *op)
{
    while (op->disk_at < op->n_disks && op->disks[op->disk_at].wwid != NULL) {
        op->disk_at++;
    }
    if (op->disk_at == op->n_disks) {
        lun_decide(op);
        return;
    }
    st_run(op,
           st_argv(&op->a, SCSI_ID, "--whitelisted", "--device",
                   arena_printf(&op->a, "/dev/%s", op->disks[op->disk_at].device), NULL),
           0, have_wwid);
}

static void lun_looked(struct st_op *op)
{
    if (jget_str(op->object, "spec.target", NULL) != NULL) {
        session_disks(op);
    } else {
        map_disks(op, pinned(op));
    }
    look_at_disk(op);
}

static void lun_look(struct st_op *op)
{
    op->logins_seen = op->h->logins_done;
    st_look_san(op, lun_looked);
}

void st_lun_begin(struct st_op *op)
{
    const char *target = op->object == NULL ? NULL : jget_str(op->object, "spec.target", NULL);
    const json_t *t = target == NULL ? NULL : st_object(op->h, "iscsitargets", target);

    if (op->object == NULL) {
        st_answer(op, ST_READY, "Deleted", "its sessions and its data stay");
    } else if (target != NULL && t == NULL) {
        st_answer(op, ST_NOT_READY, "TargetMissing", "waits for its ISCSITarget");
    } else {
        lun_look(op);
    }
}
