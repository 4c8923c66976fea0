/* The record of a fencing, and reading records by key. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "store/mpk.h"

#define FENCING_FIELDS 19U
#define MAX_ANY SIZE_MAX

static const char *some(const char *s)
{
    return s == NULL ? "" : s;
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

static void enc_device(struct buf *b, const struct cmd_fence_device *d)
{
    mpk_array(b, 5);
    mpk_str(b, some(d->name));
    mpk_uint(b, d->generation);
    mpk_str(b, some(d->type));
    mpk_uint(b, (uint64_t)d->provides);
    mpk_uint(b, d->create_rev);
}

static void dec_device(struct mpk *m, struct cmd_fence_device *d)
{
    (void)mpk_get_array(m, 5, 5, "device");
    d->name = dec_str(m, "device.name");
    d->generation = mpk_get_uint(m, UINT64_MAX, "device.generation");
    d->type = dec_str(m, "device.type");
    d->provides = (enum proof_class)mpk_get_uint(m, CLASS_NONE, "device.provides");
    d->create_rev = mpk_get_uint(m, UINT64_MAX, "device.create_rev");
}

static void enc_levels(struct buf *b, const struct s_fencing *r)
{
    mpk_array(b, r->n_levels);
    for (size_t i = 0; i < r->n_levels; i++) {
        mpk_array(b, r->levels[i].n_devices);
        for (size_t j = 0; j < r->levels[i].n_devices; j++) {
            enc_device(b, &r->levels[i].devices[j]);
        }
    }
}

static void dec_levels(struct mpk *m, struct s_fencing *r)
{
    r->n_levels = mpk_get_array(m, 0, CMD_MAX_LEVELS, "levels");
    r->levels = ARENA_ARRAY(m->arena, struct cmd_fence_level, r->n_levels);
    for (size_t i = 0; i < r->n_levels && m->bad == NULL; i++) {
        struct cmd_fence_level *lv = &r->levels[i];

        lv->n_devices = mpk_get_array(m, 1, CMD_MAX_DEVICES, "level");
        lv->devices = ARENA_ARRAY(m->arena, struct cmd_fence_device, lv->n_devices);
        for (size_t j = 0; j < lv->n_devices && m->bad == NULL; j++) {
            dec_device(m, &lv->devices[j]);
        }
    }
}

static void enc_results(struct buf *b, const struct s_fencing *r)
{
    mpk_array(b, r->n_results);
    for (size_t i = 0; i < r->n_results; i++) {
        mpk_array(b, 5);
        mpk_str(b, some(r->results[i].device));
        mpk_uint(b, r->results[i].attempt);
        mpk_uint(b, (uint64_t)r->results[i].result);
        mpk_str(b, some(r->results[i].detail));
        mpk_uint(b, r->results[i].wall_ms);
    }
    mpk_array(b, r->n_attempts);
    for (size_t i = 0; i < r->n_attempts; i++) {
        mpk_array(b, 3);
        mpk_uint(b, r->attempts[i].number);
        mpk_uint(b, r->attempts[i].level);
        mpk_str(b, some(r->attempts[i].executor));
    }
}

static void dec_results(struct mpk *m, struct s_fencing *r)
{
    r->n_results = mpk_get_array(m, 0, STORE_RESULTS_KEPT, "results");
    r->results = ARENA_ARRAY(m->arena, struct s_fencing_result, r->n_results);
    for (size_t i = 0; i < r->n_results && m->bad == NULL; i++) {
        (void)mpk_get_array(m, 5, 5, "result");
        r->results[i].device = dec_str(m, "result.device");
        r->results[i].attempt = mpk_get_uint(m, UINT64_MAX, "result.attempt");
        r->results[i].result =
            (enum fence_result)mpk_get_uint(m, FENCE_RESULT_FAILED, "result.result");
        r->results[i].detail = dec_str(m, "result.detail");
        r->results[i].wall_ms = mpk_get_uint(m, UINT64_MAX, "result.wall_ms");
    }
    r->n_attempts = mpk_get_array(m, 0, STORE_RESULTS_KEPT, "attempts");
    r->attempts = ARENA_ARRAY(m->arena, struct s_fencing_attempt, r->n_attempts);
    for (size_t i = 0; i < r->n_attempts && m->bad == NULL; i++) {
        (void)mpk_get_array(m, 3, 3, "attempt");
        r->attempts[i].number = mpk_get_uint(m, UINT64_MAX, "attempt.number");
        r->attempts[i].level = (uint32_t)mpk_get_uint(m, UINT32_MAX, "attempt.level");
        r->attempts[i].executor = dec_str(m, "attempt.executor");
    }
}

void s_fencing_put(struct ap *x, const struct s_fencing *r)
{
    const char *key = s_key_fencing(x->a, r->id);
    struct buf b = { 0 };

    mpk_array(&b, FENCING_FIELDS);
    mpk_uint(&b, r->id);
    mpk_uint(&b, r->incarnation);
    mpk_str(&b, some(r->host));
    mpk_uint(&b, (uint64_t)r->state);
    mpk_str(&b, some(r->reason));
    mpk_str(&b, some(r->by));
    mpk_uint(&b, r->opened_wall_ms);
    mpk_uint(&b, r->closed_wall_ms);
    mpk_uint(&b, r->host_generation);
    enc_levels(&b, r);
    mpk_uint(&b, r->attempt);
    mpk_uint(&b, r->level);
    mpk_str(&b, some(r->executor));
    mpk_bool(&b, r->vetoed);
    mpk_str(&b, some(r->veto_reason));
    enc_results(&b, r); /* two fields */
    mpk_uint(&b, (uint64_t)r->proof);
    mpk_bool(&b, r->life_sign);
    (void)st_put(x->s, key, strlen(key), b.data, b.len, 0);
    buf_done(&b);
}

int s_fencing_decode(const void *v, size_t n, struct arena *a, struct s_fencing *ret,
                     struct err *err)
{
    struct mpk m = mpk_make(v, n, a);
    size_t have = mpk_get_array(&m, FENCING_FIELDS, MAX_ANY, "fencing");
    struct s_fencing r = { 0 };
    int rc;

    r.id = mpk_get_uint(&m, UINT64_MAX, "id");
    r.incarnation = mpk_get_uint(&m, UINT64_MAX, "incarnation");
    r.host = dec_str(&m, "host");
    r.state = (enum fencing_state)mpk_get_uint(&m, FENCING_CANCELED, "state");
    r.reason = dec_str(&m, "reason");
    r.by = dec_str(&m, "by");
    r.opened_wall_ms = mpk_get_uint(&m, UINT64_MAX, "opened_wall_ms");
    r.closed_wall_ms = mpk_get_uint(&m, UINT64_MAX, "closed_wall_ms");
    r.host_generation = mpk_get_uint(&m, UINT64_MAX, "host_generation");
    dec_levels(&m, &r);
    r.attempt = mpk_get_uint(&m, UINT64_MAX, "attempt");
    r.level = (uint32_t)mpk_get_uint(&m, UINT32_MAX, "level");
    r.executor = dec_str(&m, "executor");
    r.vetoed = mpk_get_bool(&m, "vetoed");
    r.veto_reason = dec_str(&m, "veto_reason");
    dec_results(&m, &r);
    r.proof = (enum proof_kind)mpk_get_uint(&m, PROOF_CONFIRMATION, "proof");
    r.life_sign = mpk_get_bool(&m, "life_sign");
    if (r.state < FENCING_OPEN || (r.attempt > 0 && r.level >= r.n_levels)) {
        mpk_fail(&m, "state or level");
    }
    if (have > FENCING_FIELDS) {
        mpk_skip(&m, have - FENCING_FIELDS, "later fields");
    }
    rc = mpk_end(&m, ERR_CORRUPT, "s/fencing record", err);
    if (rc == 0) {
        *ret = r;
    }
    return rc;
}

/* --- by key ------------------------------------------------------------------------------------
 */

static const struct kv *find(const struct store *s, const char *key, const char *what,
                             struct err *err)
{
    const struct kv *v = store_get_str(s, key);

    if (v == NULL) {
        (void)err_set(err, ERR_NOT_FOUND, "%s: no record %s", what, key);
    }
    return v;
}

int s_cluster_get(const struct store *s, struct arena *a, struct s_cluster *ret, struct err *err)
{
    const struct kv *v = find(s, "s/cluster", "cluster", err);
    int rc;

    if (v == NULL) {
        return ERR_NOT_FOUND;
    }
    rc = s_cluster_decode(kv_value(v), v->vlen, a, ret, err);
    if (rc == 0) {
        ret->last_incarnation = s->last_incarnation;
        ret->last_token = s->last_token;
        ret->last_fencing = s->last_fencing;
        ret->last_session = s->last_session;
    }
    return rc;
}

int s_host_get(const struct store *s, const char *name, struct arena *a, struct s_host *ret,
               struct err *err)
{
    const struct kv *v = find(s, s_key_host(a, name), "host", err);

    return v == NULL ? ERR_NOT_FOUND : s_host_decode(kv_value(v), v->vlen, a, ret, err);
}

int s_inc_get(const struct store *s, uint64_t number, struct arena *a, struct s_inc *ret,
              struct err *err)
{
    const struct kv *v = find(s, s_key_inc(a, number), "incarnation", err);

    return v == NULL ? ERR_NOT_FOUND : s_inc_decode(kv_value(v), v->vlen, a, ret, err);
}

int s_lock_get(const struct store *s, const char *lock, struct arena *a, struct s_lock *ret,
               struct err *err)
{
    const struct kv *v = find(s, s_key_lock(a, lock), "lock", err);

    return v == NULL ? ERR_NOT_FOUND : s_lock_decode(kv_value(v), v->vlen, a, ret, err);
}

int s_fencing_get(const struct store *s, uint64_t id, struct arena *a, struct s_fencing *ret,
                  struct err *err)
{
    const struct kv *v = find(s, s_key_fencing(a, id), "fencing", err);

    return v == NULL ? ERR_NOT_FOUND : s_fencing_decode(kv_value(v), v->vlen, a, ret, err);
}

struct lock_walk {
    s_lock_visit_fn *fn;
    void *ctx;
};

static void lock_walk_one(void *ctx, const char *name, size_t len)
{
    const struct lock_walk *w = ctx;

    CHECK(name[len] == 0); /* index keys end in NUL as all keys do */
    w->fn(w->ctx, name);
}

void s_locks_of(const struct store *s, uint64_t incarnation, s_lock_visit_fn *fn, void *ctx)
{
    struct lock_walk w = { .fn = fn, .ctx = ctx };

    st_index_walk(&s->by_holder, incarnation, lock_walk_one, &w);
}

/* --- soundness of what a snapshot brought ------------------------------------------------------
 */

static int check_uint(const struct kv *v, struct arena *a, struct err *err)
{
    struct mpk m = mpk_make(kv_value(v), v->vlen, a);

    (void)mpk_get_uint(&m, UINT64_MAX, "number");
    return mpk_end(&m, ERR_CORRUPT, "record", err);
}

static int check_key(const char *key, const char *want, struct err *err)
{
    return strcmp(key, want) == 0 ? 0 : err_set(err, ERR_CORRUPT, "the record is that of %s", want);
}

static int record_check(const struct kv *v, struct arena *a, struct err *err)
{
    const char *key = kv_key(v);
    union {
        struct s_cluster cluster;
        struct s_host host;
        struct s_inc inc;
        struct s_lock lock;
        struct s_fencing fencing;
    } r;
    int rc;

    if (strcmp(key, "s/cluster") == 0) {
        return s_cluster_decode(kv_value(v), v->vlen, a, &r.cluster, err);
    }
    if (strncmp(key, "s/host/", 7) == 0) {
        rc = s_host_decode(kv_value(v), v->vlen, a, &r.host, err);
        return rc != 0 ? rc : check_key(key, s_key_host(a, r.host.name), err);
    }
    if (strncmp(key, "s/inc/", 6) == 0) {
        rc = s_inc_decode(kv_value(v), v->vlen, a, &r.inc, err);
        return rc != 0 ? rc : check_key(key, s_key_inc(a, r.inc.number), err);
    }
    if (strncmp(key, "s/lock/", 7) == 0) {
        rc = s_lock_decode(kv_value(v), v->vlen, a, &r.lock, err);
        return rc != 0 ? rc : check_key(key, s_key_lock(a, r.lock.lock), err);
    }
    if (strncmp(key, "s/fencing/", 10) == 0) {
        rc = s_fencing_decode(kv_value(v), v->vlen, a, &r.fencing, err);
        return rc != 0 ? rc : check_key(key, s_key_fencing(a, r.fencing.id), err);
    }
    if (strcmp(key, "s/quota") == 0) {
        return quota_record_check(v, err);
    }
    if (strncmp(key, "s/boot/", 7) == 0 || strncmp(key, "s/lease/", 8) == 0 ||
        strncmp(key, "s/alarm/", 8) == 0) {
        return check_uint(v, a, err);
    }
    return err_set(err, ERR_CORRUPT, "no such kind of record");
}

int s_record_check(const struct kv *v, struct err *err)
{
    struct arena a = { 0 };
    int rc = memchr(v->bytes, 0, v->klen) == NULL ? record_check(v, &a, err)
                                                  : err_set(err, ERR_CORRUPT, "NUL within the key");

    arena_done(&a);
    return rc == 0 ? 0 : err_wrap(err, "%s", kv_key(v));
}
