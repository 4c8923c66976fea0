/* The host's network against a real kernel, in a network namespace of the test's own: nothing
 * outside of it is seen or touched. Needs root; kinds that the kernel lacks are skipped by name.
 */

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nw_drv.h"
#include "net/nw_host.h"

#define LIMIT_MS 20000 /* the most that anything here may take */

static bool have_netns; /* root, and a namespace of our own */
static const char *why_not = "";

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int sh(const char *fmt, ...)
{
    char command[600];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    return system(command);
}

static int group_setup(void **state)
{
    (void)state;
    lg_set_level(LG_ERR);
    if (geteuid() != 0) {
        why_not = "not root";
    } else if (unshare(CLONE_NEWNET) != 0) {
        why_not = strerror(errno);
    } else if (sh("ip link set lo up") != 0) {
        why_not = "no ip command";
    } else {
        have_netns = true;
    }
    return 0;
}

static bool kernel_has(const char *kind, const char *args)
{
    bool ok = sh("ip link add pkprobe type %s %s 2>/dev/null", kind, args) == 0;

    (void)sh("ip link del pkprobe 2>/dev/null");
    return ok;
}

/* --- one agent's life --------------------------------------------------------------------------
 */

struct world {
    uv_loop_t loop;
    struct nw_host *host;
    char dir[64];
    bool confirms; /* the quorum answers */
    bool closed;
};

static void clear_links(void)
{
    (void)sh("for i in br0 br1 foreign0 bond0 vlan5 e0 e1; do ip link del $i 2>/dev/null; done");
}

static void begin(struct world *w)
{
    memset(w, 0, sizeof(*w));
    if (!have_netns) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
    (void)str_copy(w->dir, sizeof(w->dir), "/tmp/picket-net-XXXXXX");
    clear_links();
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(uv_loop_init(&w->loop), 0);
    w->confirms = true;
}

static void birth(struct world *w, const char *boot)
{
    struct nw_host_opts opts = {
        .loop = &w->loop, .dir = w->dir, .host = "node1", .boot_id = boot
    };
    struct err err;

    assert_int_equal(nw_host_new(&opts, &w->host, &err), 0);
}

static void on_closed(void *ctx)
{
    ((struct world *)ctx)->closed = true;
}

static void death(struct world *w)
{
    w->closed = false;
    nw_host_close(w->host, on_closed, w);
    while (!w->closed) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    w->host = NULL;
}

static void end(struct world *w)
{
    if (w->host != NULL) {
        death(w);
    }
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(sh("rm -rf %s", w->dir), 0);
}

static void put(struct world *w, const char *plural, const char *name, const char *spec)
{
    json_t *s = json_loads(spec, 0, NULL);
    json_t *o;

    assert_non_null(s);
    o = json_pack("{s:{s:s}, s:o}", "metadata", "name", name, "spec", s);
    nw_host_put(w->host, plural, name, o);
    json_decref(o);
}

/* What the agent does: it renews its lease, and says when that worked. */
static void turn(struct world *w)
{
    if (w->confirms) {
        nw_host_confirm(w->host, clock_now_ms());
    }
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    (void)poll(NULL, 0, 10);
}

static void until_idle(struct world *w)
{
    uint64_t limit = clock_now_ms() + LIMIT_MS;

    do {
        turn(w);
        assert_true(clock_now_ms() < limit);
    } while (!nw_host_idle(w->host));
}

static void until_reason(struct world *w, const char *plural, const char *name, const char *reason)
{
    uint64_t limit = clock_now_ms() + LIMIT_MS;
    char last[40] = "";

    for (;;) {
        struct nw_state s;

        if (nw_host_state(w->host, plural, name, &s)) {
            bool found = str_eq(s.reason, reason);

            (void)str_copy(last, sizeof(last), s.reason);
            nw_state_done(&s);
            if (found) {
                return;
            }
        }
        if (clock_now_ms() > limit) {
            (void)sh("ip addr; ip route");
            fail_msg("%s/%s is %s, not %s", plural, name, last, reason);
        }
        turn(w);
    }
}

static void expect(const char *command)
{
    if (sh("%s", command) != 0) {
        (void)sh("ip addr; ip route");
        fail_msg("this does not hold: %s", command);
    }
}

/* A card e0 with a peer p0 (and so on), both switched on. */
static void card(const char *n)
{
    assert_int_equal(sh("ip link add e%s type veth peer name p%s && ip link set e%s up && "
                        "ip link set p%s up",
                        n, n, n, n),
                     0);
}

/* --- bridges -----------------------------------------------------------------------------------
 */

static void test_bridge_moves_address_and_routes(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    card("0");
    assert_int_equal(sh("ip addr add 192.0.2.1/24 dev e0 && "
                        "ip route add default via 192.0.2.254 && "
                        "ip route add 198.51.100.0/24 via 192.0.2.7"),
                     0);
    birth(&w, "boot1");
    put(&w, "bridges", "br0",
        "{\"ports\": [\"e0\"], \"addresses\": [\"192.0.2.1/24\"], \"mtu\": 1400}");
    nw_host_synced(w.host);
    until_reason(&w, "bridges", "br0", "AsDeclared");
    until_idle(&w);
    expect("ip -o addr show dev br0 | grep -q 192.0.2.1/24");
    expect("! ip -o addr show dev e0 | grep -q 192.0.2.1");
    expect("ip route | grep -q 'default via 192.0.2.254 dev br0'");
    expect("ip route | grep -q '198.51.100.0/24 via 192.0.2.7 dev br0'");
    expect("ip -d link show br0 | grep -q 'forward_delay 0 .*stp_state 0'");
    expect("ip link show e0 | grep -q 'mtu 1400.*master br0'");
    /* deleted: the card gets everything back */
    nw_host_put(w.host, "bridges", "br0", NULL);
    until_idle(&w);
    expect("! ip link show br0 2>/dev/null");
    expect("ip -o addr show dev e0 | grep -q 192.0.2.1/24");
    expect("ip route | grep -q 'default via 192.0.2.254 dev e0'");
    end(&w);
}

static void test_foreign_is_left_alone(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    card("0");
    card("1");
    assert_int_equal(sh("ip link add foreign0 type bridge && ip link set e1 master foreign0 && "
                        "ip addr add 203.0.113.1/24 dev foreign0 && ip link set foreign0 up"),
                     0);
    assert_int_equal(sh("ip addr add 192.0.2.9/24 dev e0"), 0);
    assert_int_equal(sh("ip addr show foreign0 > %s/before", w.dir), 0);
    birth(&w, "boot1");
    put(&w, "bridges", "br0", "{\"ports\": [\"e1\"]}");
    put(&w, "bridges", "br1", "{\"ports\": [\"e0\"]}");
    nw_host_synced(w.host);
    until_reason(&w, "bridges", "br0", "MemberTaken");
    until_reason(&w, "bridges", "br1", "AddressInTheWay");
    until_idle(&w);
    assert_int_equal(sh("ip addr show foreign0 | cmp -s - %s/before", w.dir), 0);
    expect("ip -o addr show dev e0 | grep -q 192.0.2.9/24");
    expect("! ip link show br0 2>/dev/null");
    end(&w);
}

static void test_per_host_and_adoption(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    card("0");
    assert_int_equal(sh("ip link add br0 type bridge && ip link set br0 up && "
                        "ip addr add 192.0.2.50/24 dev br0"),
                     0);
    birth(&w, "boot1");
    put(&w, "bridges", "br0",
        "{\"ports\": [\"none\"], \"stp\": true, \"forwardDelay\": \"4s\", \"perHost\": "
        "{\"node1\": {\"ports\": [\"e0\"], \"addresses\": [\"192.0.2.1/24\"]}}}");
    nw_host_synced(w.host);
    until_idle(&w);
    expect("ip -o addr show dev br0 | grep -q 192.0.2.1/24");
    expect("ip -o addr show dev br0 | grep -q 192.0.2.50/24");
    expect("ip -d link show br0 | grep -q 'forward_delay 400 .*stp_state 1'");
    /* deleted: what was there before stays, what we added goes */
    nw_host_put(w.host, "bridges", "br0", NULL);
    until_idle(&w);
    expect("ip link show br0 >/dev/null");
    expect("ip -o addr show dev br0 | grep -q 192.0.2.50/24");
    expect("! ip -o addr show dev br0 | grep -q 192.0.2.1/24");
    expect("! ip link show e0 | grep -q master");
    end(&w);
}

/* --- the confirmed change ----------------------------------------------------------------------
 */

static void test_rollback_when_cut_off(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    card("0");
    assert_int_equal(sh("ip addr add 192.0.2.1/24 dev e0 && ip route add default via 192.0.2.254"),
                     0);
    birth(&w, "boot1");
    put(&w, "bridges", "br0",
        "{\"ports\": [\"e0\"], \"addresses\": [\"192.0.2.1/24\"], \"gateway\": \"192.0.2.66\", "
        "\"commitTimeout\": \"1s\"}");
    nw_host_confirm(w.host, clock_now_ms());
    w.confirms = false; /* the wrong gateway: nobody answers any more */
    nw_host_synced(w.host);
    until_reason(&w, "bridges", "br0", "Confirming");
    expect("ip route | grep -q 'default via 192.0.2.66 dev br0'");
    until_reason(&w, "bridges", "br0", "RolledBack");
    expect("ip -o addr show dev e0 | grep -q 192.0.2.1/24");
    expect("ip route | grep -q 'default via 192.0.2.254 dev e0'");
    expect("! ip link show br0 2>/dev/null");
    /* not again by itself, not even in the next life, but after a change */
    w.confirms = true;
    until_idle(&w);
    death(&w);
    birth(&w, "boot1");
    put(&w, "bridges", "br0",
        "{\"ports\": [\"e0\"], \"addresses\": [\"192.0.2.1/24\"], \"gateway\": \"192.0.2.66\", "
        "\"commitTimeout\": \"1s\"}");
    nw_host_synced(w.host);
    until_reason(&w, "bridges", "br0", "RolledBack");
    expect("! ip link show br0 2>/dev/null");
    put(&w, "bridges", "br0",
        "{\"ports\": [\"e0\"], \"addresses\": [\"192.0.2.1/24\"], \"gateway\": \"192.0.2.254\"}");
    until_reason(&w, "bridges", "br0", "AsDeclared");
    until_idle(&w);
    expect("ip route | grep -q 'default via 192.0.2.254 dev br0'");
    end(&w);
}

static void cut_in_the_middle(struct world *w)
{
    card("0");
    assert_int_equal(sh("ip addr add 192.0.2.1/24 dev e0"), 0);
    birth(w, "boot1");
    put(w, "bridges", "br0", "{\"ports\": [\"e0\"], \"addresses\": [\"192.0.2.1/24\"]}");
    nw_host_confirm(w->host, clock_now_ms());
    w->confirms = false;
    nw_host_synced(w->host);
    until_reason(w, "bridges", "br0", "Confirming");
    expect("ip -o addr show dev br0 | grep -q 192.0.2.1/24");
    death(w); /* leaves the journal, as a crash does */
    assert_int_equal(sh("test -s %s/network-journal.json", w->dir), 0);
}

static void test_undo_after_crash(void **state)
{
    struct world w;
    uint64_t limit = clock_now_ms() + LIMIT_MS;

    (void)state;
    begin(&w);
    cut_in_the_middle(&w);
    birth(&w, "boot1");
    while (sh("test -e %s/network-journal.json", w.dir) == 0) {
        turn(&w);
        assert_true(clock_now_ms() < limit);
    }
    expect("! ip link show br0 2>/dev/null");
    expect("ip -o addr show dev e0 | grep -q 192.0.2.1/24");
    end(&w);
}

static void test_no_second_try_after_reboot(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    cut_in_the_middle(&w);
    assert_int_equal(sh("ip link del br0 && ip addr add 192.0.2.1/24 dev e0"), 0); /* a new boot */
    birth(&w, "boot2");
    w.confirms = true;
    put(&w, "bridges", "br0", "{\"ports\": [\"e0\"], \"addresses\": [\"192.0.2.1/24\"]}");
    nw_host_synced(w.host);
    until_reason(&w, "bridges", "br0", "RolledBack");
    until_idle(&w);
    expect("! ip link show br0 2>/dev/null");
    end(&w);
}

static void test_nothing_without_quorum(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    w.confirms = false;
    birth(&w, "boot1");
    put(&w, "bridges", "br0", "{}");
    nw_host_synced(w.host);
    until_reason(&w, "bridges", "br0", "WaitingForQuorum");
    expect("! ip link show br0 2>/dev/null");
    w.confirms = true;
    until_reason(&w, "bridges", "br0", "AsDeclared");
    expect("ip link show br0 >/dev/null");
    end(&w);
}

/* --- bonds and VLANs ---------------------------------------------------------------------------
 */

static void test_bond(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    if (!kernel_has("bond", "mode active-backup")) {
        print_message("skipped: this kernel has no bonding (modprobe bonding max_bonds=0)\n");
        end(&w);
        skip();
    }
    card("0");
    card("1");
    assert_int_equal(sh("ip addr add 192.0.2.1/24 dev e0 && ip route add default via 192.0.2.254"),
                     0);
    birth(&w, "boot1");
    put(&w, "bonds", "bond0",
        "{\"members\": [\"e0\", \"e1\"], \"primary\": \"e0\", \"miimon\": \"20ms\"}");
    put(&w, "bridges", "br0", "{\"ports\": [\"bond0\"], \"addresses\": [\"192.0.2.1/24\"]}");
    nw_host_synced(w.host);
    until_reason(&w, "bridges", "br0", "AsDeclared");
    until_reason(&w, "bonds", "bond0", "AsDeclared");
    expect("ip route | grep -q 'default via 192.0.2.254 dev br0'");
    expect("ip -d link show bond0 | grep -q 'active_slave e0'");
    assert_int_equal(sh("ip link set p0 down"), 0);
    until_reason(&w, "bonds", "bond0", "Degraded");
    expect("ip -d link show bond0 | grep -q 'active_slave e1'");
    put(&w, "bonds", "bond0",
        "{\"members\": [\"e0\", \"e1\"], \"mode\": \"LACP\", \"lacpRate\": \"Fast\"}");
    until_idle(&w);
    expect("ip -d link show bond0 | grep -q 'mode 802.3ad .*lacp_rate fast'");
    expect("ip link show e1 | grep -q 'master bond0'");
    nw_host_put(w.host, "bridges", "br0", NULL);
    nw_host_put(w.host, "bonds", "bond0", NULL);
    until_idle(&w);
    expect("! ip link show bond0 2>/dev/null");
    end(&w);
}

/* From each mode to the next, under the members' feet; and what goes with a mode. */
static void test_every_bond_mode(void **state)
{
    static const struct {
        const char *spec, *kernel;
    } modes[] = {
        { "\"mode\": \"BalanceRR\"", "mode balance-rr" },
        { "\"mode\": \"BalanceXor\", \"xmitHashPolicy\": \"Layer34\"",
          "mode balance-xor .*xmit_hash_policy layer3+4" },
        { "\"mode\": \"Broadcast\"", "mode broadcast" },
        { "\"mode\": \"LACP\", \"lacpRate\": \"Slow\", \"xmitHashPolicy\": \"Layer23\"",
          "mode 802.3ad .*xmit_hash_policy layer2+3 .*lacp_rate slow" },
        { "\"mode\": \"BalanceTLB\", \"primary\": \"e1\"", "mode balance-tlb .*primary e1" },
        { "\"mode\": \"BalanceALB\"", "mode balance-alb" },
        { "\"mode\": \"ActiveBackup\", \"upDelay\": \"200ms\", \"downDelay\": \"100ms\"",
          "mode active-backup .*miimon 100 updelay 200 downdelay 100" },
    };
    struct world w;

    (void)state;
    begin(&w);
    if (!kernel_has("bond", "mode active-backup")) {
        print_message("skipped: this kernel has no bonding (modprobe bonding max_bonds=0)\n");
        end(&w);
        skip();
    }
    card("0");
    card("1");
    birth(&w, "boot1");
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        char *spec =
            mem_printf("{\"members\": [\"e0\", \"e1\"], \"mtu\": 1400, %s}", modes[i].spec);
        char *check = mem_printf("ip -d link show bond0 | grep -q '%s'", modes[i].kernel);

        put(&w, "bonds", "bond0", spec);
        nw_host_synced(w.host);
        until_idle(&w);
        expect(check);
        expect("ip link show e0 | grep -q 'master bond0'");
        expect("ip link show e1 | grep -q 'master bond0'");
        expect("ip link show bond0 | grep -q 'mtu 1400'");
        free(spec);
        free(check);
    }
    end(&w);
}

static void test_bridge_options(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    card("0");
    birth(&w, "boot1");
    put(&w, "bridges", "br0",
        "{\"ports\": [\"e0\"], \"stp\": true, \"forwardDelay\": \"4s\", \"helloTime\": \"1s\", "
        "\"maxAge\": \"6s\", \"mtu\": 1400}");
    nw_host_synced(w.host);
    until_idle(&w);
    expect("ip -d link show br0 | grep -q 'forward_delay 400 hello_time 100 max_age 600 '");
    expect("ip -d link show br0 | grep -q 'stp_state 1'");
    expect("ip link show br0 | grep -q 'mtu 1400'");
    put(&w, "bridges", "br0", "{\"ports\": [\"e0\"], \"forwardDelay\": \"0s\"}");
    until_idle(&w);
    expect("ip -d link show br0 | grep -q 'forward_delay 0 '");
    expect("ip -d link show br0 | grep -q 'stp_state 0'");
    end(&w);
}

static void test_vlan(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    card("0");
    if (sh("ip link add link e0 name pkprobe type vlan id 9 2>/dev/null") != 0) {
        print_message("skipped: this kernel has no VLANs (modprobe 8021q)\n");
        end(&w);
        skip();
    }
    (void)sh("ip link del pkprobe");
    birth(&w, "boot1");
    put(&w, "vlans", "vlan5", "{\"link\": \"e0\", \"id\": 5, \"addresses\": [\"192.0.2.1/24\"]}");
    nw_host_synced(w.host);
    until_reason(&w, "vlans", "vlan5", "AsDeclared");
    expect("ip -d link show vlan5 | grep -q 'vlan protocol 802.1Q id 5'");
    put(&w, "vlans", "vlan5", "{\"link\": \"e0\", \"id\": 6, \"addresses\": [\"192.0.2.1/24\"]}");
    until_idle(&w);
    expect("ip -d link show vlan5 | grep -q 'vlan protocol 802.1Q id 6'");
    expect("ip -o addr show dev vlan5 | grep -q 192.0.2.1/24");
    end(&w);
}

static void test_kernel_refusal_is_undone(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    card("0");
    birth(&w, "boot1");
    /* the bridge is made, then the kernel does not like the address */
    put(&w, "bridges", "br0", "{\"ports\": [\"e0\"], \"addresses\": [\"ff02::5/64\"]}");
    nw_host_synced(w.host);
    until_reason(&w, "bridges", "br0", "Failed");
    expect("! ip link show br0 2>/dev/null");
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bridge_moves_address_and_routes),
        cmocka_unit_test(test_foreign_is_left_alone),
        cmocka_unit_test(test_per_host_and_adoption),
        cmocka_unit_test(test_rollback_when_cut_off),
        cmocka_unit_test(test_undo_after_crash),
        cmocka_unit_test(test_no_second_try_after_reboot),
        cmocka_unit_test(test_nothing_without_quorum),
        cmocka_unit_test(test_bond),
        cmocka_unit_test(test_every_bond_mode),
        cmocka_unit_test(test_bridge_options),
        cmocka_unit_test(test_vlan),
        cmocka_unit_test(test_kernel_refusal_is_undone),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
