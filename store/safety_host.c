/* Incarnations: registration, lease terms, Lost, Reprieve, the wait for a Watchdog proof. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

/* --- lease terms -------------------------------------------------------------------------------
 */

/* How much a kind of watchdog is worth: the weaker of two may be the one in force. */
static int wd_rank(enum wd_kind wd)
{
    switch (wd) {
    case WD_NONE:
        return 0;
    case WD_SOFTDOG:
        return 1;
    case WD_DEV:
        return 2;
    case WD_XEN:
        return 3;
    case WD_HARDWARE:
        return 4;
    }
    CHECK_UNREACHABLE();
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Field by field what is worse for a proof: either of the two may be in force. */
struct terms sf_terms_loosest(struct terms a, struct terms b)
{
    return (struct terms){
        .lease_ms = max_u32(a.lease_ms, b.lease_ms),
        .watchdog_ms = max_u32(a.watchdog_ms, b.watchdog_ms),
        .feed_ms = max_u32(a.feed_ms, b.feed_ms),
        .on_quorum_loss =
            a.on_quorum_loss == QUORUM_LOSS_FREEZE ? a.on_quorum_loss : b.on_quorum_loss,
        .wd = wd_rank(a.wd) < wd_rank(b.wd) ? a.wd : b.wd,
        .nowayout = a.nowayout && b.nowayout,
        .guarded = a.guarded && b.guarded,
    };
}

int sf_terms_check(const struct terms *t, struct err *err)
{
    if (t->lease_ms == 0) {
        return err_set(err, ERR_INVALID, "terms: a lease of 0 ms");
    }
    if ((t->wd == WD_NONE) != (t->watchdog_ms == 0)) {
        return err_set(err, ERR_INVALID,
                       "terms: watchdog kind and timeout %u ms contradict each other",
                       t->watchdog_ms);
    }
    if (t->guarded && t->wd == WD_NONE) {
        return err_set(err, ERR_INVALID, "terms: guarded, but by no watchdog");
    }
    return 0;
}

/* L + W + feed interval + drift (safety.md 3 and 4).  1 % for drift: more than a hundred times what
 * a quartz is allowed, and the clocks of both sides run for the whole time. */
uint64_t s_watchdog_bound_ms(const struct terms *t)
{
    uint64_t sum = (uint64_t)t->lease_ms + t->watchdog_ms + t->feed_ms;

    return sum + sum / 100 + 1;
}

/* A looser value is recorded before the agent may hear of it (safety.md 3). */
static int terms_offer(struct ap *x, struct s_inc *inc)
{
    const struct terms *t = &x->c->safety.terms;

    inc->offered = *t;
    inc->loosest = sf_terms_loosest(inc->loosest, *t);
    inc->ever_unguarded = inc->ever_unguarded || !t->guarded;
    s_inc_put(x, inc);
    return 0;
}

/* The agent has dropped all that came before; what it says about its watchdog is what
 * picket-watchdog read back.  Lease and policy must be those of the newest offer: an older
 * confirmation is late. */
static int terms_confirm(struct ap *x, struct s_inc *inc)
{
    const struct terms *t = &x->c->safety.terms;

    if (t->lease_ms != inc->offered.lease_ms || t->on_quorum_loss != inc->offered.on_quorum_loss) {
        return err_set(x->err, ERR_STALE,
                       "incarnation %" PRIu64 ": the terms confirmed (lease %u ms) are not those "
                       "offered last (lease %u ms)",
                       inc->number, t->lease_ms, inc->offered.lease_ms);
    }
    inc->loosest = *t;
    /* what was offered beyond that may still be acted upon */
    inc->loosest.watchdog_ms = max_u32(t->watchdog_ms, inc->offered.watchdog_ms);
    inc->loosest.feed_ms = max_u32(t->feed_ms, inc->offered.feed_ms);
    inc->loosest.guarded = t->guarded && inc->offered.guarded;
    inc->ever_unguarded = !inc->loosest.guarded;
    s_inc_put(x, inc);
    return 0;
}

int ap_terms(struct ap *x)
{
    const struct cmd_safety *f = &x->c->safety;
    struct s_inc inc;
    int rc;

    rc = f->offer ? sf_inc(x, f->incarnation, &inc) : sf_inc_own(x, &inc);
    if (rc == 0) {
        rc = sf_terms_check(&f->terms, x->err);
    }
    if (rc != 0) {
        return rc;
    }
    if (inc.state != INC_LIVE) {
        return err_set(x->err, ERR_REFUSED,
                       "incarnation %" PRIu64 " of %s is %s: its terms are fixed", inc.number,
                       inc.host, inc_state_name(inc.state));
    }
    return f->offer ? terms_offer(x, &inc) : terms_confirm(x, &inc);
}

/* --- registration ------------------------------------------------------------------------------
 */

static int register_check(struct ap *x, const struct cmd_register *r)
{
    const char *const fields[] = { r->host, r->host_uid, r->boot_id, r->hardware_id, r->nonce };
    const char *const names[] = { "host", "host uid", "boot id", "hardware id", "nonce" };

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i] == NULL || fields[i][0] == 0 || strlen(fields[i]) > 253 ||
            strchr(fields[i], '/') != NULL) {
            return err_set(x->err, ERR_INVALID,
                           "register: %s must have 1 to 253 bytes and no slash", names[i]);
        }
    }
    if (!str_eq(r->host, x->c->actor.name)) {
        return err_set(x->err, ERR_DENIED, "register: the agent of %s may not register host %s",
                       ap_who(x), r->host);
    }
    return sf_terms_check(&r->terms, x->err);
}

/* The Host object must be there and be the one that the agent means. */
static int register_object(struct ap *x, const struct cmd_register *r)
{
    struct obj_info o;
    const char *uid;
    int rc;

    rc = obj_open(x->s, "hosts", r->host, &o, x->err);
    if (rc != 0) {
        return err_wrap(x->err, "register");
    }
    uid = obj_uid(&o);
    if (uid != NULL && !str_eq(uid, r->host_uid)) {
        rc = err_set(x->err, ERR_CONFLICT, "register: Host %s has uid %s, not %s", r->host, uid,
                     r->host_uid);
    }
    obj_done(&o);
    return rc;
}

/* Two machines under one name: recorded with the refusal itself, so that everyone sees why. */
static int register_conflict(struct ap *x, struct s_host *h, const struct s_inc *cur)
{
    const struct cmd_register *r = &x->c->reg;

    h->conflict = arena_printf(x->a,
                               "hardware %s (boot %s) asked for the name while incarnation %" PRIu64
                               " of hardware %s is %s",
                               r->hardware_id, r->boot_id, cur->number, cur->hardware_id,
                               inc_state_name(cur->state));
    s_host_put(x, h);
    x->keeps_on_error = true;
    return err_set(
        x->err, ERR_REFUSED,
        "IdentityConflict: %s; find out which machine is %s, switch the other one off, then "
        "`picket clear-conflict %s`",
        h->conflict, r->host, r->host);
}

static bool terms_same(const struct terms *a, const struct terms *b)
{
    return a->lease_ms == b->lease_ms && a->watchdog_ms == b->watchdog_ms &&
           a->feed_ms == b->feed_ms && a->on_quorum_loss == b->on_quorum_loss && a->wd == b->wd &&
           a->nowayout == b->nowayout && a->guarded == b->guarded;
}

/* The agent was started again within the same boot: same number, same state. */
static int register_adopt(struct ap *x, struct s_inc *cur)
{
    const struct cmd_register *r = &x->c->reg;
    struct terms loosest = sf_terms_loosest(cur->loosest, r->terms);

    if (!terms_same(&loosest, &cur->loosest) || cur->epoch != x->s->meta.epoch ||
        !str_eq(cur->nonce, r->nonce)) {
        cur->loosest = loosest;
        cur->ever_unguarded = cur->ever_unguarded || !r->terms.guarded;
        cur->epoch = x->s->meta.epoch;
        cur->nonce = r->nonce;
        s_inc_put(x, cur);
    }
    ap_value(x, cur->number);
    return 0;
}

static int register_mint(struct ap *x, struct s_host *h, uint64_t grandparent)
{
    const struct cmd_register *r = &x->c->reg;
    struct s_inc inc = {
        .number = ++x->s->last_incarnation,
        .host = r->host,
        .host_uid = r->host_uid,
        .boot_id = r->boot_id,
        .hardware_id = r->hardware_id,
        .epoch = x->s->meta.epoch,
        .loosest = r->terms,
        .offered = r->terms,
        .ever_unguarded = !r->terms.guarded,
        .nonce = r->nonce,
        .previous = h->incarnation,
    };

    sf_set_state(x, &inc, INC_LIVE, "registered");
    s_inc_put(x, &inc);
    if (grandparent != 0) {
        st_del_str(x->s, s_key_inc(x->a, grandparent)); /* one back is history enough */
    }
    h->uid = r->host_uid;
    h->hardware_id = r->hardware_id;
    h->incarnation = inc.number;
    h->conflict = "";
    h->accounted_epoch = 0; /* after a recovery: its inventory is still to come */
    s_host_put(x, h);
    ap_value(x, inc.number);
    return 0;
}

static int register_live(const struct s_inc *cur, struct err *err)
{
    return err_set(err, ERR_REFUSED,
                   "incarnation %" PRIu64 " of %s (boot %s) is still Live: wait until it is Lost",
                   cur->number, cur->host, cur->boot_id);
}

/* The order is ap_register's: what that would refuse for another reason, or record, is its own. */
int s_register_waits(const struct store *s, const struct cmd_register *r, struct err *err)
{
    struct arena a = { 0 };
    struct s_host h = { 0 };
    struct s_inc cur = { 0 };
    struct err missing;
    int rc = 0;

    if (s_host_get(s, r->host, &a, &h, &missing) == 0 && h.incarnation != 0 &&
        h.incarnation == r->expected && s_inc_get(s, h.incarnation, &a, &cur, &missing) == 0 &&
        cur.state == INC_LIVE && map_get(&s->burned, r->boot_id) == NULL &&
        !str_eq(cur.boot_id, r->boot_id) && !str_eq(cur.nonce, r->nonce) &&
        str_eq(cur.hardware_id, r->hardware_id)) {
        rc = register_live(&cur, err);
    }
    arena_done(&a);
    return rc;
}

/* Another boot than the newest incarnation's.  */
static int register_reboot(struct ap *x, struct s_host *h, struct s_inc *cur)
{
    const struct cmd_register *r = &x->c->reg;
    uint64_t old = cur->previous;

    if (str_eq(cur->nonce, r->nonce)) {
        return err_set(x->err, ERR_STALE, "register: the nonce was used by incarnation %" PRIu64,
                       cur->number);
    }
    if (cur->state == INC_FENCED) {
        return register_mint(x, h, old);
    }
    if (!str_eq(cur->hardware_id, r->hardware_id)) {
        return register_conflict(x, h, cur);
    }
    if (cur->state == INC_LIVE) {
        return register_live(cur, x->err);
    }
    if (h->conflict[0] != 0) {
        return err_set(x->err, ERR_REFUSED, "host %s has an IdentityConflict: %s", h->name,
                       h->conflict);
    }
    if (!str_eq(cur->host_uid, r->host_uid)) {
        return err_set(x->err, ERR_REFUSED, "incarnation %" PRIu64 " is of the Host with uid %s",
                       cur->number, cur->host_uid);
    }
    sf_fenced(x, cur, PROOF_REBOOT, "the same machine came back with a new boot id");
    CHECK(sf_host(x, r->host, h) == 0);
    return register_mint(x, h, old);
}

int ap_register(struct ap *x)
{
    const struct cmd_register *r = &x->c->reg;
    struct s_inc cur = { 0 };
    struct s_host h;
    int rc;

    rc = register_check(x, r);
    if (rc == 0) {
        rc = register_object(x, r);
    }
    if (rc == 0) {
        rc = sf_host(x, r->host, &h);
    }
    if (rc == 0 && h.incarnation != 0) {
        rc = sf_inc(x, h.incarnation, &cur);
    }
    if (rc != 0) {
        return rc;
    }
    if (map_get(&x->s->burned, r->boot_id) != NULL) {
        return err_set(
            x->err, ERR_REFUSED,
            "boot id %s of host %s was fenced: reset the host; this boot can never be part "
            "of the cluster again",
            r->boot_id, r->host);
    }
    if (cur.number != 0 && str_eq(cur.boot_id, r->boot_id) && str_eq(cur.host_uid, r->host_uid)) {
        return str_eq(cur.hardware_id, r->hardware_id) ? register_adopt(x, &cur)
                                                       : register_conflict(x, &h, &cur);
    }
    if (r->expected != h.incarnation) {
        return err_set(x->err, ERR_CONFLICT,
                       "register: host %s has incarnation %" PRIu64 ", the agent had read %" PRIu64
                       ": read again",
                       r->host, h.incarnation, r->expected);
    }
    return cur.number != 0 ? register_reboot(x, &h, &cur) : register_mint(x, &h, 0);
}

int ap_conflict_clear(struct ap *x)
{
    const char *host = x->c->safety.host;
    struct s_host h;
    int rc;

    rc = s_host_get(x->s, host == NULL ? "" : host, x->a, &h, x->err);
    if (rc != 0) {
        return rc;
    }
    if (h.conflict[0] == 0) {
        return err_set(x->err, ERR_REFUSED, "host %s has no IdentityConflict", host);
    }
    h.conflict = "";
    s_host_put(x, &h);
    return 0;
}

/* --- Live and Lost -----------------------------------------------------------------------------
 */

int ap_lost(struct ap *x)
{
    struct s_inc inc;
    int rc;

    rc = sf_inc(x, x->c->safety.incarnation, &inc);
    if (rc != 0) {
        return rc;
    }
    if (inc.state != INC_LIVE) {
        return err_set(x->err, ERR_REFUSED, "incarnation %" PRIu64 " of %s is %s already",
                       inc.number, inc.host, inc_state_name(inc.state));
    }
    sf_set_state(x, &inc, INC_LOST, x->c->safety.reason);
    s_inc_put(x, &inc);
    return 0;
}

int ap_reprieve(struct ap *x)
{
    const struct cmd_safety *f = &x->c->safety;
    struct s_inc inc;
    int rc;

    rc = sf_inc(x, f->incarnation, &inc);
    if (rc != 0) {
        return rc;
    }
    if (inc.state != INC_LOST && inc.state != INC_FENCING) {
        return err_set(x->err, ERR_REFUSED,
                       "incarnation %" PRIu64 " of %s is %s: nothing to reprieve", inc.number,
                       inc.host, inc_state_name(inc.state));
    }
    if (f->fencing != inc.fencing) {
        return err_set(x->err, ERR_STALE,
                       "reprieve of %s names fencing %" PRIu64 ", but fencing %" PRIu64
                       " is the open one",
                       inc.host, f->fencing, inc.fencing);
    }
    if (inc.proof != PROOF_NONE) {
        return err_set(x->err, ERR_REFUSED,
                       "host %s was cut off from its disks: it can only come back by a reset",
                       inc.host);
    }
    if (inc.fencing != 0) {
        sf_fencing_close(x, inc.fencing, FENCING_CANCELED, PROOF_NONE);
        inc.fencing = 0;
    }
    inc.wait_term = 0;
    inc.wait_rev = 0;
    sf_set_state(x, &inc, INC_LIVE, f->reason);
    s_inc_put(x, &inc);
    return 0;
}

int ap_watchdog_wait(struct ap *x)
{
    struct s_fencing f;
    struct s_inc inc;
    int rc;

    rc = sf_inc(x, x->c->safety.incarnation, &inc);
    if (rc != 0) {
        return rc;
    }
    if (inc.state != INC_LOST && inc.state != INC_FENCING) {
        return err_set(x->err, ERR_REFUSED,
                       "incarnation %" PRIu64 " of %s is %s: nothing to wait for", inc.number,
                       inc.host, inc_state_name(inc.state));
    }
    if (inc.fencing != 0) {
        rc = s_fencing_get(x->s, inc.fencing, x->a, &f, x->err);
        if (rc != 0) {
            return rc;
        }
        if (f.life_sign) {
            f.life_sign = false; /* from here on it has to be silent */
            s_fencing_put(x, &f);
        }
    }
    inc.wait_term = x->term;
    inc.wait_rev = ap_rev(x);
    s_inc_put(x, &inc);
    ap_value(x, inc.wait_rev);
    return 0;
}
