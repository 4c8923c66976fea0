/* rtnetlink messages: what a kernel really sent (tests/fixtures/net, see README there), what is
 * built is read back as the same, and damaged answers are refused or passed over. */

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nl_codec.h"

#define FIXTURE "tests/fixtures/net/"

static uint8_t *slurp(const char *path, size_t *ret_len)
{
    struct buf b = { 0 };
    FILE *f = fopen(path, "rb");
    char part[4096];
    size_t n;

    if (f == NULL) {
        fail_msg("cannot open %s", path);
    }
    while ((n = fread(part, 1, sizeof(part), f)) > 0) {
        buf_add(&b, part, n);
    }
    (void)fclose(f);
    return buf_take(&b, ret_len);
}

static void read_fixture(const char *name, struct nw_obs *o)
{
    char path[200];
    size_t len = 0;
    uint8_t *data;
    struct nl_answer answer;
    struct err err;

    (void)snprintf(path, sizeof(path), FIXTURE "%s", name);
    data = slurp(path, &len);
    assert_int_equal(nl_parse(data, len, 0, o, &answer, &err), 0);
    assert_int_equal(answer.end, NL_DONE);
    free(data);
}

static void test_recorded_links(void **state)
{
    struct arena a = { 0 };
    struct nw_obs o;
    struct nw_addr want;
    struct nw_route *r;
    const struct nw_link *br, *card;

    (void)state;
    nw_obs_init(&o, &a);
    read_fixture("bridge-links.bin", &o);
    read_fixture("bridge-addrs.bin", &o);
    read_fixture("bridge-routes.bin", &o);
    nw_obs_resolve(&o);
    br = nw_obs_link(&o, "br0");
    card = nw_obs_link(&o, "e0");
    assert_non_null(br);
    assert_non_null(card);
    assert_int_equal(br->kind, NW_BRIDGE);
    assert_true(br->up);
    assert_true(br->bridge.stp);
    assert_int_equal(br->bridge.forward_delay, 4000);
    assert_int_equal(br->bridge.hello_time, 2000);
    assert_int_equal(br->bridge.max_age, 20000);
    assert_string_equal(card->type, "veth");
    assert_string_equal(card->master, "br0");
    assert_int_equal(card->mtu, 1400);
    assert_int_equal(card->port_cost, 77);
    assert_true(nw_obs_link(&o, "lo")->loopback);
    assert_true(nw_addr_parse("192.0.2.1/24", &want));
    assert_non_null(nw_obs_addr(&o, "br0", &want));
    assert_true(nw_addr_parse("fd00::1/64", &want));
    assert_non_null(nw_obs_addr(&o, "br0", &want));
    r = nw_obs_route(&o, &(struct nw_route){ .table = RT_TABLE_MAIN, .dst.family = AF_INET });
    assert_non_null(r);
    assert_string_equal(r->dev, "br0");
    assert_int_equal(r->gw.b[3], 254);
    arena_done(&a);
}

/* Every attribute that is asked for is found again when the request is read as an answer. */
static const struct nw_link *echo(const struct nw_op *op, struct nw_obs *o)
{
    uint32_t words[NL_REQUEST_MAX / 4];
    struct nl_indices ix = { 3, 4, 5 };
    struct nl_answer answer;
    struct err err;
    size_t len = 0;

    assert_int_equal(nl_build_op(words, op, &ix, 7, &len, &err), 0);
    assert_int_equal(nl_parse(words, len, 7, o, &answer, &err), 0);
    assert_int_equal(o->n_links, 1);
    return &o->links[0];
}

static void test_bond_round_trip(void **state)
{
    struct nw_op op = { .kind = NW_OP_ADD_LINK, .dev = "bond0", .link_kind = NW_BOND };
    struct arena a = { 0 };
    struct nw_obs o;
    const struct nw_link *l;

    (void)state;
    op.bond = (struct nw_bond){ .set = 127,
                                .mode = 4,
                                .lacp_rate = 1,
                                .xmit_hash = 2,
                                .miimon = 100,
                                .updelay = 200,
                                .downdelay = 300,
                                .primary = "eth0" };
    nw_obs_init(&o, &a);
    l = echo(&op, &o);
    assert_int_equal(l->kind, NW_BOND);
    assert_string_equal(l->name, "bond0");
    assert_int_equal(l->bond.set, 127);
    assert_int_equal(l->bond.mode, 4);
    assert_int_equal(l->bond.lacp_rate, 1);
    assert_int_equal(l->bond.xmit_hash, 2);
    assert_int_equal(l->bond.miimon, 100);
    assert_int_equal(l->bond.updelay, 200);
    assert_int_equal(l->bond.downdelay, 300);
    assert_int_equal(l->bond_primary_index, 5);
    arena_done(&a);
}

static void test_vlan_round_trip(void **state)
{
    struct nw_op op = {
        .kind = NW_OP_ADD_LINK, .dev = "vlan5", .link_kind = NW_VLAN, .vlan_id = 5, .other = "eth0"
    };
    struct arena a = { 0 };
    struct nw_obs o;
    const struct nw_link *l;

    (void)state;
    nw_obs_init(&o, &a);
    l = echo(&op, &o);
    assert_int_equal(l->kind, NW_VLAN);
    assert_int_equal(l->vlan_id, 5);
    assert_int_equal(l->lower_index, 4);
    arena_done(&a);
}

static void test_missing_interface(void **state)
{
    struct nw_op op = { .kind = NW_OP_MASTER, .dev = "eth0", .other = "br0" };
    uint32_t words[NL_REQUEST_MAX / 4];
    struct nl_indices ix = { 3, 0, 0 };
    struct err err;
    size_t len;

    (void)state;
    assert_int_equal(nl_build_op(words, &op, &ix, 1, &len, &err), ERR_INVALID);
    assert_string_equal(err.msg, "there is no interface br0");
}

static void test_refusal(void **state)
{
    struct {
        struct nlmsghdr h;
        struct nlmsgerr e;
        struct nlattr a;
        char text[8];
    } m = { .h = { .nlmsg_len = sizeof(m),
                   .nlmsg_type = NLMSG_ERROR,
                   .nlmsg_flags = NLM_F_CAPPED | NLM_F_ACK_TLVS,
                   .nlmsg_seq = 9 },
            .e = { .error = -22 },
            .a = { .nla_len = sizeof(struct nlattr) + 8, .nla_type = NLMSGERR_ATTR_MSG },
            .text = "no such" };
    struct arena a = { 0 };
    struct nl_answer answer;
    struct nw_obs o;
    struct err err;

    (void)state;
    nw_obs_init(&o, &a);
    assert_int_equal(nl_parse(&m, sizeof(m), 9, &o, &answer, &err), 0);
    assert_int_equal(answer.end, NL_REFUSED);
    assert_int_equal(answer.error, 22);
    assert_string_equal(answer.text, "no such");
    assert_int_equal(nl_parse(&m, sizeof(m), 8, &o, &answer, &err), 0); /* somebody else's */
    assert_int_equal(answer.end, NL_MORE);
    assert_int_equal(nl_parse(&m, sizeof(m) - 4, 9, &o, &answer, &err), ERR_CORRUPT);
    arena_done(&a);
}

static void test_damaged(void **state)
{
    size_t len = 0;
    uint8_t *data = slurp(FIXTURE "bridge-links.bin", &len);
    struct prng g;

    (void)state;
    prng_init(&g, 1);
    for (int i = 0; i < 2000; i++) {
        uint8_t *copy = mem_dup(data, len);
        struct arena a = { 0 };
        struct nl_answer answer;
        struct nw_obs o;
        struct err err;

        for (int k = 0; k < 4; k++) {
            copy[prng_below(&g, len)] = (uint8_t)prng_u64(&g);
        }
        nw_obs_init(&o, &a);
        (void)!nl_parse(copy, prng_below(&g, len + 1), 0, &o, &answer, &err);
        nw_obs_resolve(&o);
        for (size_t k = 0; k < o.n_links; k++) {
            assert_true(strlen(o.links[k].name) < NW_NAME);
        }
        arena_done(&a);
        free(copy);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_links),  cmocka_unit_test(test_bond_round_trip),
        cmocka_unit_test(test_vlan_round_trip), cmocka_unit_test(test_missing_interface),
        cmocka_unit_test(test_refusal),         cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
