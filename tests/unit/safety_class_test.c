/* What a device can prove: by its type, by what it says it provides, by its program. */

#include "store_fixture.h"

#define VM1 "virtualmachines/vm1"

static uint64_t inc_of(const char *host)
{
    return fx_s_host(host).incarnation;
}

/* n1 holds vm1 and is Lost, its fencing is open with the one level `device`. */
static uint64_t open_fencing(const char *device, const char *type)
{
    uint64_t n1 = inc_of("n1");

    OK(fx_acquire("n1", n1, VM1));
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, device, 1, type));
    return fx_value();
}

static int off(uint64_t fencing, uint64_t attempt)
{
    return fx_proof_as(as_controller(), fencing, attempt, PROOF_OFF, 0);
}

static int open_levels(struct cmd_fence_level *levels, size_t n, uint64_t host_gen)
{
    struct cmd c = fx_safety(CMD_FENCE_OPEN, as_controller(), inc_of("n1"));

    c.safety.host = "n1";
    c.safety.host_generation = host_gen;
    c.safety.levels = levels;
    c.safety.n_levels = n;
    return fx_apply(&c);
}

static int off_by_type(const char *type, bool lab)
{
    uint64_t f;
    int rc;

    (void)fx_teardown(NULL);
    (void)fx_setup(NULL);
    OK(fx_init(lab));
    fx_device("dev", 1, type);
    fx_host("n1", 1, "[{\"devices\":[\"dev\"]}]");
    fx_host("n2", 1, "[]");
    fx_object("virtualmachines", "vm1");
    OK(fx_register("n1", 1, 0));
    OK(fx_register("n2", 1, 0));
    f = open_fencing("dev", type);
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "dev", FENCE_RESULT_SUCCEEDED));
    rc = off(f, 1);
    assert_int_equal(fx_lock(VM1).owner.incarnation, rc == 0 ? 0 : inc_of("n1"));
    return rc;
}

static void proof_class_of_each_type(void **state)
{
    static const struct {
        const char *type;
        int normal, lab;
    } T[] = {
        { "ApcSnmp", 0, 0 },
        { "Ipmi", 0, 0 },
        { "Redfish", 0, 0 },
        { "Agent", 0, 0 },
        { "Null", ERR_REFUSED, 0 },
        { "Manual", ERR_REFUSED, ERR_REFUSED },
        { "Ssh", ERR_REFUSED, ERR_REFUSED },
        { "Watchdog", ERR_REFUSED, ERR_REFUSED },
        { "ScsiReservation", ERR_REFUSED, ERR_REFUSED },
        { "Nonsense", ERR_REFUSED, ERR_REFUSED },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(T); i++) {
        WANT(T[i].normal, off_by_type(T[i].type, false));
        WANT(T[i].lab, off_by_type(T[i].type, true));
    }
}

static int off_by_agent(const char *spec, enum proof_class said)
{
    struct cmd_fence_device d = {
        .name = "dev", .generation = 1, .type = "Agent", .provides = said
    };
    struct cmd_fence_level lv = { .devices = &d, .n_devices = 1 };
    uint64_t n1, f;

    (void)fx_teardown(NULL);
    (void)fx_setup_cluster(NULL);
    n1 = inc_of("n1");
    OK(fx_object_as(as_admin(), "o/fencedevices/dev", 1, spec));
    fx_host("n1", 2, "[{\"devices\":[\"dev\"]}]");
    OK(fx_lost(n1));
    OK(open_levels(&lv, 1, 2));
    f = fx_value();
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "dev", FENCE_RESULT_SUCCEEDED));
    return off(f, 1);
}

static void proof_class_of_agent_programs(void **state)
{
#define AGENT(more) "{\"spec\":{\"type\":\"Agent\"" more "}}"
    (void)state;
    OK(off_by_agent(AGENT(",\"agent\":\"fence_ilo5\""), CLASS_BY_TYPE));
    OK(off_by_agent(AGENT(",\"agent\":\"fence_x\",\"provides\":\"Power\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_x\""), CLASS_NONE));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_x\""), CLASS_STORAGE));
    /* what the object says cannot be talked up */
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"provides\":\"None\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"provides\":\"Storage\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_scsi\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_kdump\""), CLASS_BY_TYPE));
    WANT(ERR_REFUSED,
         off_by_agent(AGENT(",\"agent\":\"fence_dummy\",\"provides\":\"Power\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_ack_manual\""), CLASS_BY_TYPE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_CLUSTER_TEST(proof_class_of_each_type),
        FX_CLUSTER_TEST(proof_class_of_agent_programs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
