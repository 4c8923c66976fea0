/* What the safety commands share: reading records, the way to Fenced, what hangs on an object. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "store/mpk.h"

/* A record of the state machine's own that cannot be read is damage: refuse, change nothing. */
int sf_inc(struct ap *x, uint64_t number, struct s_inc *ret)
{
    int rc = s_inc_get(x->s, number, x->a, ret, x->err);

    if (rc == ERR_NOT_FOUND) {
        return err_set(x->err, ERR_STALE, "incarnation %" PRIu64 " is not known (any more)",
                       number);
    }
    return rc;
}

int sf_inc_own(struct ap *x, struct s_inc *ret)
{
    int rc = sf_inc(x, x->c->safety.incarnation, ret);

    if (rc != 0) {
        return rc;
    }
    if (!str_eq(ret->host, x->c->actor.name)) {
        return err_set(x->err, ERR_DENIED,
                       "incarnation %" PRIu64 " is of host %s, not of %s whose agent asks",
                       ret->number, ret->host, ap_who(x));
    }
    return 0;
}

int sf_host(struct ap *x, const char *name, struct s_host *ret)
{
    int rc = s_host_get(x->s, name, x->a, ret, x->err);

    if (rc == ERR_NOT_FOUND) {
        *ret = (struct s_host){ .name = name, .uid = "", .hardware_id = "", .conflict = "" };
        return 0;
    }
    return rc;
}

int sf_fencing_open(struct ap *x, uint64_t id, struct s_fencing *f, struct s_inc *inc)
{
    int rc = s_fencing_get(x->s, id, x->a, f, x->err);

    if (rc == ERR_NOT_FOUND) {
        return err_set(x->err, ERR_STALE, "fencing %" PRIu64 " does not exist", id);
    }
    if (rc != 0) {
        return rc;
    }
    if (f->state != FENCING_OPEN) {
        return err_set(x->err, ERR_STALE, "fencing %" PRIu64 " of host %s is closed", id, f->host);
    }
    rc = sf_inc(x, f->incarnation, inc);
    if (rc != 0) {
        return rc;
    }
    CHECK(inc->state == INC_FENCING);
    CHECK(inc->fencing == id);
    return 0;
}

void sf_set_state(struct ap *x, struct s_inc *inc, enum inc_state st, const char *reason)
{
    inc->state = st;
    inc->state_rev = ap_rev(x);
    inc->state_wall_ms = x->s->wall_ms;
    inc->reason = reason == NULL ? "" : reason;
}

bool sf_slot_is(const struct s_lock_slot *slot, uint64_t incarnation, uint64_t token)
{
    return slot->incarnation != 0 && slot->incarnation == incarnation && slot->token == token;
}

/* --- Fenced ------------------------------------------------------------------------------------
 */

struct lock_list {
    struct arena *a;
    const char **names;
    size_t n, cap;
};

static void lock_list_add(void *ctx, const char *lock)
{
    struct lock_list *l = ctx;

    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;
        const char **names = ARENA_ARRAY(l->a, const char *, cap);

        if (l->n > 0) {
            memcpy(names, l->names, l->n * sizeof(*names));
        }
        l->names = names;
        l->cap = cap;
    }
    l->names[l->n++] = arena_strdup(l->a, lock);
}

/* Only the slot of that incarnation (safety.md 2): with a peer left the lock is not free.  A lock
 * that two hosts claimed after a recovery belongs to the other one then. */
void sf_lock_clear(struct ap *x, struct s_lock *l, uint64_t incarnation)
{
    if (l->owner.incarnation == incarnation) {
        l->owner = (struct s_lock_slot){ 0 };
    }
    if (l->peer.incarnation == incarnation) {
        l->peer = (struct s_lock_slot){ 0 };
        l->migration_aborted = false;
    }
    if (l->quarantined && !x->s->meta.quarantined) {
        l->quarantined = false;
        if (l->owner.incarnation == 0) {
            l->owner = l->peer;
            l->peer = (struct s_lock_slot){ 0 };
        }
    }
    s_lock_put(x, l);
}

static void release_all(struct ap *x, uint64_t incarnation)
{
    struct lock_list list = { .a = x->a };
    struct s_lock l;

    s_locks_of(x->s, incarnation, lock_list_add, &list);
    for (size_t i = 0; i < list.n; i++) {
        CHECK(s_lock_get(x->s, list.names[i], x->a, &l, x->err) == 0);
        sf_lock_clear(x, &l, incarnation);
    }
}

void sf_fencing_close(struct ap *x, uint64_t id, enum fencing_state st, enum proof_kind kind)
{
    struct s_fencing f;

    CHECK(s_fencing_get(x->s, id, x->a, &f, x->err) == 0);
    CHECK(f.state == FENCING_OPEN);
    f.state = st;
    f.proof = kind;
    f.closed_wall_ms = x->s->wall_ms;
    s_fencing_put(x, &f);
}

void sf_fenced(struct ap *x, struct s_inc *inc, enum proof_kind kind, const char *reason)
{
    const char *boot = s_key_boot(x->a, inc->host_uid, inc->boot_id);
    struct buf b = { 0 };

    CHECK(inc->state == INC_LOST || inc->state == INC_FENCING);
    release_all(x, inc->number);
    if (inc->fencing != 0) {
        sf_fencing_close(x, inc->fencing, FENCING_SUCCEEDED, kind);
        inc->fencing = 0;
    }
    mpk_uint(&b, inc->number);
    (void)st_put(x->s, boot, strlen(boot), b.data, b.len, 0);
    buf_done(&b);
    inc->proof = kind;
    inc->wait_term = 0;
    inc->wait_rev = 0;
    sf_set_state(x, inc, INC_FENCED, reason);
    s_inc_put(x, inc);
    /* Only what is true of the machine itself says anything about what a lost history had started
     * there (safety.md 1, restore): a watchdog bound is that of one incarnation. */
    if (kind == PROOF_OFF || kind == PROOF_CONFIRMATION) {
        sf_account(x, inc->host);
    }
}

/* --- objects that something hangs on -----------------------------------------------------------
 */

static int host_may_delete(const struct ap *x, const char *name)
{
    struct ap y = *x; /* for its error and arena */
    struct lock_list list = { .a = x->a };
    struct s_host h;
    struct s_inc inc;
    int rc;

    rc = s_host_get(x->s, name, x->a, &h, x->err);
    if (rc != 0) {
        return rc == ERR_NOT_FOUND ? 0 : rc; /* it never registered, nor is it waited for */
    }
    if (x->s->meta.quarantined && h.accounted_epoch != x->s->meta.epoch) {
        return err_set(
            x->err, ERR_REFUSED,
            "Host %s is not accounted for since the recovery: it cannot be deleted before "
            "its agent has given an inventory or it was confirmed off",
            name);
    }
    if (h.incarnation == 0 || (rc = sf_inc(&y, h.incarnation, &inc)) == ERR_STALE) {
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    s_locks_of(x->s, inc.number, lock_list_add, &list);
    if (list.n > 0) {
        return err_set(x->err, ERR_REFUSED,
                       "Host %s cannot be deleted: its incarnation %" PRIu64
                       " holds %zu locks (%s%s%s...): drain it first",
                       name, inc.number, list.n, list.names[0], list.n > 1 ? ", " : "",
                       list.n > 1 ? list.names[1] : "");
    }
    if (inc.state == INC_FENCING) {
        return err_set(x->err, ERR_REFUSED,
                       "Host %s cannot be deleted: fencing %" PRIu64 " is open", name, inc.fencing);
    }
    return 0;
}

int sf_may_delete(const struct ap *x, const struct kv *v)
{
    const char *name = kv_key(v) + 2;
    struct s_lock l;
    int rc;

    if (v->klen < 3 || memcmp(v->bytes, "o/", 2) != 0) {
        return 0;
    }
    rc = s_lock_get(x->s, name, x->a, &l, x->err);
    if (rc == 0) {
        const struct s_lock_slot *t = l.owner.incarnation != 0 ? &l.owner : &l.peer;

        return err_set(x->err, ERR_REFUSED,
                       "%s cannot be deleted: its lock is held by host %s (incarnation %" PRIu64
                       ", token %" PRIu64 "%s)",
                       name, t->host, t->incarnation, t->token,
                       l.quarantined ? ", quarantined" : "");
    }
    if (rc != ERR_NOT_FOUND) {
        return rc;
    }
    return str_starts(name, "hosts/") ? host_may_delete(x, name + 6) : 0;
}

/* A Host that is gone takes its incarnation along: whoever is still there under its name registers
 * anew once there is a Host again.  Its burned boot ids stay burned. */
void sf_deleted(struct ap *x, const char *plural, const char *name)
{
    struct s_host h;
    struct s_inc inc;

    if (!str_eq(plural, "hosts") || s_host_get(x->s, name, x->a, &h, x->err) != 0) {
        return;
    }
    if (h.incarnation != 0 && s_inc_get(x->s, h.incarnation, x->a, &inc, x->err) == 0) {
        st_del_str(x->s, s_key_inc(x->a, inc.previous));
        st_del_str(x->s, s_key_inc(x->a, inc.number));
    }
    st_del_str(x->s, s_key_host(x->a, name));
}
