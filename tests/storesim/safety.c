/* Clients that give safety commands: agents of three hosts, controllers at whatever node they think
 * leads, executors, an operator.  Most of what they do makes sense, and much of it nearly does. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "tests/storesim/sim.h"

static const struct terms TERMS = {
    .lease_ms = 3000,
    .watchdog_ms = 10000,
    .feed_ms = 1000,
    .wd = WD_HARDWARE,
    .nowayout = true,
    .guarded = true,
};

/* --- the cluster that the commands are about ---------------------------------------------------
 */

static const struct {
    const char *key, *json;
} OBJECTS[] = {
    { "o/fencedevices/pdu", "{\"spec\":{\"type\":\"ApcSnmp\"}}" },
#define HOST(n_)                                                                                   \
    {                                                                                              \
        "o/hosts/" n_, "{\"metadata\":{\"uid\":\"uid-" n_                                          \
                       "\"},\"spec\":{\"fencing\":[{\"devices\":[\"pdu\"]}]}}"                     \
    }
    HOST("h1"),
    HOST("h2"),
    HOST("h3"),
    { "o/virtualmachines/vm1", "{\"metadata\":{\"uid\":\"uid-vm1\"}}" },
    { "o/virtualmachines/vm2", "{\"metadata\":{\"uid\":\"uid-vm2\"}}" },
    { "o/volumes/lv1", "{\"metadata\":{\"uid\":\"uid-lv1\"}}" },
};
static const char *const LOCKS[] = { "virtualmachines/vm1", "virtualmachines/vm2", "volumes/lv1" };

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

/* What is still missing, one command after the other.  False: everything is there. */
static bool set_up(struct sim_client *c)
{
    struct cmd cmd = { .op = CMD_INIT, .actor = { ACTOR_ADMIN, "root", 0 }, .text = "sim" };
    struct txn_op put = { .kind = TXN_PUT };
    struct buf v = { 0 };
    size_t i = 0;

    cmd.number = 1;
    if (model_get(&model, text("s/cluster"), 0) == NULL) {
        command(c, &cmd);
        return true;
    }
    while (i < ARRAY_LEN(OBJECTS) && model_get(&model, text(OBJECTS[i].key), 0) != NULL) {
        i++;
    }
    if (i == ARRAY_LEN(OBJECTS)) {
        return false;
    }
    objval_encode(1, 0, OBJECTS[i].json, strlen(OBJECTS[i].json), &v);
    put.key = text(OBJECTS[i].key);
    put.value = (struct bytes){ v.data, v.len };
    cmd = (struct cmd){ .op = CMD_TXN, .actor = { ACTOR_ADMIN, "root", 0 } };
    cmd.txn.then_ops = &put;
    cmd.txn.n_then = 1;
    command(c, &cmd);
    buf_done(&v);
    return true;
}

/* --- random commands ---------------------------------------------------------------------------
 */

struct scene {
    struct arena a;
    const struct store *s;
    const char *host;
    struct s_host h;
    struct s_inc inc;
    struct s_fencing f;
    struct cmd_fence_device device;
    struct cmd_fence_level level;
    struct cmd_lock_ref refs[2];
};

static void look(struct scene *s, const struct sim_client *c)
{
    static const char *const HOSTS[] = { "h1", "h2", "h3" };
    struct err err;

    s->s = nodes[c->node].store;
    s->host = HOSTS[rnd(3)];
    if (s_host_get(s->s, s->host, &s->a, &s->h, &err) != 0) {
        s->h = (struct s_host){ 0 };
    }
    if (s_inc_get(s->s, s->h.incarnation, &s->a, &s->inc, &err) != 0) {
        s->inc = (struct s_inc){ 0 };
    }
    if (s_fencing_get(s->s, s->inc.fencing, &s->a, &s->f, &err) != 0) {
        s->f = (struct s_fencing){ 0 };
    }
}

static void make_register(struct scene *s, struct cmd *c)
{
    bool same = s->inc.number != 0 && chance(40);

    c->op = CMD_REGISTER;
    c->actor = (struct actor){ ACTOR_AGENT, s->host, 0 };
    c->reg = (struct cmd_register){
        .host = s->host,
        .host_uid = arena_printf(&s->a, "uid-%s", s->host),
        .boot_id =
            same ? s->inc.boot_id : arena_printf(&s->a, "%s-%u", s->host, (unsigned)rnd(100000)),
        .hardware_id = arena_printf(&s->a, "hw-%s", s->host),
        .expected = s->h.incarnation + (chance(95) ? 0 : 1),
        .nonce = arena_printf(&s->a, "nonce%u", (unsigned)rnd(1000000)),
        .terms = TERMS,
    };
}

static void make_locks(struct scene *s, struct cmd *c, enum cmd_op op)
{
    size_t first = rnd(3), n = 1 + rnd(2);
    struct s_lock l;
    struct err err;

    c->op = op;
    c->actor = (struct actor){ ACTOR_AGENT, s->host, 0 };
    c->safety.locks = s->refs;
    c->safety.n_locks = n;
    for (size_t i = 0; i < n; i++) {
        const char *lock = LOCKS[(first + i) % 3];

        s->refs[i] =
            (struct cmd_lock_ref){ .lock = lock,
                                   .uid = arena_printf(&s->a, "uid-%s", strchr(lock, '/') + 1) };
        if (s_lock_get(s->s, lock, &s->a, &l, &err) == 0) {
            bool mine = l.owner.incarnation == s->inc.number;

            s->refs[i].token = mine ? l.owner.token : l.peer.token;
        }
        s->refs[i].token += chance(5);
    }
}

static void make_fence_open(struct scene *s, struct cmd *c)
{
    c->op = CMD_FENCE_OPEN;
    s->device = (struct cmd_fence_device){ .name = "pdu", .generation = 1, .type = "ApcSnmp" };
    s->level = (struct cmd_fence_level){ &s->device, 1 };
    c->safety.host = s->host;
    c->safety.host_generation = 1;
    c->safety.levels = &s->level;
    c->safety.n_levels = 1;
}

/* What the controllers would do next about a host that is not well. */
static void make_fencing(struct scene *s, struct cmd *c)
{
    static const char *const EXECUTORS[] = { "h1", "h2", "h3", "witness" };
    uint64_t what = rnd(10);

    if (s->inc.state == INC_LIVE) {
        c->op = CMD_LOST;
    } else if (s->inc.state == INC_LOST) {
        if (what == 0) {
            c->op = CMD_REPRIEVE;
        } else {
            make_fence_open(s, c);
        }
    } else if (s->f.attempt == 0 || what == 0) {
        c->op = CMD_FENCE_ATTEMPT;
        c->safety.executor = EXECUTORS[rnd(4)];
    } else if (what < 5) {
        c->op = CMD_FENCE_RESULT;
        c->actor = (struct actor){ ACTOR_EXECUTOR, s->f.executor, 0 };
        c->safety.device = "pdu";
        c->safety.result = (enum fence_result)rnd(3);
        c->safety.detail = "as read";
    } else if (what < 8) {
        c->op = CMD_PROOF;
        c->safety.proof = chance(70) ? PROOF_OFF : PROOF_WATCHDOG;
        c->safety.elapsed_ms = rnd(2) == 0 ? 100000 : rnd(20000);
    } else {
        c->op = what == 8 ? CMD_FENCE_VETO : chance(50) ? CMD_REPRIEVE : CMD_WATCHDOG_WAIT;
        c->safety.life_sign = chance(50);
    }
}

static void make_other(struct scene *s, struct cmd *c)
{
    switch (rnd(5)) {
    case 0:
        c->op = CMD_CONFIRM;
        c->actor = (struct actor){ ACTOR_OPERATOR, "olga", 0 };
        c->safety.host = s->host;
        break;
    case 1:
        c->op = CMD_TERMS;
        c->safety.offer = true;
        c->safety.terms = TERMS;
        c->safety.terms.lease_ms = 1000 + (uint32_t)rnd(5000);
        break;
    case 2:
        c->op = CMD_TERMS;
        c->actor = (struct actor){ ACTOR_AGENT, s->host, 0 };
        c->safety.terms = s->inc.offered;
        break;
    case 3:
        c->op = CMD_ALARM;
        c->text = "NOSPACE";
        c->number = chance(30);
        break;
    default:
        c->op = CMD_CONFLICT_CLEAR;
        c->actor = (struct actor){ ACTOR_ADMIN, "root", 0 };
        c->safety.host = s->host;
        break;
    }
}

void client_safety(struct sim_client *c)
{
    struct scene s = { 0 };
    struct cmd cmd = { 0 };
    uint64_t what = rnd(100);

    if (set_up(c)) {
        return;
    }
    look(&s, c);
    cmd.actor = (struct actor){ ACTOR_CONTROLLER, node_name(c->node), rep_term(rep_of(c->node)) };
    cmd.actor.term -= chance(4);
    cmd.safety.incarnation = s.inc.number + (chance(97) ? 0 : rnd(3));
    cmd.safety.fencing = s.inc.fencing;
    cmd.safety.attempt = s.f.attempt;
    cmd.safety.reason = "sim";
    if (s.inc.number == 0 || what < 12 || (s.inc.state != INC_LIVE && what < 25)) {
        make_register(&s, &cmd);
    } else if (what < 40) {
        make_locks(&s, &cmd, CMD_ACQUIRE);
    } else if (what < 52) {
        make_locks(&s, &cmd, CMD_RELEASE);
    } else if (what < 60) {
        make_locks(&s, &cmd, CMD_MIG_JOIN);
    } else if (what < 65) {
        make_locks(&s, &cmd, CMD_MIG_COMMIT);
    } else if (what < 68) {
        make_locks(&s, &cmd, CMD_MIG_ABORT);
    } else if (what < 94) {
        make_fencing(&s, &cmd);
    } else {
        make_other(&s, &cmd);
    }
    totals.safety_ops++;
    totals.proofs += cmd.op == CMD_PROOF;
    command(c, &cmd);
    arena_done(&s.a);
}
