#ifndef TESTS_UNIT_STORE_RANDOM_H
#define TESTS_UNIT_STORE_RANDOM_H

/* Random commands from a small world (three hosts, three VMs, two devices), so that many of them
 * make sense and many nearly do. */

#include "store_fixture.h"

static inline uint64_t rnd(struct prng *p, uint64_t n)
{
    return prng_below(p, n);
}

static inline const char *rnd_pick(struct prng *p, const char *const *words, size_t n)
{
    return words[rnd(p, n)];
}
#define RND_PICK(p, ...)                                                                           \
    rnd_pick((p), (const char *const[]){ __VA_ARGS__ },                                            \
             sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

static inline const char *rnd_host(struct prng *p)
{
    return RND_PICK(p, "n1", "n2", "n3");
}

static inline struct actor rnd_actor(struct prng *p, const char *host)
{
    struct actor a = { (enum actor_role)(1 + rnd(p, 7)), host, 0 };

    if (rnd(p, 10) == 0) {
        a.name = rnd_host(p);
    }
    if (a.role == ACTOR_CONTROLLER) {
        a.term = rnd(p, 20) == 0 ? fx.term - 1 : fx.term;
    }
    return a;
}

/* Who usually gives this command. */
static inline enum actor_role rnd_usual(struct prng *p, enum cmd_op op)
{
    switch (op) {
    case CMD_REGISTER:
    case CMD_ACQUIRE:
    case CMD_RELEASE:
    case CMD_MIG_JOIN:
    case CMD_MIG_COMMIT:
    case CMD_INVENTORY:
        return ACTOR_AGENT;
    case CMD_MIG_ABORT:
        return rnd(p, 2) == 0 ? ACTOR_AGENT : ACTOR_CONTROLLER;
    case CMD_FENCE_RESULT:
        return ACTOR_EXECUTOR;
    case CMD_CONFIRM:
    case CMD_CONFLICT_CLEAR:
        return ACTOR_OPERATOR;
    case CMD_RECOVER:
    case CMD_INIT:
        return ACTOR_ADMIN;
    case CMD_COMPACT:
    case CMD_LEASE:
        return ACTOR_RAW;
    case CMD_TERMS:
    case CMD_LOST:
    case CMD_REPRIEVE:
    case CMD_FENCE_OPEN:
    case CMD_FENCE_ATTEMPT:
    case CMD_FENCE_VETO:
    case CMD_PROOF:
    case CMD_WATCHDOG_WAIT:
    case CMD_ALARM:
    case CMD_FEATURE:
    case CMD_QUOTA:
        return ACTOR_CONTROLLER;
    case CMD_TXN:
    case CMD_SESSION_OPEN:
    case CMD_NONE:
        return (enum actor_role)(1 + rnd(p, 7));
    }
    return ACTOR_USER;
}

static inline struct terms rnd_terms(struct prng *p)
{
    struct terms t = FX_TERMS;

    if (rnd(p, 3) == 0) {
        t.lease_ms = 1 + (uint32_t)rnd(p, 9000);
    }
    if (rnd(p, 6) == 0) {
        t.on_quorum_loss = QUORUM_LOSS_FREEZE;
    }
    if (rnd(p, 6) == 0) {
        t.wd = (enum wd_kind)rnd(p, 5);
    }
    t.guarded = rnd(p, 6) != 0;
    t.nowayout = rnd(p, 6) != 0;
    return t;
}

static inline const char *rnd_lock(struct prng *p)
{
    return RND_PICK(p, "virtualmachines/vm1", "virtualmachines/vm2", "virtualmachines/vm3",
                    "volumes/lv1");
}

/* The incarnation of a host now, or one that is near. */
static inline uint64_t rnd_inc(struct prng *p, const char *host)
{
    struct s_host h;
    struct err err;

    if (s_host_get(fx.s, host, &fx.a, &h, &err) != 0) {
        return rnd(p, 4);
    }
    return rnd(p, 12) == 0 ? h.incarnation + rnd(p, 3) - 1 : h.incarnation;
}

static inline struct cmd_lock_ref rnd_lock_ref(struct prng *p)
{
    struct cmd_lock_ref r = { .lock = rnd_lock(p) };
    struct s_lock l = fx_lock(r.lock);

    r.uid = arena_printf(&fx.a, "uid-%s", strchr(r.lock, '/') + 1);
    r.token = rnd(p, 4) != 0 ? l.owner.token : rnd(p, 2) == 0 ? l.peer.token : rnd(p, 50);
    return r;
}

static inline void rnd_safety(struct prng *p, struct cmd *c, const char *host)
{
    struct cmd_safety *f = &c->safety;
    struct s_inc inc = { 0 };
    struct s_fencing fen = { 0 };
    struct err err;

    f->incarnation = rnd_inc(p, host);
    if (s_inc_get(fx.s, f->incarnation, &fx.a, &inc, &err) == 0 && inc.fencing != 0) {
        f->fencing = inc.fencing;
        (void)s_fencing_get(fx.s, inc.fencing, &fx.a, &fen, &err);
        f->attempt = fen.attempt;
    }
    if (rnd(p, 12) == 0) {
        f->fencing += rnd(p, 3) - 1;
        f->attempt += rnd(p, 3) - 1;
    }
    f->elapsed_ms = rnd(p, 2) == 0 ? 1000000 : rnd(p, 20000);
    f->proof = (enum proof_kind)(rnd(p, 3) == 0 ? rnd(p, 6) : 1 + 2 * rnd(p, 2));
    f->host = host;
    f->reason = "because";
    f->host_generation = 1;
    f->n_levels = rnd(p, 4) != 0;
    f->levels = ARENA_NEW(&fx.a, struct cmd_fence_level);
    f->levels->n_devices = 1;
    f->levels->devices = ARENA_NEW(&fx.a, struct cmd_fence_device);
    f->levels->devices->name = "pdu";
    f->levels->devices->type = rnd(p, 10) == 0 ? "Ipmi" : "ApcSnmp";
    f->levels->devices->generation = 1;
    f->by_user = rnd(p, 10) == 0;
    f->executor = rnd_host(p);
    f->device = "pdu";
    f->result = (enum fence_result)(rnd(p, 3) == 0 ? rnd(p, 3) : 1);
    f->detail = "as read";
    f->offer = c->op == CMD_TERMS && c->actor.role == ACTOR_CONTROLLER;
    f->terms = f->offer || rnd(p, 2) == 0 ? rnd_terms(p) : inc.offered;
    f->complete = rnd(p, 5) != 0;
    f->life_sign = rnd(p, 2) == 0;
    f->n_locks = 1 + rnd(p, 10) / 9;
    f->locks = ARENA_ARRAY(&fx.a, struct cmd_lock_ref, 2);
    f->locks[0] = rnd_lock_ref(p);
    f->locks[1] = rnd_lock_ref(p);
    if (c->op == CMD_FENCE_RESULT && fen.executor != NULL && rnd(p, 8) != 0) {
        c->actor.name = fen.executor;
    }
}

static inline void rnd_register(struct prng *p, struct cmd *c, const char *host)
{
    struct s_host h = { 0 };
    struct err err;

    (void)s_host_get(fx.s, host, &fx.a, &h, &err);
    c->reg = (struct cmd_register){
        .host = rnd(p, 20) == 0 ? rnd_host(p) : host,
        .host_uid = arena_printf(&fx.a, "uid-%s", host),
        .boot_id = arena_printf(&fx.a, "%s-boot%u", host, (unsigned)rnd(p, 40)),
        .hardware_id = rnd(p, 30) == 0 ? "clone" : arena_printf(&fx.a, "hw-%s", host),
        .expected = rnd_inc(p, host),
        .nonce = arena_printf(&fx.a, "nonce%u", (unsigned)rnd(p, 1000)),
        .terms = rnd_terms(p),
    };
}

static inline struct bytes rnd_key(struct prng *p)
{
    return bytes_str(RND_PICK(p, "k/a", "k/b", "k/c", "k/d/e", "o/virtualmachines/vm1",
                              "o/virtualmachines/vm3", "o/volumes/lv1", "o/hosts/n3",
                              "o/fencedevices/pdu", "r/n1/x", "r/n2/x",
                              "s/lock/virtualmachines/vm1", "s/cluster"));
}

static inline struct txn_op rnd_op(struct prng *p)
{
    struct txn_op o = { .kind = (enum txn_kind)rnd(p, 3), .key = rnd_key(p) };
    struct buf b = { 0 };

    o.prev_kv = rnd(p, 3) == 0;
    if (o.kind == TXN_PUT) {
        if (o.key.p[0] == 'o') {
            const char *name = strrchr((const char *)o.key.p, '/') + 1;
            char *json = arena_printf(&fx.a,
                                      "{\"metadata\":{\"uid\":\"uid-%s\"},\"spec\":{\"type\":"
                                      "\"ApcSnmp\",\"fencing\":[{\"devices\":[\"pdu\"]}]}}",
                                      name);

            objval_encode(1 + rnd(p, 20) / 19, 0, json, strlen(json), &b);
            o.value.p = (const uint8_t *)arena_strndup(&fx.a, (char *)b.data, b.len);
            o.value.n = b.len;
            buf_done(&b);
        } else {
            o.value = bytes_str(RND_PICK(p, "", "1", "value", "another value"));
            o.lease = rnd(p, 6) == 0 ? 1 + rnd(p, 3) : 0;
            o.keep_lease = rnd(p, 10) == 0;
        }
    } else if (rnd(p, 4) == 0) {
        o.end = bytes_str(RND_PICK(p, "k/c", "k0", "o0", "o/virtualmachines0", "r/n2/z", "z"));
        o.limit = rnd(p, 3);
        o.keys_only = rnd(p, 3) == 0;
        o.count_only = rnd(p, 5) == 0;
    }
    return o;
}

static inline void rnd_txn(struct prng *p, struct cmd *c)
{
    struct cmd_txn *t = &c->txn;

    t->n_cmp = rnd(p, 3);
    t->cmp = ARENA_ARRAY(&fx.a, struct txn_cmp, t->n_cmp);
    for (size_t i = 0; i < t->n_cmp; i++) {
        t->cmp[i] = (struct txn_cmp){
            .target = (enum cmp_target)rnd(p, 5),
            .result = (enum cmp_result)rnd(p, 4),
            .key = rnd_key(p),
            .value = bytes_str("value"),
            .number = rnd(p, 4),
        };
    }
    t->n_then = 1 + rnd(p, 3);
    t->then_ops = ARENA_ARRAY(&fx.a, struct txn_op, t->n_then);
    t->n_else = rnd(p, 3);
    t->else_ops = ARENA_ARRAY(&fx.a, struct txn_op, t->n_else);
    for (size_t i = 0; i < t->n_then; i++) {
        t->then_ops[i] = rnd_op(p);
    }
    for (size_t i = 0; i < t->n_else; i++) {
        t->else_ops[i] = rnd_op(p);
    }
}

static inline void rnd_plain(struct prng *p, struct cmd *c, const char *host)
{
    c->text = host;
    switch (c->op) {
    case CMD_COMPACT:
        c->number = store_rev(fx.s) > 20 ? store_rev(fx.s) - rnd(p, 20) : rnd(p, 4);
        break;
    case CMD_RECOVER: {
        struct s_cluster r = { 0 };
        struct err err;

        (void)s_cluster_get(fx.s, &fx.a, &r, &err);
        c->number = r.epoch + 1 - rnd(p, 10) / 9;
        break;
    }
    case CMD_LEASE:
        c->number = 1 + rnd(p, 3);
        c->number2 = rnd(p, 2) * 60;
        break;
    case CMD_ALARM:
        c->text = RND_PICK(p, "NOSPACE", "other");
        c->number = rnd(p, 8) == 0;
        break;
    case CMD_QUOTA:
        c->number = (1U << 20) * rnd(p, 3);
        c->number2 = (1U << 17) * rnd(p, 3);
        break;
    default:
        c->number = 1 + rnd(p, 3);
        break;
    }
}

/* Rare ones once in a while, the others alike. */
static inline enum cmd_op rnd_opcode(struct prng *p)
{
    static const enum cmd_op OFTEN[] = {
        CMD_TXN,
        CMD_TXN,
        CMD_TXN,
        CMD_REGISTER,
        CMD_REGISTER,
        CMD_TERMS,
        CMD_LOST,
        CMD_REPRIEVE,
        CMD_FENCE_OPEN,
        CMD_FENCE_ATTEMPT,
        CMD_FENCE_RESULT,
        CMD_FENCE_RESULT,
        CMD_FENCE_VETO,
        CMD_PROOF,
        CMD_PROOF,
        CMD_CONFIRM,
        CMD_WATCHDOG_WAIT,
        CMD_ACQUIRE,
        CMD_ACQUIRE,
        CMD_ACQUIRE,
        CMD_RELEASE,
        CMD_MIG_JOIN,
        CMD_MIG_JOIN,
        CMD_MIG_COMMIT,
        CMD_MIG_COMMIT,
        CMD_MIG_ABORT,
        CMD_INVENTORY,
        CMD_INVENTORY,
        CMD_LEASE,
        CMD_SESSION_OPEN,
        CMD_CONFLICT_CLEAR,
    };
    static const enum cmd_op RARE[] = { CMD_COMPACT, CMD_FEATURE, CMD_ALARM,
                                        CMD_RECOVER, CMD_INIT,    CMD_QUOTA };

    enum cmd_op op =
        rnd(p, 60) == 0 ? RARE[rnd(p, ARRAY_LEN(RARE))] : OFTEN[rnd(p, ARRAY_LEN(OFTEN))];

    if (op == CMD_RECOVER && rnd(p, 5) != 0) {
        return CMD_TXN;
    }
    return op == CMD_CONFIRM && rnd(p, 3) != 0 ? CMD_PROOF : op;
}

/* A host for which the command may well make sense. */
static inline const char *rnd_host_for(struct prng *p, enum cmd_op op)
{
    bool fencing = op == CMD_FENCE_ATTEMPT || op == CMD_FENCE_RESULT || op == CMD_PROOF ||
                   op == CMD_FENCE_VETO;
    bool lost = op == CMD_FENCE_OPEN || op == CMD_WATCHDOG_WAIT || op == CMD_CONFIRM;
    const char *host = rnd_host(p);

    for (int i = 0; i < 5 && (fencing || lost); i++) {
        struct s_host h;
        struct s_inc inc;
        struct err err;

        if (s_host_get(fx.s, host, &fx.a, &h, &err) == 0 &&
            s_inc_get(fx.s, h.incarnation, &fx.a, &inc, &err) == 0 &&
            inc.state == (fencing ? INC_FENCING : INC_LOST)) {
            break;
        }
        host = rnd_host(p);
    }
    return host;
}

UNUSED static struct cmd rnd_cmd(struct prng *p)
{
    struct cmd c = { .op = rnd_opcode(p) };
    const char *host = rnd_host_for(p, c.op);

    c.actor = rnd_actor(p, host);
    if (rnd(p, 12) != 0) {
        c.actor.role = rnd_usual(p, c.op);
        c.actor.term = fx.term;
    }
    switch (c.op) {
    case CMD_TXN:
        rnd_txn(p, &c);
        break;
    case CMD_REGISTER:
        rnd_register(p, &c, host);
        break;
    case CMD_SESSION_OPEN:
    case CMD_COMPACT:
    case CMD_FEATURE:
    case CMD_INIT:
    case CMD_RECOVER:
    case CMD_ALARM:
    case CMD_LEASE:
    case CMD_QUOTA:
        rnd_plain(p, &c, host);
        break;
    default:
        rnd_safety(p, &c, host);
        break;
    }
    if (rnd(p, 40) == 0) {
        fx.term++;
    }
    return c;
}

/* The world that rnd_cmd knows. */
UNUSED static void rnd_world(bool lab)
{
    OK(fx_init(lab));
    fx_device("pdu", 1, "ApcSnmp");
    fx_host("n1", 1, "[{\"devices\":[\"pdu\"]}]");
    fx_host("n2", 1, "[{\"devices\":[\"pdu\"]}]");
    fx_host("n3", 1, "[{\"devices\":[\"pdu\"]}]");
    fx_object("virtualmachines", "vm1");
    fx_object("virtualmachines", "vm2");
    fx_object("virtualmachines", "vm3");
    fx_object("volumes", "lv1");
}

#endif
