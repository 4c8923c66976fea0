/* How much may be stored, by whom, and what is refused when there is no room.
 *
 * Deletions and what does not grow always go.  The controllers, agents and executors, without whom
 * no machine would be kept running, have a reserve beyond the quota and write under an alarm.  Raw
 * keys have a quota of their own, so that they cannot take the room of objects.
 */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "store/mpk.h"

#define QUOTA_KEY "s/quota"
#define QUOTA_LEAST (UINT64_C(64) << 10)
#define QUOTA_MOST (UINT64_C(1) << 40)
#define RESERVE_PART 8U /* of the quota */

static size_t quota_of(const struct store *s)
{
    return s->meta.quota != 0 ? s->meta.quota : s->limits.quota_bytes;
}

static size_t raw_quota_of(const struct store *s)
{
    size_t all = quota_of(s);

    return s->meta.raw_quota != 0 && s->meta.raw_quota < all ? s->meta.raw_quota : all / 2;
}

void store_room(const struct store *s, struct store_room *ret)
{
    *ret = (struct store_room){ .bytes = s->bytes,
                                .quota = quota_of(s),
                                .raw_bytes = s->raw_bytes,
                                .raw_quota = raw_quota_of(s),
                                .set_quota = s->meta.quota,
                                .set_raw_quota = s->meta.raw_quota,
                                .nospace = s->meta.nospace,
                                .raw_nospace = s->meta.raw_nospace };
}

static bool has_reserve(const struct ap *x)
{
    return x->c->actor.role == ACTOR_CONTROLLER || x->c->actor.role == ACTOR_AGENT ||
           x->c->actor.role == ACTOR_EXECUTOR;
}

static int no_room(const struct ap *x, const char *what, size_t used, size_t quota, size_t grows)
{
    if (x->c->actor.role == ACTOR_RAW) { /* the words that clients of etcd look for */
        return err_set(x->err, ERR_LIMIT, "etcdserver: mvcc: database space exceeded");
    }
    return err_set(x->err, ERR_LIMIT,
                   "%s: %zu of %zu bytes used, %zu more asked for: delete something or raise "
                   "Cluster.spec.storage.quota",
                   what, used, quota, grows);
}

int quota_check(const struct ap *x, size_t grows, size_t raw_grows)
{
    const struct store *s = x->s;
    size_t quota = quota_of(s), raw = raw_quota_of(s);

    if (grows > 0 && has_reserve(x)) {
        quota += quota / RESERVE_PART;
    } else if (grows > 0 && s->meta.nospace) {
        return no_room(x, "alarm NOSPACE", s->bytes, quota, grows);
    }
    if (raw_grows > 0 && (s->meta.raw_nospace || s->raw_bytes + raw_grows > raw)) {
        return no_room(x, "quota of raw keys", s->raw_bytes, raw, raw_grows);
    }
    if (grows > 0 && s->bytes + grows > quota) {
        return no_room(x, "quota", s->bytes, quota, grows);
    }
    return 0;
}

/* --- the record --------------------------------------------------------------------------------
 */

static int quota_decode(const struct kv *v, uint64_t *ret_all, uint64_t *ret_raw, struct err *err)
{
    struct arena a = { 0 };
    struct mpk m = mpk_make(kv_value(v), v->vlen, &a);
    int rc;

    (void)mpk_get_array(&m, 2, 2, "quota");
    *ret_all = mpk_get_uint(&m, QUOTA_MOST, "quota");
    *ret_raw = mpk_get_uint(&m, QUOTA_MOST, "raw quota");
    rc = mpk_end(&m, ERR_CORRUPT, QUOTA_KEY, err);
    arena_done(&a);
    return rc;
}

int quota_record_check(const struct kv *v, struct err *err)
{
    uint64_t all, raw;

    return quota_decode(v, &all, &raw, err);
}

void quota_index(struct store *s, const struct kv *v, bool add)
{
    uint64_t all = 0, raw = 0;
    struct err err;

    if (add) {
        CHECK(quota_decode(v, &all, &raw, &err) == 0);
    }
    s->meta.quota = (size_t)all;
    s->meta.raw_quota = (size_t)raw;
}

static bool sound(uint64_t bytes)
{
    return bytes == 0 || (bytes >= QUOTA_LEAST && bytes <= QUOTA_MOST);
}

int ap_quota(struct ap *x)
{
    const struct cmd *c = x->c;
    struct buf b = { 0 };

    if (!sound(c->number) || !sound(c->number2)) {
        return err_set(x->err, ERR_INVALID,
                       "quota: %" PRIu64 " and %" PRIu64 " bytes: each is 64Ki to 1Ti, or 0 for "
                       "the default",
                       c->number, c->number2);
    }
    mpk_array(&b, 2);
    mpk_uint(&b, c->number);
    mpk_uint(&b, c->number2);
    (void)st_put(x->s, QUOTA_KEY, strlen(QUOTA_KEY), b.data, b.len, 0);
    buf_done(&b);
    return 0;
}
