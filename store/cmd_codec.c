/* Commands to bytes and back: [op, session, seq, ack, epoch, [role, name, term], args].
 *
 * Encode and decode run the same checks of limits (pair checks), so that what one replica proposes
 * every other one can read. */

#include "store/cmd.h"

#include <string.h>

#include "base/obj.h"
#include "store/mpk.h"

#define HEAD_FIELDS 7U
#define SAFETY_FIELDS 20U

/* How the arguments of an op are laid out. */
enum cmd_form { FORM_NONE, FORM_TXN, FORM_REGISTER, FORM_SAFETY, FORM_PLAIN };

static enum cmd_form cmd_form(enum cmd_op op)
{
    switch (op) {
    case CMD_NONE:
        return FORM_NONE;
    case CMD_TXN:
        return FORM_TXN;
    case CMD_REGISTER:
        return FORM_REGISTER;
    case CMD_TERMS:
    case CMD_LOST:
    case CMD_REPRIEVE:
    case CMD_FENCE_OPEN:
    case CMD_FENCE_ATTEMPT:
    case CMD_FENCE_RESULT:
    case CMD_FENCE_VETO:
    case CMD_PROOF:
    case CMD_CONFIRM:
    case CMD_WATCHDOG_WAIT:
    case CMD_ACQUIRE:
    case CMD_RELEASE:
    case CMD_MIG_JOIN:
    case CMD_MIG_COMMIT:
    case CMD_MIG_ABORT:
    case CMD_INVENTORY:
    case CMD_CONFLICT_CLEAR:
        return FORM_SAFETY;
    case CMD_SESSION_OPEN:
    case CMD_COMPACT:
    case CMD_FEATURE:
    case CMD_INIT:
    case CMD_ALARM:
    case CMD_LEASE:
    case CMD_RECOVER:
    case CMD_QUOTA:
        return FORM_PLAIN;
    }
    return FORM_NONE;
}

/* --- encoding ----------------------------------------------------------------------------------
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

static void enc_cmp(struct buf *b, const struct txn_cmp *c)
{
    mpk_array(b, 6);
    mpk_uint(b, (uint64_t)c->target);
    mpk_uint(b, (uint64_t)c->result);
    mpk_bytes(b, c->key);
    mpk_bytes(b, c->end);
    mpk_bytes(b, c->value);
    mpk_uint(b, c->number);
}

enum op_flags {
    OP_PREV_KV = 1,
    OP_KEEP_VALUE = 2,
    OP_KEEP_LEASE = 4,
    OP_COUNT_ONLY = 8,
    OP_KEYS_ONLY = 16,
    OP_ALL = 31,
};

static void enc_op(struct buf *b, const struct txn_op *o)
{
    mpk_array(b, 7);
    mpk_uint(b, (uint64_t)o->kind);
    mpk_bytes(b, o->key);
    mpk_bytes(b, o->end);
    mpk_bytes(b, o->value);
    mpk_uint(b, o->lease);
    mpk_uint(b, (o->prev_kv ? OP_PREV_KV : 0U) | (o->keep_value ? OP_KEEP_VALUE : 0U) |
                    (o->keep_lease ? OP_KEEP_LEASE : 0U) | (o->count_only ? OP_COUNT_ONLY : 0U) |
                    (o->keys_only ? OP_KEYS_ONLY : 0U));
    mpk_uint(b, o->limit);
}

static void enc_txn(struct buf *b, const struct cmd_txn *t)
{
    mpk_array(b, 3);
    mpk_array(b, t->n_cmp);
    for (size_t i = 0; i < t->n_cmp; i++) {
        enc_cmp(b, &t->cmp[i]);
    }
    mpk_array(b, t->n_then);
    for (size_t i = 0; i < t->n_then; i++) {
        enc_op(b, &t->then_ops[i]);
    }
    mpk_array(b, t->n_else);
    for (size_t i = 0; i < t->n_else; i++) {
        enc_op(b, &t->else_ops[i]);
    }
}

static void enc_register(struct buf *b, const struct cmd_register *r)
{
    mpk_array(b, 7);
    mpk_str(b, r->host);
    mpk_str(b, r->host_uid);
    mpk_str(b, r->boot_id);
    mpk_str(b, r->hardware_id);
    mpk_uint(b, r->expected);
    mpk_str(b, r->nonce);
    enc_terms(b, &r->terms);
}

static void enc_levels(struct buf *b, const struct cmd_fence_level *lv, size_t n)
{
    mpk_array(b, n);
    for (size_t i = 0; i < n; i++) {
        mpk_array(b, lv[i].n_devices);
        for (size_t j = 0; j < lv[i].n_devices; j++) {
            const struct cmd_fence_device *d = &lv[i].devices[j];

            mpk_array(b, 4);
            mpk_str(b, d->name);
            mpk_uint(b, d->generation);
            mpk_str(b, d->type);
            mpk_uint(b, (uint64_t)d->provides);
        }
    }
}

static void enc_safety(struct buf *b, const struct cmd_safety *f)
{
    mpk_array(b, SAFETY_FIELDS);
    mpk_uint(b, f->incarnation);
    mpk_uint(b, f->fencing);
    mpk_uint(b, f->attempt);
    mpk_uint(b, f->elapsed_ms);
    mpk_uint(b, (uint64_t)f->proof);
    mpk_str(b, f->host);
    mpk_str(b, f->reason);
    mpk_uint(b, f->host_generation);
    enc_levels(b, f->levels, f->n_levels);
    mpk_bool(b, f->by_user);
    mpk_uint(b, f->level);
    mpk_str(b, f->executor);
    mpk_str(b, f->device);
    mpk_uint(b, (uint64_t)f->result);
    mpk_str(b, f->detail);
    mpk_bool(b, f->offer);
    enc_terms(b, &f->terms);
    mpk_array(b, f->n_locks);
    for (size_t i = 0; i < f->n_locks; i++) {
        mpk_array(b, 3);
        mpk_str(b, f->locks[i].lock);
        mpk_str(b, f->locks[i].uid);
        mpk_uint(b, f->locks[i].token);
    }
    mpk_bool(b, f->complete);
    mpk_bool(b, f->life_sign);
}

static void enc_plain(struct buf *b, const struct cmd *c)
{
    mpk_array(b, 4);
    mpk_str(b, c->text);
    mpk_uint(b, c->number);
    mpk_uint(b, c->number2);
    mpk_array(b, c->n_names);
    for (size_t i = 0; i < c->n_names; i++) {
        mpk_str(b, c->names[i]);
    }
}

static void enc_args(struct buf *b, const struct cmd *c)
{
    switch (cmd_form(c->op)) {
    case FORM_NONE:
        mpk_nil(b);
        return;
    case FORM_TXN:
        enc_txn(b, &c->txn);
        return;
    case FORM_REGISTER:
        enc_register(b, &c->reg);
        return;
    case FORM_SAFETY:
        enc_safety(b, &c->safety);
        return;
    case FORM_PLAIN:
        enc_plain(b, c);
        return;
    }
    CHECK_UNREACHABLE();
}

int cmd_encode(const struct cmd *c, struct buf *out, struct err *err)
{
    struct arena a = { 0 };
    struct cmd back;
    size_t start = out->len;
    int rc;

    mpk_array(out, HEAD_FIELDS);
    mpk_uint(out, (uint64_t)c->op);
    mpk_uint(out, c->session);
    mpk_uint(out, c->seq);
    mpk_uint(out, c->ack);
    mpk_uint(out, c->epoch);
    mpk_array(out, 3);
    mpk_uint(out, (uint64_t)c->actor.role);
    mpk_str(out, c->actor.name);
    mpk_uint(out, c->actor.term);
    enc_args(out, c);
    if (out->overflow || out->len - start > CMD_MAX_BYTES) {
        rc = err_set(err, ERR_TOO_LARGE, "command of %zu bytes: at most %u are taken",
                     out->len - start, CMD_MAX_BYTES);
        goto out;
    }
    /* What cannot be read back must not be proposed. */
    rc = cmd_decode(out->data + start, out->len - start, &a, &back, err);
out:
    arena_done(&a);
    if (rc != 0 && out->len > start) {
        out->len = start;
    }
    return rc;
}

/* --- decoding ----------------------------------------------------------------------------------
 */

static void dec_terms(struct mpk *m, struct terms *t)
{
    (void)mpk_get_array(m, 7, 7, "terms");
    t->lease_ms = (uint32_t)mpk_get_uint(m, UINT32_MAX, "terms.lease_ms");
    t->watchdog_ms = (uint32_t)mpk_get_uint(m, UINT32_MAX, "terms.watchdog_ms");
    t->feed_ms = (uint32_t)mpk_get_uint(m, UINT32_MAX, "terms.feed_ms");
    t->on_quorum_loss =
        (enum quorum_loss)mpk_get_uint(m, QUORUM_LOSS_FREEZE, "terms.on_quorum_loss");
    t->wd = (enum wd_kind)mpk_get_uint(m, WD_DEV, "terms.wd");
    t->nowayout = mpk_get_bool(m, "terms.nowayout");
    t->guarded = mpk_get_bool(m, "terms.guarded");
}

/* A key: 1 to CMD_MAX_KEY bytes. */
static struct bytes dec_key(struct mpk *m, const char *what)
{
    struct bytes k = mpk_get_bytes(m, CMD_MAX_KEY, what);

    if (k.n == 0) {
        mpk_fail(m, what);
    }
    return k;
}

static void dec_cmp(struct mpk *m, struct txn_cmp *c)
{
    (void)mpk_get_array(m, 6, 6, "compare");
    c->target = (enum cmp_target)mpk_get_uint(m, CMP_LEASE, "compare.target");
    c->result = (enum cmp_result)mpk_get_uint(m, CMP_NOT_EQUAL, "compare.result");
    c->key = dec_key(m, "compare.key");
    c->end = mpk_get_bytes(m, CMD_MAX_KEY, "compare.end");
    c->value = mpk_get_bytes(m, CMD_MAX_VALUE, "compare.value");
    c->number = mpk_get_uint(m, UINT64_MAX, "compare.number");
    if (c->target == CMP_VALUE && c->value.p == NULL) {
        mpk_fail(m, "compare.value");
    }
}

static void dec_op(struct mpk *m, struct txn_op *o)
{
    uint64_t flags;

    (void)mpk_get_array(m, 7, 7, "op");
    o->kind = (enum txn_kind)mpk_get_uint(m, TXN_GET, "op.kind");
    o->key = dec_key(m, "op.key");
    o->end = mpk_get_bytes(m, CMD_MAX_KEY, "op.end");
    o->value = mpk_get_bytes(m, CMD_MAX_VALUE, "op.value");
    o->lease = mpk_get_uint(m, UINT64_MAX, "op.lease");
    flags = mpk_get_uint(m, OP_ALL, "op.flags");
    o->limit = mpk_get_uint(m, UINT64_MAX, "op.limit");
    o->prev_kv = (flags & OP_PREV_KV) != 0;
    o->keep_value = (flags & OP_KEEP_VALUE) != 0;
    o->keep_lease = (flags & OP_KEEP_LEASE) != 0;
    o->count_only = (flags & OP_COUNT_ONLY) != 0;
    o->keys_only = (flags & OP_KEYS_ONLY) != 0;
    if (o->kind == TXN_PUT && o->end.p != NULL) {
        mpk_fail(m, "op.end (a put has none)");
    }
    if (o->kind == TXN_PUT && (o->value.p == NULL) != o->keep_value) {
        mpk_fail(m, "op.value");
    }
}

static struct txn_op *dec_ops(struct mpk *m, size_t *ret_n, const char *what)
{
    size_t n = mpk_get_array(m, 0, CMD_MAX_TXN_OPS, what);
    struct txn_op *ops = ARENA_ARRAY(m->arena, struct txn_op, n);

    for (size_t i = 0; i < n && m->bad == NULL; i++) {
        dec_op(m, &ops[i]);
    }
    *ret_n = n;
    return ops;
}

static void dec_txn(struct mpk *m, struct cmd_txn *t)
{
    (void)mpk_get_array(m, 3, 3, "txn");
    t->n_cmp = mpk_get_array(m, 0, CMD_MAX_TXN_OPS, "txn.compare");
    t->cmp = ARENA_ARRAY(m->arena, struct txn_cmp, t->n_cmp);
    for (size_t i = 0; i < t->n_cmp && m->bad == NULL; i++) {
        dec_cmp(m, &t->cmp[i]);
    }
    t->then_ops = dec_ops(m, &t->n_then, "txn.then");
    t->else_ops = dec_ops(m, &t->n_else, "txn.else");
}

static void dec_register(struct mpk *m, struct cmd_register *r)
{
    (void)mpk_get_array(m, 7, 7, "register");
    r->host = mpk_get_str(m, CMD_MAX_TEXT, "register.host");
    r->host_uid = mpk_get_str(m, CMD_MAX_TEXT, "register.host_uid");
    r->boot_id = mpk_get_str(m, CMD_MAX_TEXT, "register.boot_id");
    r->hardware_id = mpk_get_str(m, CMD_MAX_TEXT, "register.hardware_id");
    r->expected = mpk_get_uint(m, UINT64_MAX, "register.expected");
    r->nonce = mpk_get_str(m, CMD_MAX_TEXT, "register.nonce");
    dec_terms(m, &r->terms);
}

static void dec_level(struct mpk *m, struct cmd_fence_level *lv)
{
    lv->n_devices = mpk_get_array(m, 1, CMD_MAX_DEVICES, "level");
    lv->devices = ARENA_ARRAY(m->arena, struct cmd_fence_device, lv->n_devices);
    for (size_t i = 0; i < lv->n_devices && m->bad == NULL; i++) {
        struct cmd_fence_device *d = &lv->devices[i];

        (void)mpk_get_array(m, 4, 4, "device");
        d->name = mpk_get_str(m, CMD_MAX_TEXT, "device.name");
        d->generation = mpk_get_uint(m, UINT64_MAX, "device.generation");
        d->type = mpk_get_str(m, CMD_MAX_TEXT, "device.type");
        d->provides = (enum proof_class)mpk_get_uint(m, CLASS_NONE, "device.provides");
        if (d->name == NULL || d->type == NULL) {
            mpk_fail(m, "device.name or .type");
        }
    }
}

static void dec_locks(struct mpk *m, struct cmd_safety *f)
{
    f->n_locks = mpk_get_array(m, 0, CMD_MAX_LOCKS, "locks");
    f->locks = ARENA_ARRAY(m->arena, struct cmd_lock_ref, f->n_locks);
    for (size_t i = 0; i < f->n_locks && m->bad == NULL; i++) {
        (void)mpk_get_array(m, 3, 3, "lock");
        f->locks[i].lock = mpk_get_str(m, CMD_MAX_TEXT - 16, "lock.lock");
        f->locks[i].uid = mpk_get_str(m, CMD_MAX_TEXT, "lock.uid");
        f->locks[i].token = mpk_get_uint(m, UINT64_MAX, "lock.token");
        if (f->locks[i].lock == NULL) {
            mpk_fail(m, "lock.lock");
        }
    }
}

static void dec_safety(struct mpk *m, struct cmd_safety *f)
{
    (void)mpk_get_array(m, SAFETY_FIELDS, SAFETY_FIELDS, "arguments");
    f->incarnation = mpk_get_uint(m, UINT64_MAX, "incarnation");
    f->fencing = mpk_get_uint(m, UINT64_MAX, "fencing");
    f->attempt = mpk_get_uint(m, UINT64_MAX, "attempt");
    f->elapsed_ms = mpk_get_uint(m, UINT64_MAX, "elapsed_ms");
    f->proof = (enum proof_kind)mpk_get_uint(m, PROOF_CONFIRMATION, "proof");
    f->host = mpk_get_str(m, CMD_MAX_TEXT, "host");
    f->reason = mpk_get_str(m, CMD_MAX_TEXT, "reason");
    f->host_generation = mpk_get_uint(m, UINT64_MAX, "host_generation");
    f->n_levels = mpk_get_array(m, 0, CMD_MAX_LEVELS, "levels");
    f->levels = ARENA_ARRAY(m->arena, struct cmd_fence_level, f->n_levels);
    for (size_t i = 0; i < f->n_levels && m->bad == NULL; i++) {
        dec_level(m, &f->levels[i]);
    }
    f->by_user = mpk_get_bool(m, "by_user");
    f->level = (uint32_t)mpk_get_uint(m, UINT32_MAX, "level");
    f->executor = mpk_get_str(m, CMD_MAX_TEXT, "executor");
    f->device = mpk_get_str(m, CMD_MAX_TEXT, "device");
    f->result = (enum fence_result)mpk_get_uint(m, FENCE_RESULT_FAILED, "result");
    f->detail = mpk_get_str(m, CMD_MAX_TEXT, "detail");
    f->offer = mpk_get_bool(m, "offer");
    dec_terms(m, &f->terms);
    dec_locks(m, f);
    f->complete = mpk_get_bool(m, "complete");
    f->life_sign = mpk_get_bool(m, "life_sign");
}

static void dec_plain(struct mpk *m, struct cmd *c)
{
    (void)mpk_get_array(m, 4, 4, "arguments");
    c->text = mpk_get_str(m, CMD_MAX_TEXT, "text");
    c->number = mpk_get_uint(m, UINT64_MAX, "number");
    c->number2 = mpk_get_uint(m, UINT64_MAX, "number2");
    c->n_names = mpk_get_array(m, 0, CMD_MAX_NAMES, "names");
    c->names = ARENA_ARRAY(m->arena, const char *, c->n_names);
    for (size_t i = 0; i < c->n_names && m->bad == NULL; i++) {
        c->names[i] = mpk_get_str(m, CMD_MAX_TEXT, "name");
        if (c->names[i] == NULL) {
            mpk_fail(m, "name");
        }
    }
}

static void dec_args(struct mpk *m, struct cmd *c)
{
    switch (cmd_form(c->op)) {
    case FORM_NONE:
        mpk_fail(m, "op");
        return;
    case FORM_TXN:
        dec_txn(m, &c->txn);
        return;
    case FORM_REGISTER:
        dec_register(m, &c->reg);
        return;
    case FORM_SAFETY:
        dec_safety(m, &c->safety);
        return;
    case FORM_PLAIN:
        dec_plain(m, c);
        return;
    }
    CHECK_UNREACHABLE();
}

int cmd_decode(const void *data, size_t len, struct arena *a, struct cmd *ret, struct err *err)
{
    struct mpk m = mpk_make(data, len, a);
    struct cmd c = { 0 };
    int rc;

    if (len > CMD_MAX_BYTES) {
        return err_set(err, ERR_INVALID, "command: %zu bytes, at most %u are taken", len,
                       CMD_MAX_BYTES);
    }
    (void)mpk_get_array(&m, HEAD_FIELDS, HEAD_FIELDS, "command");
    c.op = (enum cmd_op)mpk_get_uint(&m, CMD_OP_MAX, "op");
    c.session = mpk_get_uint(&m, UINT64_MAX, "session");
    c.seq = mpk_get_uint(&m, UINT64_MAX, "seq");
    c.ack = mpk_get_uint(&m, UINT64_MAX, "ack");
    c.epoch = mpk_get_uint(&m, UINT64_MAX, "epoch");
    (void)mpk_get_array(&m, 3, 3, "actor");
    c.actor.role = (enum actor_role)mpk_get_uint(&m, ACTOR_RAW, "actor.role");
    c.actor.name = mpk_get_str(&m, CMD_MAX_TEXT, "actor.name");
    c.actor.term = mpk_get_uint(&m, UINT64_MAX, "actor.term");
    if (m.bad == NULL) {
        dec_args(&m, &c);
    }
    rc = mpk_end(&m, ERR_INVALID, "command", err);
    if (rc == 0) {
        *ret = c;
    }
    return rc;
}
