#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

/* A store with a log in front of it, for the tests of store/: short ways to give commands and to
 * see what became of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "store/cmd.h"
#include "store/safety.h"
#include "store/store.h"

#define UNUSED __attribute__((unused))

struct fx {
    struct store *s;
    struct arena a;
    uint64_t index, term, ms;
    struct cmd_answer ans; /* of the last command */
};

static struct fx fx; /* the tests of one program run one after the other */

/* --- commands ----------------------------------------------------------------------------------
 */

static inline int fx_apply_raw(struct store *s, const void *p, size_t n, uint64_t term)
{
    struct buf out = { 0 };
    struct err err;
    int rc;

    fx.index++;
    fx.ms += 7;
    store_apply(s, fx.index, term, fx.ms, p, n, &out);
    rc = cmd_answer_decode(out.data, out.len, &fx.a, &fx.ans, &err);
    buf_done(&out);
    assert_int_equal(rc, 0);
    assert_int_equal(fx.ans.rev, store_rev(s));
    return fx.ans.code;
}

UNUSED static int fx_apply(const struct cmd *c)
{
    struct buf b = { 0 };
    struct err err = { 0 };
    int rc = cmd_encode(c, &b, &err);

    if (rc != 0) {
        fail_msg("cmd_encode: %s", err.msg);
    }
    rc = fx_apply_raw(fx.s, b.data, b.len, fx.term);
    buf_done(&b);
    return rc;
}

/* The command must end so; on a surprise the message is shown. */
#define WANT(code, call)                                                                           \
    do {                                                                                           \
        int want_rc = (call);                                                                      \
        if (want_rc != (code)) {                                                                   \
            fail_msg("line %d: %s gave %s (%s), want %s", __LINE__, #call, err_name(want_rc),      \
                     fx.ans.msg != NULL ? fx.ans.msg : "", #code);                                 \
        }                                                                                          \
    } while (0)
#define OK(call) WANT(0, call)
/* The refusal's message says this. */
#define SAYS(text)                                                                                 \
    do {                                                                                           \
        if (fx.ans.msg == NULL || strstr(fx.ans.msg, text) == NULL) {                              \
            fail_msg("line %d: message \"%s\" does not say \"%s\"", __LINE__,                      \
                     fx.ans.msg != NULL ? fx.ans.msg : "", text);                                  \
        }                                                                                          \
    } while (0)

UNUSED static struct actor as_controller(void)
{
    return (struct actor){ ACTOR_CONTROLLER, "", fx.term };
}
UNUSED static struct actor as_agent(const char *host)
{
    return (struct actor){ ACTOR_AGENT, host, 0 };
}
UNUSED static struct actor as_executor(const char *host)
{
    return (struct actor){ ACTOR_EXECUTOR, host, 0 };
}
UNUSED static struct actor as_admin(void)
{
    return (struct actor){ ACTOR_ADMIN, "root", 0 };
}
UNUSED static struct actor as_operator(void)
{
    return (struct actor){ ACTOR_OPERATOR, "olga", 0 };
}
UNUSED static struct actor as_user(void)
{
    return (struct actor){ ACTOR_USER, "ursula", 0 };
}
UNUSED static struct actor as_raw(void)
{
    return (struct actor){ ACTOR_RAW, "etcdctl", 0 };
}

static inline struct bytes bytes_str(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, s == NULL ? 0 : strlen(s) };
}

UNUSED static int fx_txn_as(struct actor actor, struct txn_op *ops, size_t n)
{
    struct cmd c = { .op = CMD_TXN, .actor = actor };

    c.txn.then_ops = ops;
    c.txn.n_then = n;
    return fx_apply(&c);
}

UNUSED static int fx_put_as(struct actor actor, const char *key, const void *value, size_t n)
{
    struct txn_op op = { .kind = TXN_PUT, .key = bytes_str(key), .value = { value, n } };

    return fx_txn_as(actor, &op, 1);
}

UNUSED static int fx_put(const char *key, const char *value) /* raw */
{
    return fx_put_as(as_raw(), key, value, strlen(value));
}

UNUSED static int fx_del_as(struct actor actor, const char *key, const char *end)
{
    struct txn_op op = { .kind = TXN_DELETE, .key = bytes_str(key), .end = bytes_str(end) };

    return fx_txn_as(actor, &op, 1);
}

UNUSED static int fx_del(const char *key) /* raw */
{
    return fx_del_as(as_raw(), key, NULL);
}

/* --- objects -----------------------------------------------------------------------------------
 */

UNUSED static int fx_object_as(struct actor actor, const char *key, uint64_t generation,
                               const char *json)
{
    struct buf b = { 0 };
    int rc;

    objval_encode(generation, 0, json, strlen(json), &b);
    rc = fx_put_as(actor, key, b.data, b.len);
    buf_done(&b);
    return rc;
}

/* A Host with uid "uid-NAME"; fencing is the JSON of spec.fencing. */
UNUSED static void fx_host(const char *name, uint64_t generation, const char *fencing)
{
    char json[512], key[128];

    (void)snprintf(key, sizeof(key), "o/hosts/%s", name);
    (void)snprintf(json, sizeof(json),
                   "{\"metadata\":{\"name\":\"%s\",\"uid\":\"uid-%s\"},\"spec\":{\"fencing\":%s}}",
                   name, name, fencing);
    OK(fx_object_as(as_admin(), key, generation, json));
}

UNUSED static void fx_device(const char *name, uint64_t generation, const char *type)
{
    char json[256], key[128];

    (void)snprintf(key, sizeof(key), "o/fencedevices/%s", name);
    (void)snprintf(json, sizeof(json), "{\"spec\":{\"type\":\"%s\"}}", type);
    OK(fx_object_as(as_admin(), key, generation, json));
}

/* Any other object, with uid "uid-NAME". */
UNUSED static void fx_object(const char *plural, const char *name)
{
    char json[256], key[128];

    (void)snprintf(key, sizeof(key), "o/%s/%s", plural, name);
    (void)snprintf(json, sizeof(json), "{\"metadata\":{\"uid\":\"uid-%s\"}}", name);
    OK(fx_object_as(as_admin(), key, 1, json));
}

/* --- safety commands ---------------------------------------------------------------------------
 */

static const struct terms FX_TERMS UNUSED = {
    .lease_ms = 3000,
    .watchdog_ms = 10000,
    .feed_ms = 1000,
    .wd = WD_HARDWARE,
    .nowayout = true,
    .guarded = true,
};

UNUSED static int fx_register_as(struct actor actor, const char *host, const char *boot,
                                 const char *hardware, uint64_t expected, const char *nonce)
{
    struct cmd c = { .op = CMD_REGISTER, .actor = actor };

    c.reg = (struct cmd_register){
        .host = host,
        .host_uid = arena_printf(&fx.a, "uid-%s", host),
        .boot_id = boot,
        .hardware_id = hardware,
        .expected = expected,
        .nonce = nonce,
        .terms = FX_TERMS,
    };
    return fx_apply(&c);
}

/* Register host with boot "NAME-bootN" on hardware "hw-NAME". */
UNUSED static int fx_register(const char *host, unsigned boot, uint64_t expected)
{
    return fx_register_as(as_agent(host), host, arena_printf(&fx.a, "%s-boot%u", host, boot),
                          arena_printf(&fx.a, "hw-%s", host), expected,
                          arena_printf(&fx.a, "nonce-%s-%u", host, boot));
}

UNUSED static uint64_t fx_value(void)
{
    assert_true(fx.ans.n_values >= 1);
    return fx.ans.values[0];
}

UNUSED static struct cmd fx_safety(enum cmd_op op, struct actor actor, uint64_t incarnation)
{
    struct cmd c = { .op = op, .actor = actor };

    c.safety.incarnation = incarnation;
    c.safety.reason = "test";
    return c;
}

UNUSED static int fx_lost(uint64_t inc)
{
    struct cmd c = fx_safety(CMD_LOST, as_controller(), inc);

    return fx_apply(&c);
}

UNUSED static int fx_reprieve(uint64_t inc, uint64_t fencing)
{
    struct cmd c = fx_safety(CMD_REPRIEVE, as_controller(), inc);

    c.safety.fencing = fencing;
    return fx_apply(&c);
}

/* One level of one device. */
UNUSED static int fx_open_as(struct actor actor, const char *host, uint64_t inc, uint64_t host_gen,
                             const char *device, uint64_t dev_gen, const char *type)
{
    struct cmd_fence_device d = { .name = device, .generation = dev_gen, .type = type };
    struct cmd_fence_level lv = { .devices = &d, .n_devices = 1 };
    struct cmd c = fx_safety(CMD_FENCE_OPEN, actor, inc);

    c.safety.host = host;
    c.safety.host_generation = host_gen;
    c.safety.levels = &lv;
    c.safety.n_levels = device != NULL;
    return fx_apply(&c);
}

UNUSED static int fx_attempt(uint64_t fencing, uint32_t level, const char *executor)
{
    struct cmd c = fx_safety(CMD_FENCE_ATTEMPT, as_controller(), 0);

    c.safety.fencing = fencing;
    c.safety.level = level;
    c.safety.executor = executor;
    return fx_apply(&c);
}

UNUSED static int fx_result_as(struct actor actor, uint64_t fencing, uint64_t attempt,
                               const char *device, enum fence_result result)
{
    struct cmd c = fx_safety(CMD_FENCE_RESULT, actor, 0);

    c.safety.fencing = fencing;
    c.safety.attempt = attempt;
    c.safety.device = device;
    c.safety.result = result;
    c.safety.detail = "read back twice";
    return fx_apply(&c);
}

/* With a life sign: against every kind of proof. */
UNUSED static int fx_life_sign(uint64_t fencing, uint64_t attempt)
{
    struct cmd c = fx_safety(CMD_FENCE_VETO, as_controller(), 0);

    c.safety.fencing = fencing;
    c.safety.attempt = attempt;
    c.safety.reason = "ping answered on link 2";
    c.safety.life_sign = true;
    return fx_apply(&c);
}

UNUSED static int fx_veto(uint64_t fencing, uint64_t attempt)
{
    struct cmd c = fx_safety(CMD_FENCE_VETO, as_controller(), 0);

    c.safety.fencing = fencing;
    c.safety.attempt = attempt;
    c.safety.reason = "ping answered on link 2";
    return fx_apply(&c);
}

UNUSED static int fx_proof_as(struct actor actor, uint64_t fencing, uint64_t attempt,
                              enum proof_kind kind, uint64_t elapsed_ms)
{
    struct cmd c = fx_safety(CMD_PROOF, actor, 0);

    c.safety.fencing = fencing;
    c.safety.attempt = attempt;
    c.safety.proof = kind;
    c.safety.elapsed_ms = elapsed_ms;
    return fx_apply(&c);
}

UNUSED static int fx_wait(uint64_t inc)
{
    struct cmd c = fx_safety(CMD_WATCHDOG_WAIT, as_controller(), inc);

    return fx_apply(&c);
}

UNUSED static int fx_confirm_as(struct actor actor, const char *host, uint64_t inc)
{
    struct cmd c = fx_safety(CMD_CONFIRM, actor, inc);

    c.safety.host = host;
    return fx_apply(&c);
}

UNUSED static int fx_locks_as(enum cmd_op op, struct actor actor, uint64_t inc,
                              struct cmd_lock_ref *locks, size_t n)
{
    struct cmd c = fx_safety(op, actor, inc);

    c.safety.locks = locks;
    c.safety.n_locks = n;
    return fx_apply(&c);
}

UNUSED static int fx_acquire(const char *host, uint64_t inc, const char *lock)
{
    struct cmd_lock_ref r = {
        .lock = lock,
        .uid = arena_printf(&fx.a, "uid-%s", strrchr(lock, '/') + 1),
    };

    return fx_locks_as(CMD_ACQUIRE, as_agent(host), inc, &r, 1);
}

UNUSED static int fx_lock_op(enum cmd_op op, const char *host, uint64_t inc, const char *lock,
                             uint64_t token)
{
    struct cmd_lock_ref r = {
        .lock = lock,
        .uid = arena_printf(&fx.a, "uid-%s", strrchr(lock, '/') + 1),
        .token = token,
    };

    return fx_locks_as(op, as_agent(host), inc, &r, 1);
}

/* --- looking -----------------------------------------------------------------------------------
 */

UNUSED static struct s_inc fx_inc(uint64_t number)
{
    struct s_inc r = { 0 };
    struct err err;

    assert_int_equal(s_inc_get(fx.s, number, &fx.a, &r, &err), 0);
    return r;
}

UNUSED static struct s_fencing fx_fencing(uint64_t id)
{
    struct s_fencing r = { 0 };
    struct err err;

    assert_int_equal(s_fencing_get(fx.s, id, &fx.a, &r, &err), 0);
    return r;
}

/* A free lock has no record: zeroes. */
UNUSED static struct s_lock fx_lock(const char *lock)
{
    struct s_lock r = { 0 };
    struct err err;
    int rc = s_lock_get(fx.s, lock, &fx.a, &r, &err);

    assert_true(rc == 0 || rc == ERR_NOT_FOUND);
    return r;
}

UNUSED static struct s_host fx_s_host(const char *name)
{
    struct s_host r = { 0 };
    struct err err;

    assert_int_equal(s_host_get(fx.s, name, &fx.a, &r, &err), 0);
    return r;
}

#define STATE(inc, st) assert_string_equal(inc_state_name(fx_inc(inc).state), st)
#define OWNER(lock, inc) assert_int_equal(fx_lock(lock).owner.incarnation, inc)
#define PEER(lock, inc) assert_int_equal(fx_lock(lock).peer.incarnation, inc)

/* --- set-up ------------------------------------------------------------------------------------
 */

UNUSED static int fx_setup_limits(const struct store_limits *limits)
{
    fx = (struct fx){ .term = 5, .ms = 1700000000000 };
    fx.s = store_new(limits);
    return 0;
}

UNUSED static int fx_setup(void **state)
{
    (void)state;
    return fx_setup_limits(NULL);
}

UNUSED static int fx_init(bool lab)
{
    struct cmd c = { .op = CMD_INIT, .actor = as_admin(), .text = "cluster-1", .number = 1 };

    c.number2 = lab;
    return fx_apply(&c);
}

/* The seed book's cluster: three hosts, a PDU and a management card, two guests. */
UNUSED static int fx_setup_cluster(void **state)
{
    (void)fx_setup(state);
    OK(fx_init(false));
    fx_device("pdu", 1, "ApcSnmp");
    fx_device("drac", 1, "Ipmi");
    fx_host("n1", 1, "[{\"devices\":[\"drac\"]},{\"devices\":[\"pdu\"]}]");
    fx_host("n2", 1, "[{\"devices\":[\"pdu\"]}]");
    fx_host("n3", 1, "[{\"devices\":[\"pdu\"]}]");
    fx_object("virtualmachines", "vm1");
    fx_object("virtualmachines", "vm2");
    fx_object("volumes", "lv1");
    fx_object("volumes", "lv2");
    OK(fx_register("n1", 1, 0));
    OK(fx_register("n2", 1, 0));
    OK(fx_register("n3", 1, 0));
    return 0;
}

UNUSED static int fx_teardown(void **state)
{
    (void)state;
    store_free(fx.s);
    arena_done(&fx.a);
    fx = (struct fx){ 0 };
    return 0;
}

#define FX_TEST(f) cmocka_unit_test_setup_teardown(f, fx_setup, fx_teardown)
#define FX_CLUSTER_TEST(f) cmocka_unit_test_setup_teardown(f, fx_setup_cluster, fx_teardown)

#endif
