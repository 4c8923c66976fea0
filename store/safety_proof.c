/* Proofs: the only way from Fencing to Fenced that is not a person's word or the host's own return.
 */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

/* --- what the running attempt has shown --------------------------------------------------------
 */

/* The last thing that the running attempt said about a device. */
static enum fence_result last_result(const struct s_fencing *f, const char *device)
{
    for (size_t i = f->n_results; i > 0; i--) {
        const struct s_fencing_result *r = &f->results[i - 1];

        if (r->attempt == f->attempt && str_eq(r->device, device)) {
            return r->result;
        }
    }
    return FENCE_RESULT_UNKNOWN;
}

/* Nobody touched Host or device since the fencing was opened: what was switched is what was
 * declared. */
static int pinned(struct ap *x, const char *plural, const char *name, uint64_t generation,
                  uint64_t create_rev)
{
    struct obj_info o;
    int rc;

    rc = obj_open(x->s, plural, name, &o, x->err);
    if (rc == 0) {
        if (o.generation != generation || (create_rev != 0 && o.create_rev != create_rev)) {
            rc = err_set(x->err, ERR_REFUSED,
                         "%s %s was changed while the fencing was under way (generation %" PRIu64
                         ", pinned %" PRIu64 "): open a new one",
                         plural, name, o.generation, generation);
        }
        obj_done(&o);
    } else if (rc == ERR_NOT_FOUND) {
        rc = err_set(x->err, ERR_REFUSED, "%s %s was deleted while the fencing was under way",
                     plural, name);
    }
    return rc;
}

static int attempt_check(struct ap *x, const struct s_fencing *f)
{
    const struct cmd_fence_level *lv;
    int rc;

    if (f->attempt == 0 || x->c->safety.attempt != f->attempt) {
        return err_set(x->err, ERR_STALE,
                       "proof from attempt %" PRIu64 ", but attempt %" PRIu64 " of fencing %" PRIu64
                       " is the open one",
                       x->c->safety.attempt, f->attempt, f->id);
    }
    if (f->vetoed) {
        return err_set(x->err, ERR_REFUSED, "attempt %" PRIu64 " was vetoed: %s", f->attempt,
                       f->veto_reason);
    }
    rc = sf_executor_check(x, f);
    if (rc == 0) {
        rc = pinned(x, "hosts", f->host, f->host_generation, 0);
    }
    lv = &f->levels[f->level];
    for (size_t i = 0; rc == 0 && i < lv->n_devices; i++) {
        const struct cmd_fence_device *d = &lv->devices[i];

        rc = pinned(x, "fencedevices", d->name, d->generation, d->create_rev);
    }
    return rc;
}

/* --- the kinds ---------------------------------------------------------------------------------
 */

static int proof_off(struct ap *x, const struct s_fencing *f)
{
    const struct cmd_fence_level *lv;
    int rc = attempt_check(x, f);

    if (rc != 0) {
        return rc;
    }
    lv = &f->levels[f->level];
    for (size_t i = 0; i < lv->n_devices; i++) {
        const struct cmd_fence_device *d = &lv->devices[i];

        if (sf_device_class(d, x->s->meta.lab) != CLASS_POWER) {
            return err_set(x->err, ERR_REFUSED,
                           "device %s of type %s cannot prove that power is off", d->name, d->type);
        }
        if (last_result(f, d->name) != FENCE_RESULT_SUCCEEDED) {
            return err_set(x->err, ERR_REFUSED,
                           "device %s did not read back off in attempt %" PRIu64, d->name,
                           f->attempt);
        }
    }
    return 0;
}

/* Which terms could be in force when the host died decides (safety.md 3 and 4). */
static int watchdog_terms(struct ap *x, const struct s_inc *inc)
{
    const struct terms *t = &inc->loosest;
    bool lab = x->s->meta.lab;

    if (!t->guarded || inc->ever_unguarded) {
        return err_set(x->err, ERR_REFUSED, "host %s may have been unguarded by its watchdog",
                       inc->host);
    }
    if (t->on_quorum_loss != QUORUM_LOSS_STOP) {
        return err_set(
            x->err, ERR_REFUSED,
            "host %s freezes when it is alone (onQuorumLoss: Freeze): its watchdog never fires",
            inc->host);
    }
    if (t->wd != WD_HARDWARE && t->wd != WD_XEN && !(t->wd == WD_DEV && lab)) {
        return err_set(x->err, ERR_REFUSED, "host %s has no watchdog that proves anything",
                       inc->host);
    }
    if (t->watchdog_ms == 0 || (!t->nowayout && !lab)) {
        return err_set(x->err, ERR_REFUSED,
                       "the watchdog of host %s can be switched off (no nowayout)", inc->host);
    }
    return 0;
}

static int proof_watchdog(struct ap *x, const struct s_inc *inc)
{
    uint64_t bound = s_watchdog_bound_ms(&inc->loosest);
    int rc = watchdog_terms(x, inc);

    if (rc != 0) {
        return rc;
    }
    /* a life sign has reset the wait; access_check has made sure that the actor's term is the
     * entry's */
    if (inc->wait_term == 0 || inc->wait_term != x->term) {
        return err_set(x->err, ERR_REFUSED,
                       "no wait for the watchdog of host %s was begun in term %" PRIu64
                       " (last one in term %" PRIu64 ")",
                       inc->host, x->term, inc->wait_term);
    }
    if (x->c->safety.elapsed_ms < bound) {
        return err_set(x->err, ERR_REFUSED,
                       "watchdog of host %s: %" PRIu64 " ms have passed, %" PRIu64
                       " are needed (lease %u + watchdog %u + feed %u + drift)",
                       inc->host, x->c->safety.elapsed_ms, bound, inc->loosest.lease_ms,
                       inc->loosest.watchdog_ms, inc->loosest.feed_ms);
    }
    return 0;
}

/* Devices of the attempt whose reservation was taken and read back. */
static size_t scsi_devices(struct ap *x, const struct s_fencing *f, const char **names)
{
    const struct cmd_fence_level *lv = &f->levels[f->level];
    size_t n = 0;

    for (size_t i = 0; i < lv->n_devices; i++) {
        const struct cmd_fence_device *d = &lv->devices[i];

        if (str_eq(d->type, "ScsiReservation") &&
            sf_device_class(d, x->s->meta.lab) == CLASS_STORAGE &&
            last_result(f, d->name) == FENCE_RESULT_SUCCEEDED) {
            names[n++] = d->name;
        }
    }
    return n;
}

int s_scsi_covers(const struct store *s, const char *const *devs, size_t n_devs, const char *lock,
                  struct err *err)
{
    return obj_scsi_covers(s, devs, n_devs, lock, err);
}

/* The named locks, as far as they are covered: all or nothing. */
static int scsi_locks(struct ap *x, const struct s_inc *inc, const char *const *devs, size_t n_devs)
{
    const struct cmd_safety *c = &x->c->safety;

    for (size_t i = 0; i < c->n_locks; i++) {
        struct s_lock l;
        int rc = s_lock_get(x->s, c->locks[i].lock, x->a, &l, x->err);

        if (rc == 0 && l.owner.incarnation != inc->number && l.peer.incarnation != inc->number) {
            rc = err_set(x->err, ERR_REFUSED, "%s is not held by incarnation %" PRIu64,
                         c->locks[i].lock, inc->number);
        }
        if (rc == 0) {
            rc = obj_scsi_covers(x->s, devs, n_devs, c->locks[i].lock, x->err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* A reservation releases what it covers; the incarnation stays Fencing until something proves the
 * rest. */
static int proof_scsi(struct ap *x, const struct s_fencing *f, struct s_inc *inc)
{
    const struct cmd_safety *c = &x->c->safety;
    const char *devs[CMD_MAX_DEVICES];
    size_t n;
    int rc;

    rc = attempt_check(x, f);
    if (rc != 0) {
        return rc;
    }
    n = scsi_devices(x, f, devs);
    if (n == 0 || c->n_locks == 0) {
        return err_set(x->err, ERR_REFUSED,
                       "attempt %" PRIu64
                       ": no reservation was taken and read back, or no locks named",
                       f->attempt);
    }
    rc = scsi_locks(x, inc, devs, n);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < c->n_locks; i++) {
        struct s_lock l;

        if (s_lock_get(x->s, c->locks[i].lock, x->a, &l, x->err) != 0) {
            continue; /* named twice */
        }
        sf_lock_clear(x, &l, inc->number);
    }
    inc->proof = PROOF_SCSI; /* no way back to Live: the guests have lost their disks */
    s_inc_put(x, inc);
    return 0;
}

int ap_proof(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_fencing f;
    struct s_inc inc;
    struct s_host h;
    int rc;

    rc = sf_fencing_open(x, c->fencing, &f, &inc);
    if (rc == 0) {
        rc = sf_host(x, inc.host, &h);
    }
    if (rc != 0) {
        return rc;
    }
    if (h.conflict[0] != 0) {
        return err_set(x->err, ERR_REFUSED,
                       "host %s has an IdentityConflict, nothing proves anything: %s", inc.host,
                       h.conflict);
    }
    switch (c->proof) {
    case PROOF_OFF:
        rc = proof_off(x, &f);
        break;
    case PROOF_WATCHDOG:
        rc = proof_watchdog(x, &inc);
        break;
    case PROOF_SCSI:
        return proof_scsi(x, &f, &inc);
    case PROOF_NONE:
    case PROOF_REBOOT:
    case PROOF_CONFIRMATION:
        rc = err_set(x->err, ERR_REFUSED,
                     "a proof of this kind comes by REGISTER or CONFIRM, not from a controller");
        break;
    }
    if (rc == 0) {
        sf_fenced(x, &inc, c->proof, f.reason);
    }
    return rc;
}

/* --- confirmation ------------------------------------------------------------------------------
 */

/* After a recovery a host may have no incarnation that could be confirmed off (fenced in the lost
 * or the old history, or never seen); then the person's word accounts for the host itself. */
static int confirm_host(struct ap *x, const struct s_host *h)
{
    if (h->accounted_epoch == x->s->meta.epoch) {
        return err_set(x->err, ERR_REFUSED, "host %s is accounted for in this epoch already",
                       h->name);
    }
    sf_account(x, h->name);
    return 0;
}

static int confirm_veto(struct ap *x, const struct s_inc *inc)
{
    struct s_fencing f;
    int rc;

    if (inc->fencing == 0) {
        return 0;
    }
    rc = s_fencing_get(x->s, inc->fencing, x->a, &f, x->err);
    if (rc == 0 && f.life_sign) {
        return err_set(x->err, ERR_REFUSED,
                       "confirmation of host %s is contradicted by a life sign: %s", inc->host,
                       f.veto_reason);
    }
    return rc;
}

int ap_confirm(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_host h;
    struct s_inc inc = { 0 };
    int rc;

    rc = s_host_get(x->s, c->host == NULL ? "" : c->host, x->a, &h, x->err);
    if (rc != 0) {
        return rc;
    }
    if (h.incarnation != c->incarnation) {
        return err_set(x->err, ERR_CONFLICT,
                       "host %s is at incarnation %" PRIu64 ", the confirmation names %" PRIu64
                       ": look again",
                       h.name, h.incarnation, c->incarnation);
    }
    if (h.incarnation != 0) {
        rc = sf_inc(x, h.incarnation, &inc);
        if (rc != 0) {
            return rc;
        }
    }
    if (x->s->meta.quarantined && (h.incarnation == 0 || inc.state == INC_FENCED)) {
        return confirm_host(x, &h);
    }
    if (inc.state != INC_LOST && inc.state != INC_FENCING) {
        return err_set(x->err, ERR_REFUSED,
                       "incarnation %" PRIu64
                       " of host %s is %s: a confirmation is for one that is Lost "
                       "or Fencing",
                       inc.number, h.name, inc_state_name(inc.state));
    }
    rc = confirm_veto(x, &inc);
    if (rc != 0) {
        return rc;
    }
    sf_fenced(
        x, &inc, PROOF_CONFIRMATION,
        arena_printf(x->a, "confirmed by %s: %s", ap_who(x), c->reason == NULL ? "" : c->reason));
    return 0;
}
