#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/pr.h"

/* The story of an off: look at every LUN through every portal (right WWID? persistent? who is
 * registered?), and only if all is as it has to be: take the reservation where there is none,
 * preempt, end what the victim had under way, read back through every portal.
 *
 * A path that cannot be opened makes it Unknown at best: safety.md asks for every path. */

#define REPLY_MAX 8192U

struct cut {
    struct fence_run *run;
    const struct pr_drv *drv;
    struct pr_ask ask;
    struct pr_path *paths[PR_MAX_TARGETS][PR_MAX_PORTALS];
    bool aptpl[PR_MAX_LUNS];   /* the target can keep registrations through a loss of power */
    bool began;                /* something was sent that takes from others */
    size_t registered, fenced; /* LUNs on which the victim was found, and that are reserved */
    bool foreign[PR_MAX_LUNS]; /* reserved without us, by a type that does not fence */
    char note[96];             /* how commands under way were ended */
};

static int wrap_lun(const struct cut *x, size_t i, struct err *err)
{
    const struct pr_lun *l = &x->ask.luns[i];

    return err_wrap(err, "%s LUN %u", x->ask.targets[l->target].iqn, l->lun);
}

/* --- reading -----------------------------------------------------------------------------------
 */

static int read_in(struct cut *x, struct pr_path *p, uint16_t lun, enum pr_in action,
                   struct buf *ret, struct err *err)
{
    buf_init(ret, REPLY_MAX);
    return x->drv->in(p, lun, action, ret, err);
}

static int read_keys(struct cut *x, struct pr_path *p, uint16_t lun, struct pr_keys *ret,
                     struct err *err)
{
    struct buf b;
    int rc = read_in(x, p, lun, PR_IN_KEYS, &b, err);

    rc = rc == 0 ? pr_keys_decode(b.data, b.len, ret, err) : rc;
    buf_done(&b);
    return rc;
}

static int read_reservation(struct cut *x, struct pr_path *p, uint16_t lun,
                            struct pr_reservation *ret, struct err *err)
{
    struct buf b;
    int rc = read_in(x, p, lun, PR_IN_RESERVATION, &b, err);

    rc = rc == 0 ? pr_reservation_decode(b.data, b.len, ret, err) : rc;
    buf_done(&b);
    return rc;
}

static int read_caps(struct cut *x, struct pr_path *p, uint16_t lun, struct pr_caps *ret,
                     struct err *err)
{
    struct buf b;
    int rc = read_in(x, p, lun, PR_IN_CAPABILITIES, &b, err);

    rc = rc == 0 ? pr_caps_decode(b.data, b.len, ret, err) : rc;
    buf_done(&b);
    return rc;
}

static int check_wwid(struct cut *x, struct pr_path *p, const struct pr_lun *l, struct err *err)
{
    struct buf b;
    int rc;

    if (l->wwid[0] == '\0') {
        return 0;
    }
    buf_init(&b, REPLY_MAX);
    rc = x->drv->vpd(p, l->lun, 0x83, &b, err);
    if (rc == 0 && !pr_vpd_has_wwid(b.data, b.len, l->wwid)) {
        rc = err_set(err, ERR_REFUSED, "it is not %s: the array has renumbered its LUNs", l->wwid);
    }
    buf_done(&b);
    return rc;
}

/* --- every path --------------------------------------------------------------------------------
 */

static size_t n_portals(const struct cut *x, const struct pr_lun *l)
{
    return x->ask.targets[l->target].n_portals;
}

static int open_all(struct cut *x, struct err *err)
{
    for (size_t t = 0; t < x->ask.n_targets; t++) {
        for (size_t i = 0; i < x->ask.targets[t].n_portals; i++) {
            int rc = x->drv->open(&x->ask, t, i, x->run->until_ms, &x->paths[t][i], err);

            if (rc != 0) {
                return err_wrap(err, "%s", x->ask.targets[t].iqn);
            }
        }
    }
    return 0;
}

static void close_all(struct cut *x)
{
    for (size_t t = 0; t < PR_MAX_TARGETS; t++) {
        for (size_t i = 0; i < PR_MAX_PORTALS; i++) {
            if (x->paths[t][i] != NULL) {
                x->drv->close(x->paths[t][i]);
            }
        }
    }
}

/* What a LUN is, can and holds; as every path says. */
static int look_lun(struct cut *x, size_t i, struct err *err)
{
    const struct pr_lun *l = &x->ask.luns[i];
    struct pr_reservation res = { 0 };
    struct pr_keys keys;
    struct pr_caps caps = { 0 };
    bool seen = false;
    int rc = 0;

    for (size_t k = 0; rc == 0 && k < n_portals(x, l); k++) {
        struct pr_path *p = x->paths[l->target][k];

        rc = check_wwid(x, p, l, err);
        rc = rc == 0 ? read_keys(x, p, l->lun, &keys, err) : rc;
        rc = rc == 0 ? read_reservation(x, p, l->lun, &res, err) : rc;
        rc = rc == 0 ? read_caps(x, p, l->lun, &caps, err) : rc;
        seen = seen || (rc == 0 && pr_keys_have(&keys, x->ask.key));
    }
    if (rc != 0) {
        return rc;
    }
    x->registered += seen ? 1 : 0;
    x->fenced += pr_type_fences(res.type) ? 1 : 0;
    x->foreign[i] = res.type != PR_TYPE_NONE && !pr_type_fences(res.type);
    x->aptpl[i] = caps.ptpl_capable;
    if (!caps.ptpl_capable && !x->ask.lab) {
        return err_set(err, ERR_REFUSED,
                       "the target forgets reservations when it loses power: it can prove nothing "
                       "(PTPL_C is 0)");
    }
    return 0;
}

static int look_all(struct cut *x, struct err *err)
{
    int rc = open_all(x, err);

    for (size_t i = 0; rc == 0 && i < x->ask.n_luns; i++) {
        rc = look_lun(x, i, err);
        if (rc != 0) {
            (void)wrap_lun(x, i, err);
        }
    }
    return rc;
}

/* --- the cut -----------------------------------------------------------------------------------
 */

static int register_own(struct cut *x, size_t i, struct err *err)
{
    const struct pr_lun *l = &x->ask.luns[i];
    int rc = 0;

    for (size_t k = 0; rc == 0 && k < n_portals(x, l); k++) {
        rc = x->drv->out(x->paths[l->target][k], l->lun, PR_OUT_REGISTER_IGNORE, PR_TYPE_NONE, 0,
                         x->ask.own_key, x->aptpl[i], err);
    }
    return rc;
}

/* A reservation of the wanted type; another one of the cluster's that fences as well is left. */
static int reserve(struct cut *x, size_t i, struct pr_reservation *ret, struct err *err)
{
    const struct pr_lun *l = &x->ask.luns[i];
    struct pr_path *p = x->paths[l->target][0];
    int rc = read_reservation(x, p, l->lun, ret, err);

    if (rc != 0 || ret->type != PR_TYPE_NONE) {
        return rc;
    }
    rc = fence_run_may_switch(x->run, err);
    if (rc != 0) {
        return rc;
    }
    x->began = true; /* whoever is not registered can no longer write */
    rc = x->drv->out(p, l->lun, PR_OUT_RESERVE, PR_TYPE_WRITE_ALL, x->ask.own_key, 0, false, err);
    return rc == 0 ? read_reservation(x, p, l->lun, ret, err) : rc;
}

/* Commands that the victim had under way, when the target did not abort them with the preemption:
 * a reset of the unit ends them; a declared time of draining counts in a lab only. */
static int end_commands(struct cut *x, size_t i, struct err *err)
{
    const struct pr_lun *l = &x->ask.luns[i];
    uint64_t drain_ms = x->ask.drain_ms;
    int rc;

    if (x->ask.lab && drain_ms > 0) {
        if (fence_run_left_ms(x->run) <= drain_ms) {
            return err_set(err, ERR_TIMEOUT, "no time is left for draining (%" PRIu64 " ms)",
                           drain_ms);
        }
        fence_run_sleep(x->run, drain_ms);
        (void)snprintf(x->note, sizeof(x->note), "drained for %" PRIu64 " ms (lab)", drain_ms);
        return 0;
    }
    rc = fence_run_may_switch(x->run, err);
    rc = rc == 0 ? x->drv->reset(x->paths[l->target][0], l->lun, err) : rc;
    (void)snprintf(x->note, sizeof(x->note), "by LUN reset");
    return rc == 0 ? 0 : err_wrap(err, "what it had under way could not be ended");
}

static int preempt(struct cut *x, size_t i, uint8_t type, struct err *err)
{
    const struct pr_lun *l = &x->ask.luns[i];
    struct pr_path *p = x->paths[l->target][0];
    struct pr_keys keys;
    int rc = read_keys(x, p, l->lun, &keys, err);

    if (rc != 0) {
        return rc;
    }
    rc = fence_run_may_switch(x->run, err);
    if (rc != 0) {
        return rc;
    }
    x->began = true;
    if (!pr_keys_have(&keys, x->ask.key)) {
        return end_commands(x, i, err); /* never registered, or preempted by an earlier attempt */
    }
    rc = x->drv->out(p, l->lun, PR_OUT_PREEMPT_ABORT, type, x->ask.own_key, x->ask.key, x->aptpl[i],
                     err);
    if (rc == 0) {
        (void)snprintf(x->note, sizeof(x->note), "preempted and aborted");
        return 0;
    }
    if (rc != ERR_UNSUPPORTED) {
        return rc;
    }
    rc = x->drv->out(p, l->lun, PR_OUT_PREEMPT, type, x->ask.own_key, x->ask.key, x->aptpl[i], err);
    return rc == 0 ? end_commands(x, i, err) : rc;
}

/* Through every portal: the victim's key gone, ours there, and only registrants may write. */
static int read_back(struct cut *x, size_t i, struct err *err)
{
    const struct pr_lun *l = &x->ask.luns[i];
    struct pr_reservation res;
    struct pr_keys keys;
    struct pr_caps caps;

    for (size_t k = 0; k < n_portals(x, l); k++) {
        struct pr_path *p = x->paths[l->target][k];

        if (read_keys(x, p, l->lun, &keys, err) != 0 ||
            read_reservation(x, p, l->lun, &res, err) != 0 ||
            read_caps(x, p, l->lun, &caps, err) != 0) {
            return err->code;
        }
        if (pr_keys_have(&keys, x->ask.key)) {
            return err_set(err, ERR_REFUSED, "portal %zu still shows its registration", k);
        }
        if (!pr_keys_have(&keys, x->ask.own_key) || !pr_type_fences(res.type) ||
            (res.type < PR_TYPE_WRITE_ALL && !pr_keys_have(&keys, res.key))) {
            return err_set(err, ERR_REFUSED,
                           "portal %zu shows no reservation that keeps it out (type %u)", k,
                           res.type);
        }
        if (!caps.ptpl_active && !x->ask.lab) {
            return err_set(err, ERR_REFUSED,
                           "the target would forget the reservation with its power (PTPL_A is 0)");
        }
    }
    return 0;
}

static int cut_lun(struct cut *x, size_t i, struct err *err)
{
    struct pr_reservation res = { 0 };
    int rc = register_own(x, i, err);

    rc = rc == 0 ? reserve(x, i, &res, err) : rc;
    if (rc == 0 && !pr_type_fences(res.type)) {
        rc = err_set(err, ERR_REFUSED,
                     "somebody else holds a reservation of type %u, which keeps nobody out that we "
                     "could let in",
                     res.type);
    }
    rc = rc == 0 ? preempt(x, i, res.type, err) : rc;
    return rc == 0 ? 0 : wrap_lun(x, i, err);
}

static int cut_all(struct cut *x, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < x->ask.n_luns; i++) {
        if (x->foreign[i]) {
            (void)err_set(err, ERR_REFUSED, "it is reserved by somebody else, not for registrants");
            return wrap_lun(x, i, err);
        }
    }
    for (size_t i = 0; rc == 0 && i < x->ask.n_luns; i++) {
        rc = cut_lun(x, i, err);
    }
    for (size_t i = 0; rc == 0 && i < x->ask.n_luns; i++) {
        rc = read_back(x, i, err);
        if (rc != 0) {
            (void)wrap_lun(x, i, err);
        }
    }
    return rc;
}

/* --- operations --------------------------------------------------------------------------------
 */

static void run_off(struct cut *x, struct fence_answer *ans)
{
    struct err err;
    int rc = look_all(x, &err);
    size_t found = x->registered;

    rc = rc == 0 ? cut_all(x, &err) : rc;
    if (rc == 0) {
        fence_answer_set(ans, FENCE_SUCCEEDED,
                         "cut off from %zu LUNs, read back through every portal; it was registered "
                         "on %zu; %s",
                         x->ask.n_luns, found, x->note);
    } else if (x->began) {
        fence_answer_set(ans, FENCE_UNKNOWN, "%.230s", err.msg);
    } else {
        fence_answer_set(ans, FENCE_FAILED, "nothing was taken: %.220s", err.msg);
    }
}

/* Power: On while it could write to any of them. */
static void run_status(struct cut *x, struct fence_answer *ans)
{
    struct err err;
    int rc = look_all(x, &err);

    if (rc != 0) {
        fence_answer_set(ans, rc == ERR_REFUSED ? FENCE_FAILED : FENCE_UNKNOWN, "%.240s", err.msg);
        return;
    }
    ans->power =
        x->registered == 0 && x->fenced == x->ask.n_luns ? FENCE_POWER_OFF : FENCE_POWER_ON;
    fence_answer_set(ans, FENCE_SUCCEEDED,
                     "%zu LUNs through every portal; it is registered on %zu, reserved are %zu%s",
                     x->ask.n_luns, x->registered, x->fenced,
                     x->ask.lab && !x->aptpl[0] ? "; no persistence through power loss (lab)" : "");
}

void pr_run(struct fence_run *run, const struct pr_drv *drv, struct fence_answer *ans)
{
    struct cut *x = OBJ_NEW(struct cut);
    struct err err;

    memset(ans, 0, sizeof(*ans));
    x->run = run;
    x->drv = drv;
    if (pr_ask_decode(run->op, &x->ask, &err) != 0) {
        fence_answer_set(ans, FENCE_FAILED, "nothing was taken: %.220s", err.msg);
        free(x);
        return;
    }
    switch (run->op->action) {
    case FENCE_ACTION_OFF:
        run_off(x, ans);
        break;
    case FENCE_ACTION_STATUS:
    case FENCE_ACTION_PROBE:
    case FENCE_ACTION_LIST:
        run_status(x, ans);
        break;
    case FENCE_ACTION_ON:
    case FENCE_ACTION_REBOOT:
        fence_answer_set(ans, FENCE_FAILED,
                         "a host registers its paths itself; cut off, only its next boot does");
        break;
    case FENCE_ACTION_NONE:
        CHECK_UNREACHABLE();
    }
    close_all(x);
    free(x);
}
