/* The cluster's own record: INIT, RECOVER, feature level, alarms, and the quarantine after a
 * recovery.
 *
 * A backup may be older than what happened: locks that it calls free may be held, hosts may run
 * guests that it never heard of.  So RECOVER mints a new epoch, and nothing may be acquired until
 * every host is accounted for: by an inventory that its agent gave in the new epoch, by an Off
 * proof, or by a person's word (safety.md 1).  Locks get their holders from those inventories. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "store/mpk.h"

/* So far do the counters jump at a recovery: no history that a backup missed can have used as many.
 */
#define FEATURE_LIMIT 1000U
#define RECOVER_JUMP (UINT64_C(1) << 40)

int ap_init(struct ap *x)
{
    struct s_cluster r = { 0 };

    if (x->s->meta.init) {
        return err_set(x->err, ERR_EXISTS, "the cluster is initialised already (epoch %" PRIu64 ")",
                       x->s->meta.epoch);
    }
    if (x->c->text == NULL || x->c->text[0] == 0 || x->c->number == 0 || x->c->number2 > 1) {
        return err_set(x->err, ERR_INVALID,
                       "init: needs a cluster id, an epoch from 1 on, and 0 or 1 for lab");
    }
    r.id = x->c->text;
    r.epoch = x->c->number;
    r.feature_level = STORE_FEATURE_FIRST; /* the same on every replica, whatever its version */
    r.lab = x->c->number2 == 1;
    s_cluster_put(x, &r);
    ap_value(x, r.epoch);
    return 0;
}

int ap_feature(struct ap *x)
{
    uint64_t level = x->c->number;
    struct s_cluster r;
    int rc;

    rc = s_cluster_get(x->s, x->a, &r, x->err);
    if (rc != 0) {
        return rc;
    }
    /* Whether this replica knows the level must not matter here: who does not has to end
     * (store_unfit). */
    if (level > FEATURE_LIMIT) {
        return err_set(x->err, ERR_INVALID, "feature level %" PRIu64 " is none", level);
    }
    if (level <= r.feature_level) {
        return err_set(x->err, ERR_REFUSED,
                       "feature level is %" PRIu64 " already and never goes back", r.feature_level);
    }
    r.feature_level = level;
    s_cluster_put(x, &r);
    return 0;
}

int ap_alarm(struct ap *x)
{
    const char *kind = x->c->text;
    struct buf b = { 0 };
    const char *key;

    if (!str_is_name(kind == NULL ? "" : kind) && !str_eq(kind, "NOSPACE")) {
        return err_set(x->err, ERR_INVALID, "alarm: the kind must be NOSPACE or a name");
    }
    key = arena_printf(x->a, "s/alarm/%s", kind);
    if (x->c->number == 0) {
        st_del_str(x->s, key);
    } else if (st_get(x->s, key, strlen(key)) == NULL) {
        mpk_uint(&b, x->s->wall_ms);
        (void)st_put(x->s, key, strlen(key), b.data, b.len, 0);
        buf_done(&b);
    }
    return 0;
}

/* --- walking -----------------------------------------------------------------------------------
 */

struct kv_list {
    const struct kv **all;
    size_t n;
};

static struct kv_list list_prefix(const struct ap *x, const char *prefix)
{
    char *end = arena_strdup(x->a, prefix);
    size_t n = strlen(prefix);
    struct bytes key = { .p = (const uint8_t *)prefix, .n = n };
    struct bytes stop = { .p = (const uint8_t *)end, .n = n };
    struct kv_list l;

    end[n - 1]++;
    l.n = st_collect(x->s, key, stop, x->a, &l.all);
    return l;
}

/* --- recovery ----------------------------------------------------------------------------------
 */

static void quarantine_locks(struct ap *x)
{
    struct kv_list l = list_prefix(x, "s/lock/");

    for (size_t i = 0; i < l.n; i++) {
        struct s_lock r;

        CHECK(s_lock_decode(kv_value(l.all[i]), l.all[i]->vlen, x->a, &r, x->err) == 0);
        r.quarantined = true;
        s_lock_put(x, &r);
    }
}

/* Older proofs are void, and so are fencings under way. */
static void reset_incarnations(struct ap *x)
{
    struct kv_list l = list_prefix(x, "s/inc/");

    for (size_t i = 0; i < l.n; i++) {
        struct s_inc r;

        CHECK(s_inc_decode(kv_value(l.all[i]), l.all[i]->vlen, x->a, &r, x->err) == 0);
        if (r.state == INC_FENCED) {
            continue;
        }
        if (r.state == INC_FENCING) {
            sf_fencing_close(x, r.fencing, FENCING_CANCELED, PROOF_NONE);
            r.fencing = 0;
            sf_set_state(x, &r, INC_LOST, "the cluster was recovered");
        }
        r.inventoried = false;
        r.wait_term = 0;
        r.wait_rev = 0;
        s_inc_put(x, &r);
    }
}

/* Every host of the backup, and every one that joined since, has to be accounted for. */
static void expect_hosts(struct ap *x)
{
    struct kv_list l = list_prefix(x, "o/hosts/");
    struct s_host h;

    for (size_t i = 0; i < l.n + x->c->n_names; i++) {
        const char *name = i < l.n ? kv_key(l.all[i]) + 8 : x->c->names[i - l.n];

        CHECK(sf_host(x, name, &h) == 0);
        s_host_put(x, &h);
    }
}

int ap_recover(struct ap *x)
{
    struct s_cluster r;
    int rc;

    rc = s_cluster_get(x->s, x->a, &r, x->err);
    if (rc != 0) {
        return rc;
    }
    if (x->c->number <= r.epoch) {
        return err_set(x->err, ERR_INVALID, "recover: the new epoch must be above %" PRIu64,
                       r.epoch);
    }
    for (size_t i = 0; i < x->c->n_names; i++) {
        if (!str_is_name(x->c->names[i])) {
            return err_set(x->err, ERR_INVALID, "recover: \"%s\" is no host name", x->c->names[i]);
        }
    }
    x->s->last_incarnation += RECOVER_JUMP;
    x->s->last_token += RECOVER_JUMP;
    x->s->last_fencing += RECOVER_JUMP;
    x->s->last_session += RECOVER_JUMP;
    session_close_all(x->s);
    r.epoch = x->c->number;
    r.quarantined = true;
    r.token_floor = x->s->last_token;
    s_cluster_put(x, &r);
    quarantine_locks(x);
    reset_incarnations(x);
    expect_hosts(x);
    ap_value(x, r.epoch);
    return 0;
}

/* --- the end of a quarantine -------------------------------------------------------------------
 */

/* What nobody claimed in this epoch is free; what two hosts claim stays quarantined until one of
 * them has let go. */
static void settle_lock(struct ap *x, const struct kv *v)
{
    uint64_t floor = x->s->meta.token_floor;
    struct s_lock r;

    CHECK(s_lock_decode(kv_value(v), v->vlen, x->a, &r, x->err) == 0);
    if (r.owner.token <= floor) {
        r.owner = (struct s_lock_slot){ 0 };
    }
    if (r.peer.token <= floor) {
        r.peer = (struct s_lock_slot){ 0 };
    }
    r.quarantined = r.owner.incarnation != 0 && r.peer.incarnation != 0;
    s_lock_put(x, &r);
}

/* A host that is not accounted for, or NULL. */
static const char *missing_host(struct ap *x)
{
    struct kv_list l = list_prefix(x, "s/host/");

    for (size_t i = 0; i < l.n; i++) {
        struct s_host h;

        CHECK(s_host_decode(kv_value(l.all[i]), l.all[i]->vlen, x->a, &h, x->err) == 0);
        if (h.accounted_epoch != x->s->meta.epoch) {
            return h.name;
        }
    }
    return NULL;
}

void sf_account(struct ap *x, const char *host)
{
    struct kv_list l;
    struct s_cluster c;
    struct s_host h;

    if (!x->s->meta.quarantined) {
        return;
    }
    CHECK(sf_host(x, host, &h) == 0);
    h.accounted_epoch = x->s->meta.epoch;
    s_host_put(x, &h);
    if (missing_host(x) != NULL) {
        return;
    }
    CHECK(s_cluster_get(x->s, x->a, &c, x->err) == 0);
    c.quarantined = false;
    s_cluster_put(x, &c);
    l = list_prefix(x, "s/lock/");
    for (size_t i = 0; i < l.n; i++) {
        settle_lock(x, l.all[i]);
    }
}

/* --- inventory ---------------------------------------------------------------------------------
 */

/* Put this host into a slot of the lock, unless it is in one already; gives the token. */
static int claim(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref, bool doit,
                 uint64_t *ret_token)
{
    uint64_t floor = x->s->meta.token_floor;
    struct s_lock_slot mine = {
        .incarnation = inc->number,
        .host = inc->host,
        .since_rev = ap_rev(x),
        .since_wall_ms = x->s->wall_ms,
        .reason = "found by the inventory",
    };
    struct s_lock_slot *slot;
    struct s_lock r;
    int rc;

    rc = s_lock_get(x->s, ref->lock, x->a, &r, x->err);
    if (rc == ERR_NOT_FOUND) {
        r = (struct s_lock){ .lock = ref->lock };
    } else if (rc != 0) {
        return rc;
    }
    if (r.owner.token > floor && r.owner.incarnation == inc->number) {
        *ret_token = r.owner.token;
        return 0;
    }
    if (r.peer.token > floor && r.peer.incarnation == inc->number) {
        *ret_token = r.peer.token;
        return 0;
    }
    slot = r.owner.token <= floor ? &r.owner : &r.peer;
    if (slot == &r.peer && r.peer.token > floor) {
        return err_set(x->err, ERR_CONFLICT, "%s is claimed by hosts %s and %s already", ref->lock,
                       r.owner.host, r.peer.host);
    }
    if (doit) {
        if (slot == &r.owner && r.peer.token <= floor) {
            r.peer = (struct s_lock_slot){ 0 }; /* of before the recovery, as the owner was */
        }
        mine.token = ++x->s->last_token;
        *slot = mine;
        r.uid = ref->uid;
        r.quarantined = true;
        s_lock_put(x, &r);
        *ret_token = mine.token;
    }
    return 0;
}

static int claim_all(struct ap *x, const struct s_inc *inc, bool doit)
{
    const struct cmd_safety *f = &x->c->safety;

    for (size_t i = 0; i < f->n_locks; i++) {
        uint64_t token = 0;
        int rc = claim(x, inc, &f->locks[i], doit, &token);

        if (rc != 0) {
            CHECK(!doit);
            return rc;
        }
        if (doit) {
            ap_value(x, token);
        }
    }
    return 0;
}

static int check_claims(struct ap *x, const struct s_inc *inc)
{
    const struct cmd_safety *f = &x->c->safety;
    int rc;

    if (!f->complete) {
        return err_set(
            x->err, ERR_REFUSED,
            "the cluster was recovered: the inventory of host %s must say all that the host "
            "holds",
            inc->host);
    }
    rc = f->n_locks == 0 ? 0 : sl_named_once(x);
    return rc != 0 ? rc : claim_all(x, inc, false);
}

int ap_inventory(struct ap *x)
{
    struct s_inc inc;
    int rc;

    rc = sf_inc_own(x, &inc);
    if (rc != 0) {
        return rc;
    }
    if (inc.state != INC_LIVE || inc.epoch != x->s->meta.epoch) {
        return err_set(x->err, ERR_STALE,
                       "incarnation %" PRIu64 " is %s in epoch %" PRIu64
                       ": register in epoch %" PRIu64 " first",
                       inc.number, inc_state_name(inc.state), inc.epoch, x->s->meta.epoch);
    }
    if (x->s->meta.quarantined) {
        rc = check_claims(x, &inc);
        if (rc != 0) {
            return rc;
        }
        CHECK(claim_all(x, &inc, true) == 0);
    }
    if (!inc.inventoried) {
        inc.inventoried = true;
        s_inc_put(x, &inc);
    }
    sf_account(x, inc.host);
    return 0;
}
