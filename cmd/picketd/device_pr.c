/* A ScsiReservation device as an operation: which LUNs, through which portals, under which keys. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/addrmap.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/device.h"
#include "cmd/picketd/object.h"
#include "fence/pr.h"

#define ISCSI_PORT 3260U

struct fill {
    struct node *n;
    struct fence_op *op;
    struct err *err;
    struct map targets; /* ISCSITarget -> its number + 1, as a pointer */
    size_t n_targets, n_luns;
    int rc;
};

/* --- keys --------------------------------------------------------------------------------------
 */

/* Our own: a host that is not Live must not take anything; a machine without an agent has key 0. */
static int own_incarnation(struct node *n, uint64_t *ret, struct err *err)
{
    struct arena a = { 0 };
    struct s_host h;
    struct s_inc inc;
    struct err none;
    int rc = 0;

    *ret = 0;
    if (s_host_get(n->store, n->opts.name, &a, &h, &none) == 0 && h.incarnation != 0) {
        rc = s_inc_get(n->store, h.incarnation, &a, &inc, err);
        if (rc == 0 && inc.state != INC_LIVE) {
            rc = err_set(err, ERR_REFUSED, "%s is %s itself: it takes nothing from others",
                         n->opts.name, inc_state_name(inc.state));
        }
        *ret = h.incarnation;
    }
    arena_done(&a);
    return rc;
}

static int set_key(struct fill *f, const char *name, uint64_t incarnation)
{
    struct arena a = { 0 };
    struct s_cluster c;
    char text[17];
    uint64_t key;
    int rc = s_cluster_get(f->n->store, &a, &c, f->err);

    rc = rc == 0 ? pr_key(c.id, c.epoch, incarnation, &key, f->err) : rc;
    if (rc == 0) {
        pr_key_format(key, text);
        rc = fence_op_set(f->op, name, text, f->err);
    }
    arena_done(&a);
    return rc;
}

static int set_keys(struct fill *f, uint64_t incarnation)
{
    uint64_t own;
    int rc = own_incarnation(f->n, &own, f->err);

    rc = rc == 0 ? set_key(f, "own_key", own) : rc;
    return rc == 0 ? set_key(f, "key", incarnation) : rc;
}

/* As the host's own sessions call themselves, since arrays let in by that name; the ISID differs.
 */
static int set_initiator(struct fill *f)
{
    struct err none;
    json_t *host = object_read(f->n->store, "hosts", f->n->opts.name, &none);
    const char *name = jget_str(host, "spec.iscsi.initiatorName", NULL);
    char own[PR_NAME_MAX];
    int rc;

    name = name != NULL ? name : jget_str(host, "status.iscsi.initiatorName", NULL);
    (void)snprintf(own, sizeof(own), "iqn.2026-11.org.picket:%.150s", f->n->opts.name);
    rc = fence_op_set(f->op, "initiator", name != NULL ? name : own, f->err);
    json_decref(host);
    return rc;
}

/* --- targets -----------------------------------------------------------------------------------
 */

static int add_portal(struct fill *f, struct buf *out, const char *portal, bool first)
{
    char host[128], real[128];
    const char *colon = strrchr(portal, ':');
    uint64_t port = ISCSI_PORT;
    bool has_port = colon != NULL && (strchr(portal, ':') == colon || colon[-1] == ']');
    size_t n = has_port ? (size_t)(colon - portal) : strlen(portal);
    int rc;

    if (n >= sizeof(host) ||
        (has_port && (!str_parse_u64(colon + 1, &port) || port == 0 || port > 65535))) {
        return err_set(f->err, ERR_INVALID, "portal %s is not of the form IP[:PORT]", portal);
    }
    memcpy(host, portal, n);
    host[n] = '\0';
    rc = addr_resolve(host, (uint16_t)port, ADDR_TCP, real, sizeof(real), f->err);
    if (rc == 0) {
        buf_printf(out, "%s%s", first ? " " : ",", real);
    }
    return rc;
}

static int add_chap(struct fill *f, const json_t *t)
{
    static const struct {
        const char *user_path, *password_path, *user, *password, *key;
    } logins[] = {
        { "spec.chap.username", "spec.chap.passwordRef", "chap_user", "chap_password", "password" },
        { "spec.chap.mutualUsername", "spec.chap.mutualPasswordRef", "mutual_user",
          "mutual_password", "mutualPassword" },
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(logins); i++) {
        const char *user = jget_str(t, logins[i].user_path, NULL);
        char name[32];

        if (user == NULL) {
            continue;
        }
        (void)snprintf(name, sizeof(name), "%s%zu", logins[i].user, f->n_targets);
        rc = fence_op_set(f->op, name, user, f->err);
        (void)snprintf(name, sizeof(name), "%s%zu", logins[i].password, f->n_targets);
        rc = rc == 0 ? device_secret(f->n, t, logins[i].password_path, logins[i].key, name, f->op,
                                     f->err)
                     : rc;
    }
    return rc;
}

static int new_target(struct fill *f, const char *name)
{
    json_t *t = object_read(f->n->store, "iscsitargets", name, f->err);
    const json_t *portals = jget(t, "spec.portals");
    struct buf text = { 0 };
    char param[24];
    int rc = t == NULL ? f->err->code : 0;

    if (rc == 0 && f->n_targets == PR_MAX_TARGETS) {
        rc = err_set(f->err, ERR_INVALID, "LUNs of more than %u targets: make several devices",
                     PR_MAX_TARGETS);
    }
    buf_add_str(&text, jget_str(t, "spec.iqn", ""));
    for (size_t i = 0; rc == 0 && i < json_array_size(portals); i++) {
        const char *portal = json_string_value(json_array_get(portals, i));

        rc = add_portal(f, &text, portal == NULL ? "" : portal, i == 0);
    }
    rc = rc == 0 ? add_chap(f, t) : rc;
    if (rc == 0) {
        (void)snprintf(param, sizeof(param), "target%zu", f->n_targets);
        rc = fence_op_set(f->op, param, buf_cstr(&text), f->err);
        (void)map_put(&f->targets, name, (void *)(uintptr_t)++f->n_targets);
    }
    buf_done(&text);
    json_decref(t);
    return rc == 0 ? 0 : err_wrap(f->err, "ISCSITarget %s", name);
}

/* --- LUNs --------------------------------------------------------------------------------------
 */

static int add_lun(struct fill *f, const json_t *lun)
{
    const char *target = jget_str(lun, "spec.target", NULL);
    const char *wwid = jget_str(lun, "spec.wwid", jget_str(lun, "status.wwid", ""));
    char param[24], value[PR_WWID_MAX + 32];
    int rc = 0;

    if (target == NULL) {
        return err_set(f->err, ERR_UNSUPPORTED,
                       "LUN %s names no ISCSITarget: reservations are taken over iSCSI only",
                       obj_name(lun));
    }
    if (f->n_luns == PR_MAX_LUNS) {
        return err_set(f->err, ERR_INVALID, "more than %u LUNs: make several devices, in one level",
                       PR_MAX_LUNS);
    }
    if (map_get(&f->targets, target) == NULL) {
        rc = new_target(f, target);
    }
    if (rc == 0) {
        (void)snprintf(param, sizeof(param), "lun%zu", f->n_luns++);
        (void)snprintf(value, sizeof(value), "%zu:%" PRId64 "%s%s",
                       (size_t)(uintptr_t)map_get(&f->targets, target) - 1,
                       jget_int(lun, "spec.lun", 0), *wwid != 0 ? ":" : "", wwid);
        rc = fence_op_set(f->op, param, value, f->err);
    }
    return rc;
}

static bool each_lun(void *ctx, json_t *obj, const struct kv *v)
{
    struct fill *f = ctx;

    (void)v;
    f->rc = add_lun(f, obj);
    return f->rc == 0;
}

/* Those that the device lists; without a list all (api/kinds_fence.c). */
static int add_luns(struct fill *f, const json_t *dev)
{
    const json_t *list = jget(dev, "spec.luns");

    if (list == NULL) {
        object_each(f->n->store, kind_find("LUN"), each_lun, f);
        if (f->rc == 0 && f->n_luns == 0) {
            f->rc = err_set(f->err, ERR_INVALID, "there is no LUN that it could cover");
        }
        return f->rc;
    }
    for (size_t i = 0; f->rc == 0 && i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        json_t *lun = object_read(f->n->store, "luns", name == NULL ? "" : name, f->err);

        f->rc = lun == NULL ? err_wrap(f->err, "spec.luns") : add_lun(f, lun);
        json_decref(lun);
    }
    return f->rc;
}

int device_pr(struct node *n, const json_t *dev, uint64_t incarnation, struct fence_op *op,
              struct err *err)
{
    struct fill f = { .n = n, .op = op, .err = err };
    uint64_t drain_ms = jget_duration(dev, "spec.drainTime", 0);
    char text[24];
    int rc = set_keys(&f, incarnation);

    rc = rc == 0 ? set_initiator(&f) : rc;
    if (rc == 0 && drain_ms != 0) {
        (void)snprintf(text, sizeof(text), "%" PRIu64, drain_ms);
        rc = fence_op_set(op, "drain_ms", text, err);
    }
    if (rc == 0 && n->opts.lab) {
        rc = fence_op_set(op, "lab", "1", err);
    }
    rc = rc == 0 ? add_luns(&f, dev) : rc;
    map_done(&f.targets);
    return rc;
}
