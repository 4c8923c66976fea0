#include "fence/pr.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define KEY_MAGIC 0x504bU /* "PK" */
#define KEY_CLUSTER_BITS 22U
#define KEY_INC_BITS 26U

/* --- keys --------------------------------------------------------------------------------------
 */

/* FNV-1a: only has to tell clusters that share an array apart, not to resist anybody. */
static uint64_t hash(const char *s, uint64_t epoch)
{
    uint64_t h = 0xcbf29ce484222325U;

    for (; *s != '\0'; s++) {
        h = (h ^ (unsigned char)*s) * 0x100000001b3U;
    }
    for (unsigned i = 0; i < 8; i++) {
        h = (h ^ ((epoch >> (8 * i)) & 0xff)) * 0x100000001b3U;
    }
    return h ^ (h >> 32);
}

int pr_key(const char *cluster, uint64_t epoch, uint64_t incarnation, uint64_t *ret,
           struct err *err)
{
    uint64_t tag = hash(cluster, epoch) & ((1U << KEY_CLUSTER_BITS) - 1);

    if (incarnation >> KEY_INC_BITS != 0) {
        return err_set(err, ERR_INVALID,
                       "incarnation %" PRIu64 " does not fit into a reservation key", incarnation);
    }
    *ret = ((uint64_t)KEY_MAGIC << (KEY_CLUSTER_BITS + KEY_INC_BITS)) | (tag << KEY_INC_BITS) |
           incarnation;
    return 0;
}

void pr_key_format(uint64_t key, char dst[17])
{
    uint8_t be[8];

    for (unsigned i = 0; i < 8; i++) {
        be[i] = (uint8_t)(key >> (56 - 8 * i));
    }
    str_hex(be, sizeof(be), dst);
}

bool pr_key_parse(const char *s, uint64_t *ret)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t v = 0;

    if (s == NULL || strlen(s) != 16) {
        return false;
    }
    for (; *s != '\0'; s++) {
        const char *d = strchr(digits, *s);

        if (d == NULL) {
            return false;
        }
        v = v << 4 | (uint64_t)(d - digits);
    }
    *ret = v;
    return v != 0; /* key 0 means "not registered" */
}

bool pr_key_is_ours(uint64_t key, uint64_t example)
{
    return key >> KEY_INC_BITS == example >> KEY_INC_BITS;
}

uint64_t pr_key_incarnation(uint64_t key)
{
    return key & ((1U << KEY_INC_BITS) - 1);
}

/* --- replies -----------------------------------------------------------------------------------
 */

static uint64_t be_bytes(struct rd *r, unsigned n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n; i++) {
        v = v << 8 | rd_u8(r);
    }
    return v;
}

bool pr_keys_have(const struct pr_keys *k, uint64_t key)
{
    return pr_keys_count(k, key) > 0;
}

size_t pr_keys_count(const struct pr_keys *k, uint64_t key)
{
    size_t n = 0;

    for (size_t i = 0; i < k->n; i++) {
        n += k->keys[i] == key ? 1 : 0;
    }
    return n;
}

bool pr_type_fences(uint8_t type)
{
    return type >= PR_TYPE_WRITE_REGISTRANTS && type <= PR_TYPE_EXCLUSIVE_ALL;
}

int pr_keys_decode(const void *data, size_t len, struct pr_keys *ret, struct err *err)
{
    struct rd r = rd_make(data, len);
    struct pr_keys k = { .generation = (uint32_t)be_bytes(&r, 4) };
    uint64_t bytes = be_bytes(&r, 4);

    if (r.bad || bytes % 8 != 0 || bytes > rd_left(&r) || bytes / 8 > PR_MAX_KEYS) {
        return err_set(err, ERR_INVALID,
                       "READ KEYS: %" PRIu64 " bytes of keys are announced, %zu came, at most %u "
                       "keys can be handled",
                       bytes, rd_left(&r), PR_MAX_KEYS);
    }
    for (uint64_t i = 0; i < bytes / 8; i++) {
        k.keys[k.n++] = be_bytes(&r, 8);
    }
    *ret = k;
    return 0;
}

int pr_reservation_decode(const void *data, size_t len, struct pr_reservation *ret, struct err *err)
{
    struct rd r = rd_make(data, len);
    struct pr_reservation res = { 0 };
    uint64_t bytes;
    uint8_t scope_type;

    (void)be_bytes(&r, 4); /* generation */
    bytes = be_bytes(&r, 4);
    if (!r.bad && bytes == 0) {
        *ret = res;
        return 0;
    }
    res.key = be_bytes(&r, 8);
    (void)be_bytes(&r, 5);
    scope_type = rd_u8(&r);
    if (r.bad || bytes < 16 || scope_type >> 4 != 0 || (scope_type & 15) == 0) {
        return err_set(err, ERR_INVALID,
                       "READ RESERVATION: malformed (%zu bytes, scope and type 0x%02x)", len,
                       scope_type);
    }
    res.type = scope_type & 15;
    *ret = res;
    return 0;
}

int pr_caps_decode(const void *data, size_t len, struct pr_caps *ret, struct err *err)
{
    struct rd r = rd_make(data, len);
    uint64_t bytes = be_bytes(&r, 2);
    uint8_t can = rd_u8(&r);
    uint8_t does = rd_u8(&r);
    uint16_t types = (uint16_t)be_bytes(&r, 2);

    if (r.bad || bytes < 8) {
        return err_set(err, ERR_INVALID, "REPORT CAPABILITIES: only %zu bytes", len);
    }
    *ret = (struct pr_caps){ .ptpl_capable = (can & 1) != 0,
                             .ptpl_active = (does & 1) != 0,
                             .types_known = (does & 0x80) != 0,
                             .types = types };
    return 0;
}

/* --- what a LUN is ------------------------------------------------------------------------------
 */

struct designator {
    unsigned code_set, type;
    const uint8_t *id;
    size_t len;
};

static bool designator_is(const struct designator *d, const char *wwid)
{
    char hex[2 * 255 + 1];

    if (d->len == 0 || wwid[0] == '\0') {
        return false;
    }
    if (d->code_set == 1 && (d->type == 3 || d->type == 2)) { /* NAA, EUI-64: binary */
        str_hex(d->id, d->len, hex);
        return wwid[0] == (d->type == 3 ? '3' : '2') && strcmp(wwid + 1, hex) == 0;
    }
    return d->type == 8 && wwid[0] == '8' && strlen(wwid + 1) <= d->len &&
           memcmp(wwid + 1, d->id, strlen(wwid + 1)) == 0 &&
           strnlen((const char *)d->id, d->len) == strlen(wwid + 1);
}

bool pr_vpd_has_wwid(const void *vpd, size_t len, const char *wwid)
{
    struct rd r = rd_make(vpd, len);
    uint64_t bytes;

    (void)rd_u8(&r);
    if (rd_u8(&r) != 0x83) {
        return false;
    }
    bytes = be_bytes(&r, 2);
    if (r.bad || bytes > rd_left(&r)) {
        return false;
    }
    r = rd_make((const uint8_t *)vpd + 4, (size_t)bytes);
    while (rd_left(&r) >= 4) {
        struct designator d = { .code_set = rd_u8(&r) & 15U };
        uint8_t type = rd_u8(&r);

        (void)rd_u8(&r);
        d.len = rd_u8(&r);
        d.type = type & 15U;
        d.id = rd_bytes(&r, d.len);
        if (d.id == NULL) {
            return false;
        }
        if (((type >> 4) & 3) == 0 && designator_is(&d, wwid)) { /* of the logical unit */
            return true;
        }
    }
    return false;
}

/* --- the operation -----------------------------------------------------------------------------
 */

static const char *numbered(const struct fence_op *op, const char *key, size_t i)
{
    char name[48];

    (void)snprintf(name, sizeof(name), "%s%zu", key, i);
    return fence_op_get(op, name);
}

static int portal_add(struct pr_target *t, const char *s, size_t n, struct err *err)
{
    if (n == 0 || n >= sizeof(t->portals[0]) || t->n_portals == PR_MAX_PORTALS) {
        return err_set(err, ERR_INVALID, "%s: 1 to %u portals of the form IP:PORT", t->iqn,
                       PR_MAX_PORTALS);
    }
    memcpy(t->portals[t->n_portals], s, n);
    t->portals[t->n_portals++][n] = '\0';
    return 0;
}

/* "IQN PORTAL[,PORTAL...]" */
static int target_decode(const char *s, struct pr_target *t, struct err *err)
{
    size_t n = strcspn(s, " ");
    int rc = 0;

    if (n == 0 || n >= sizeof(t->iqn) || s[n] == '\0') {
        return err_set(err, ERR_INVALID, "not of the form \"IQN PORTAL[,PORTAL...]\"");
    }
    memcpy(t->iqn, s, n);
    t->iqn[n] = '\0';
    for (s += n + 1; rc == 0; s += n + 1) {
        n = strcspn(s, ",");
        rc = portal_add(t, s, n, err);
        if (s[n] == '\0') {
            break;
        }
    }
    return rc;
}

/* "TARGET:LUN[:WWID]" */
static int lun_decode(const char *s, size_t n_targets, struct pr_lun *ret, struct err *err)
{
    char number[8];
    uint64_t target, lun;
    size_t n = strcspn(s, ":");

    if (n == 0 || n >= sizeof(number) || s[n] == '\0') {
        return err_set(err, ERR_INVALID, "not of the form TARGET:LUN[:WWID]");
    }
    memcpy(number, s, n);
    number[n] = '\0';
    s += n + 1;
    if (!str_parse_u64(number, &target) || target >= n_targets) {
        return err_set(err, ERR_INVALID, "there is no target%s", number);
    }
    n = strcspn(s, ":");
    if (n == 0 || n >= sizeof(number)) {
        return err_set(err, ERR_INVALID, "not of the form TARGET:LUN[:WWID]");
    }
    memcpy(number, s, n);
    number[n] = '\0';
    if (!str_parse_u64(number, &lun) || lun > 16383 ||
        (s[n] == ':' && !str_copy(ret->wwid, sizeof(ret->wwid), s + n + 1))) {
        return err_set(err, ERR_INVALID, "LUN is not 0 to 16383, or its WWID is too long");
    }
    ret->target = (size_t)target;
    ret->lun = (uint16_t)lun;
    return 0;
}

static int targets_decode(const struct fence_op *op, struct pr_ask *a, struct err *err)
{
    const char *s;

    while (a->n_targets < PR_MAX_TARGETS && (s = numbered(op, "target", a->n_targets)) != NULL) {
        struct pr_target *t = &a->targets[a->n_targets];

        t->chap_user = numbered(op, "chap_user", a->n_targets);
        t->chap_password = numbered(op, "chap_password", a->n_targets);
        t->mutual_user = numbered(op, "mutual_user", a->n_targets);
        t->mutual_password = numbered(op, "mutual_password", a->n_targets);
        if (target_decode(s, t, err) != 0) {
            return err_wrap(err, "target%zu", a->n_targets);
        }
        if ((t->chap_user == NULL) != (t->chap_password == NULL) ||
            (t->mutual_user == NULL) != (t->mutual_password == NULL)) {
            return err_set(err, ERR_INVALID, "target%zu: a login without password, or the reverse",
                           a->n_targets);
        }
        a->n_targets++;
    }
    return 0;
}

static int luns_decode(const struct fence_op *op, struct pr_ask *a, struct err *err)
{
    const char *s;

    while (a->n_luns < PR_MAX_LUNS && (s = numbered(op, "lun", a->n_luns)) != NULL) {
        if (lun_decode(s, a->n_targets, &a->luns[a->n_luns], err) != 0) {
            return err_wrap(err, "lun%zu", a->n_luns);
        }
        a->n_luns++;
    }
    if (a->n_luns == 0) {
        return err_set(err, ERR_INVALID, "it covers no LUN: lun0 is missing");
    }
    return 0;
}

int pr_ask_decode(const struct fence_op *op, struct pr_ask *ret, struct err *err)
{
    const char *drain = fence_op_get(op, "drain_ms");
    int rc;

    memset(ret, 0, sizeof(*ret));
    ret->initiator = fence_op_get(op, "initiator");
    ret->lab = str_eq(fence_op_get(op, "lab"), "1");
    if (ret->initiator == NULL || strlen(ret->initiator) >= PR_NAME_MAX) {
        return err_set(err, ERR_INVALID, "initiator (an IQN) is missing or too long");
    }
    if (!pr_key_parse(fence_op_get(op, "own_key"), &ret->own_key)) {
        return err_set(err, ERR_INVALID, "own_key is not a key of 16 hexadecimal digits");
    }
    if (!pr_key_parse(fence_op_get(op, "key"), &ret->key)) {
        return err_set(err, ERR_INVALID, "key is not a key of 16 hexadecimal digits");
    }
    if (ret->key == ret->own_key) {
        return err_set(err, ERR_INVALID, "key and own_key are the same: nobody cuts off himself");
    }
    if (drain != NULL && !str_parse_u64(drain, &ret->drain_ms)) {
        return err_set(err, ERR_INVALID, "drain_ms is not a whole number");
    }
    rc = targets_decode(op, ret, err);
    return rc == 0 ? luns_decode(op, ret, err) : rc;
}
