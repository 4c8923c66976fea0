/* The safety records as bytes: msgpack arrays that only ever grow at the end.  What was written is
 * read with the same limits; anything else is ERR_CORRUPT. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "store/mpk.h"

#define MAX_ANY SIZE_MAX

const char *inc_state_name(enum inc_state st)
{
    switch (st) {
    case INC_LIVE:
        return "Live";
    case INC_LOST:
        return "Lost";
    case INC_FENCING:
        return "Fencing";
    case INC_FENCED:
        return "Fenced";
    }
    return "?";
}

/* --- keys --------------------------------------------------------------------------------------
 */

const char *s_key_host(struct arena *a, const char *name)
{
    return arena_printf(a, "s/host/%s", name);
}

const char *s_key_inc(struct arena *a, uint64_t number)
{
    return arena_printf(a, "s/inc/%020" PRIu64, number);
}

const char *s_key_lock(struct arena *a, const char *lock)
{
    return arena_printf(a, "s/lock/%s", lock);
}

const char *s_key_fencing(struct arena *a, uint64_t id)
{
    return arena_printf(a, "s/fencing/%020" PRIu64, id);
}

const char *s_key_boot(struct arena *a, const char *host_uid, const char *boot_id)
{
    return arena_printf(a, "s/boot/%s/%s", host_uid, boot_id);
}

/* --- parts -------------------------------------------------------------------------------------
 */

static void enc_terms(struct buf *b, const struct terms *t)
{
    mpk_array(b, 7);
    mpk_uint(b, t->lease_ms);
    mpk_uint(b, t->watchdog_ms);
    mpk_uint(b, t->feed_ms);
    mpk_uint(b, (uint64_t)t->on_quorum_loss);
    mpk_uint(b, (uint64_t)t->wd);
    mpk_bool(b, t->nowayout);
    mpk_bool(b, t->guarded);
}

static void dec_terms(struct mpk *m, struct terms *t)
{
    (void)mpk_get_array(m, 7, 7, "terms");
    t->lease_ms = (uint32_t)mpk_get_uint(m, UINT32_MAX, "lease_ms");
    t->watchdog_ms = (uint32_t)mpk_get_uint(m, UINT32_MAX, "watchdog_ms");
    t->feed_ms = (uint32_t)mpk_get_uint(m, UINT32_MAX, "feed_ms");
    t->on_quorum_loss = (enum quorum_loss)mpk_get_uint(m, QUORUM_LOSS_FREEZE, "on_quorum_loss");
    t->wd = (enum wd_kind)mpk_get_uint(m, WD_DEV, "wd");
    t->nowayout = mpk_get_bool(m, "nowayout");
    t->guarded = mpk_get_bool(m, "guarded");
}

/* Strings of records are never NULL once read. */
static void enc_str(struct buf *b, const char *s)
{
    mpk_str(b, s == NULL ? "" : s);
}

static const char *dec_str(struct mpk *m, const char *what)
{
    const char *s = mpk_get_str(m, MAX_ANY, what);

    if (s == NULL) {
        mpk_fail(m, what);
        return "";
    }
    return s;
}

/* Fields behind those that we know are of a later version: passed over. */
static void dec_rest(struct mpk *m, size_t have, size_t known)
{
    if (have > known) {
        mpk_skip(m, have - known, "later fields");
    }
}

/* --- cluster -----------------------------------------------------------------------------------
 */

#define CLUSTER_FIELDS 6U

static void put_record(struct ap *x, const char *key, struct buf *b)
{
    CHECK(!b->overflow);
    (void)st_put(x->s, key, strlen(key), b->data, b->len, 0);
    buf_done(b);
}

void s_cluster_put(struct ap *x, const struct s_cluster *r)
{
    struct buf b = { 0 };

    mpk_array(&b, CLUSTER_FIELDS);
    enc_str(&b, r->id);
    mpk_uint(&b, r->epoch);
    mpk_uint(&b, r->feature_level);
    mpk_bool(&b, r->lab);
    mpk_bool(&b, r->quarantined);
    mpk_uint(&b, r->token_floor);
    put_record(x, "s/cluster", &b);
}

int s_cluster_decode(const void *v, size_t n, struct arena *a, struct s_cluster *ret,
                     struct err *err)
{
    struct mpk m = mpk_make(v, n, a);
    size_t have = mpk_get_array(&m, CLUSTER_FIELDS, MAX_ANY, "cluster");
    struct s_cluster r = { 0 };
    int rc;

    r.id = dec_str(&m, "id");
    r.epoch = mpk_get_uint(&m, UINT64_MAX, "epoch");
    r.feature_level = mpk_get_uint(&m, UINT64_MAX, "feature_level");
    r.lab = mpk_get_bool(&m, "lab");
    r.quarantined = mpk_get_bool(&m, "quarantined");
    r.token_floor = mpk_get_uint(&m, UINT64_MAX, "token_floor");
    dec_rest(&m, have, CLUSTER_FIELDS);
    rc = mpk_end(&m, ERR_CORRUPT, "s/cluster", err);
    if (rc == 0) {
        *ret = r;
    }
    return rc;
}

/* --- host --------------------------------------------------------------------------------------
 */

#define HOST_FIELDS 6U

void s_host_put(struct ap *x, const struct s_host *r)
{
    struct buf b = { 0 };

    mpk_array(&b, HOST_FIELDS);
    enc_str(&b, r->name);
    enc_str(&b, r->uid);
    enc_str(&b, r->hardware_id);
    mpk_uint(&b, r->incarnation);
    enc_str(&b, r->conflict);
    mpk_uint(&b, r->accounted_epoch);
    put_record(x, s_key_host(x->a, r->name), &b);
}

int s_host_decode(const void *v, size_t n, struct arena *a, struct s_host *ret, struct err *err)
{
    struct mpk m = mpk_make(v, n, a);
    size_t have = mpk_get_array(&m, HOST_FIELDS, MAX_ANY, "host");
    struct s_host r = { 0 };
    int rc;

    r.name = dec_str(&m, "name");
    r.uid = dec_str(&m, "uid");
    r.hardware_id = dec_str(&m, "hardware_id");
    r.incarnation = mpk_get_uint(&m, UINT64_MAX, "incarnation");
    r.conflict = dec_str(&m, "conflict");
    r.accounted_epoch = mpk_get_uint(&m, UINT64_MAX, "accounted_epoch");
    dec_rest(&m, have, HOST_FIELDS);
    rc = mpk_end(&m, ERR_CORRUPT, "s/host record", err);
    if (rc == 0) {
        *ret = r;
    }
    return rc;
}

/* --- incarnation -------------------------------------------------------------------------------
 */

#define INC_FIELDS 20U

void s_inc_put(struct ap *x, const struct s_inc *r)
{
    struct buf b = { 0 };

    mpk_array(&b, INC_FIELDS);
    mpk_uint(&b, r->number);
    enc_str(&b, r->host);
    enc_str(&b, r->host_uid);
    enc_str(&b, r->boot_id);
    enc_str(&b, r->hardware_id);
    mpk_uint(&b, (uint64_t)r->state);
    mpk_uint(&b, r->state_rev);
    mpk_uint(&b, r->state_wall_ms);
    mpk_uint(&b, r->epoch);
    enc_terms(&b, &r->loosest);
    enc_terms(&b, &r->offered);
    mpk_bool(&b, r->ever_unguarded);
    mpk_uint(&b, r->fencing);
    mpk_uint(&b, r->wait_term);
    mpk_uint(&b, r->wait_rev);
    mpk_uint(&b, (uint64_t)r->proof);
    enc_str(&b, r->reason);
    mpk_bool(&b, r->inventoried);
    enc_str(&b, r->nonce);
    mpk_uint(&b, r->previous);
    put_record(x, s_key_inc(x->a, r->number), &b);
}

int s_inc_decode(const void *v, size_t n, struct arena *a, struct s_inc *ret, struct err *err)
{
    struct mpk m = mpk_make(v, n, a);
    size_t have = mpk_get_array(&m, INC_FIELDS, MAX_ANY, "incarnation");
    struct s_inc r = { 0 };
    int rc;

    r.number = mpk_get_uint(&m, UINT64_MAX, "number");
    r.host = dec_str(&m, "host");
    r.host_uid = dec_str(&m, "host_uid");
    r.boot_id = dec_str(&m, "boot_id");
    r.hardware_id = dec_str(&m, "hardware_id");
    r.state = (enum inc_state)mpk_get_uint(&m, INC_FENCED, "state");
    r.state_rev = mpk_get_uint(&m, UINT64_MAX, "state_rev");
    r.state_wall_ms = mpk_get_uint(&m, UINT64_MAX, "state_wall_ms");
    r.epoch = mpk_get_uint(&m, UINT64_MAX, "epoch");
    dec_terms(&m, &r.loosest);
    dec_terms(&m, &r.offered);
    r.ever_unguarded = mpk_get_bool(&m, "ever_unguarded");
    r.fencing = mpk_get_uint(&m, UINT64_MAX, "fencing");
    r.wait_term = mpk_get_uint(&m, UINT64_MAX, "wait_term");
    r.wait_rev = mpk_get_uint(&m, UINT64_MAX, "wait_rev");
    r.proof = (enum proof_kind)mpk_get_uint(&m, PROOF_CONFIRMATION, "proof");
    r.reason = dec_str(&m, "reason");
    r.inventoried = mpk_get_bool(&m, "inventoried");
    r.nonce = dec_str(&m, "nonce");
    r.previous = mpk_get_uint(&m, UINT64_MAX, "previous");
    if (r.state < INC_LIVE) {
        mpk_fail(&m, "state");
    }
    dec_rest(&m, have, INC_FIELDS);
    rc = mpk_end(&m, ERR_CORRUPT, "s/inc record", err);
    if (rc == 0) {
        *ret = r;
    }
    return rc;
}

/* --- lock --------------------------------------------------------------------------------------
 */

#define LOCK_FIELDS 6U

static void enc_slot(struct buf *b, const struct s_lock_slot *t)
{
    mpk_array(b, 6);
    mpk_uint(b, t->incarnation);
    enc_str(b, t->host);
    mpk_uint(b, t->token);
    mpk_uint(b, t->since_rev);
    mpk_uint(b, t->since_wall_ms);
    enc_str(b, t->reason);
}

static void dec_slot(struct mpk *m, struct s_lock_slot *t)
{
    (void)mpk_get_array(m, 6, 6, "slot");
    t->incarnation = mpk_get_uint(m, UINT64_MAX, "slot.incarnation");
    t->host = dec_str(m, "slot.host");
    t->token = mpk_get_uint(m, UINT64_MAX, "slot.token");
    t->since_rev = mpk_get_uint(m, UINT64_MAX, "slot.since_rev");
    t->since_wall_ms = mpk_get_uint(m, UINT64_MAX, "slot.since_wall_ms");
    t->reason = dec_str(m, "slot.reason");
}

void s_lock_put(struct ap *x, const struct s_lock *r)
{
    const char *key = s_key_lock(x->a, r->lock);
    struct buf b = { 0 };

    if (r->owner.incarnation == 0 && r->peer.incarnation == 0) {
        st_del_str(x->s, key);
        return;
    }
    mpk_array(&b, LOCK_FIELDS);
    enc_str(&b, r->lock);
    enc_str(&b, r->uid);
    enc_slot(&b, &r->owner);
    enc_slot(&b, &r->peer);
    mpk_bool(&b, r->migration_aborted);
    mpk_bool(&b, r->quarantined);
    put_record(x, key, &b);
}

int s_lock_decode(const void *v, size_t n, struct arena *a, struct s_lock *ret, struct err *err)
{
    struct mpk m = mpk_make(v, n, a);
    size_t have = mpk_get_array(&m, LOCK_FIELDS, MAX_ANY, "lock");
    struct s_lock r = { 0 };
    int rc;

    r.lock = dec_str(&m, "lock");
    r.uid = dec_str(&m, "uid");
    dec_slot(&m, &r.owner);
    dec_slot(&m, &r.peer);
    r.migration_aborted = mpk_get_bool(&m, "migration_aborted");
    r.quarantined = mpk_get_bool(&m, "quarantined");
    dec_rest(&m, have, LOCK_FIELDS);
    rc = mpk_end(&m, ERR_CORRUPT, "s/lock record", err);
    if (rc == 0) {
        *ret = r;
    }
    return rc;
}
