/* The pure parts of picket-devd: what a cut blocks, and the address maps. */

#include "cmd/picket-devd/addrs_plan.c"
#include "cmd/picket-devd/cuts_plan.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "api/manifest.h"

static void add(struct cuts *c, int host, int with, enum cut_direction d, int link)
{
    assert_true(cuts_add(c, (struct cut){ host, with, d, link }));
}

static void a_cut_host_reaches_nobody_and_itself(void **state)
{
    struct cuts c = { 0 };

    (void)state;
    add(&c, 2, END_ANY, CUT_BOTH, 0);
    assert_true(cuts_blocked(&c, 2, 1, 1));
    assert_true(cuts_blocked(&c, 1, 2, 2));
    assert_true(cuts_blocked(&c, 2, END_PDU, 1));
    assert_true(cuts_blocked(&c, END_OPERATOR, 2, 1));
    assert_false(cuts_blocked(&c, 2, 2, 1));
    assert_false(cuts_blocked(&c, 1, 3, 1));
    assert_false(cuts_blocked(&c, 1, END_PDU, 1));
}

static void one_way_cuts_block_one_way(void **state)
{
    struct cuts c = { 0 };

    (void)state;
    add(&c, 1, 2, CUT_OUT, 0);
    add(&c, 3, END_ANY, CUT_IN, 0);
    assert_true(cuts_blocked(&c, 1, 2, 1));
    assert_false(cuts_blocked(&c, 2, 1, 1));
    assert_false(cuts_blocked(&c, 1, END_PDU, 1));
    assert_true(cuts_blocked(&c, 2, 3, 1));
    assert_false(cuts_blocked(&c, 3, 2, 1));
}

static void one_link_can_be_cut(void **state)
{
    struct cuts c = { 0 };

    (void)state;
    add(&c, 1, END_ANY, CUT_BOTH, 2);
    assert_true(cuts_blocked(&c, 1, 2, 2));
    assert_false(cuts_blocked(&c, 1, 2, 1));
}

static void healing_takes_back_what_names_the_host(void **state)
{
    struct cuts c = { 0 };

    (void)state;
    add(&c, 1, 2, CUT_BOTH, 0);
    add(&c, 1, 2, CUT_BOTH, 0); /* the same again is no second cut */
    add(&c, 3, 1, CUT_IN, 0);
    add(&c, 3, 2, CUT_OUT, 0);
    assert_int_equal(c.n, 3);
    assert_int_equal(cuts_heal(&c, 2, 1), 1);
    assert_false(cuts_blocked(&c, 1, 2, 1));
    assert_int_equal(cuts_heal(&c, 1, END_ANY), 1);
    assert_true(cuts_blocked(&c, 3, 2, 1));
    assert_int_equal(cuts_heal(&c, END_ANY, END_ANY), 1);
    assert_int_equal(c.n, 0);
}

static void cuts_are_bounded(void **state)
{
    struct cuts c = { 0 };

    (void)state;
    for (int i = 0; i < CUTS_MAX; i++) {
        add(&c, i + 1, END_ANY, CUT_BOTH, 0);
    }
    assert_false(cuts_add(&c, (struct cut){ CUTS_MAX + 1, END_ANY, CUT_BOTH, 0 }));
    assert_true(cuts_add(&c, (struct cut){ 1, END_ANY, CUT_BOTH, 0 }));
}

/* ---- address maps ---- */

static const struct addrs_host hosts[] = { { "node1", 1 }, { "node2", 2 } };

/* Of the map, the lines of live migration, or all others. */
static void expect_lines(const struct addrs *a, int host, bool migration, const char *want)
{
    struct addrs_world w = { .hosts = hosts, .n_hosts = 2, .port = 20000, .addrs = a };
    struct buf out = { 0 }, some = { 0 };
    char *save = NULL;

    addrs_render(&w, host, &out);
    (void)buf_cstr(&out);
    for (char *l = strtok_r((char *)out.data, "\n", &save); l != NULL;
         l = strtok_r(NULL, "\n", &save)) {
        if ((strstr(l, ":7445 ") != NULL) == migration) {
            buf_printf(&some, "%s\n", l);
        }
    }
    assert_string_equal(buf_cstr(&some), want);
    buf_done(&out);
    buf_done(&some);
}

static void expect_map(const struct addrs *a, int host, const char *want)
{
    expect_lines(a, host, false, want);
}

static bool learn(struct addrs *a, const char *plural, const char *yaml)
{
    struct manifest *m = NULL;
    struct err err;
    bool changed;

    assert_int_equal(manifest_parse(yaml, strlen(yaml), "-", &m, &err), 0);
    changed = addrs_learn(a, plural, manifest_doc(m, 0)->obj, false);
    manifest_free(m);
    return changed;
}

static void names_are_always_known(void **state)
{
    struct addrs a = { 0 };

    (void)state;
    expect_map(&a, 1,
               "node1:20000 127.64.1.1:20000\nnode1:20001 127.64.1.1:20001\nnode1.link2:20000 "
               "127.64.1.1:20000\nnode1.link2:20001 127.64.1.1:20001\n"
               "node2:20000 127.64.1.2:20000\nnode2:20001 127.64.1.2:20001\nnode2.link2:20000 "
               "127.65.1.2:20000\nnode2.link2:20001 127.65.1.2:20001\n");
}

static void declared_addresses_go_over_their_links(void **state)
{
    struct addrs a = { 0 };

    (void)state;
    assert_true(learn(&a, "hosts",
                      "kind: Host\nmetadata: {name: node2}\nspec: {addresses: [192.168.1.102, "
                      "10.0.0.12, 10.9.9.9], migrationAddress: 172.16.0.2}\n"));
    assert_false(learn(&a, "hosts",
                       "kind: Host\nmetadata: {name: node2}\nspec: {addresses: [192.168.1.102, "
                       "10.0.0.12, 10.9.9.9], migrationAddress: 172.16.0.2}\n"));
    expect_map(&a, 1,
               "node1:20000 127.64.1.1:20000\nnode1:20001 127.64.1.1:20001\nnode1.link2:20000 "
               "127.64.1.1:20000\nnode1.link2:20001 127.64.1.1:20001\n"
               "node2:20000 127.64.1.2:20000\nnode2:20001 127.64.1.2:20001\nnode2.link2:20000 "
               "127.65.1.2:20000\nnode2.link2:20001 127.65.1.2:20001\n"
               "192.168.1.102:20000 127.64.1.2:20000\n192.168.1.102:20001 127.64.1.2:20001\n"
               "10.0.0.12:20000 127.65.1.2:20000\n10.0.0.12:20001 127.65.1.2:20001\n"
               "172.16.0.2:20000 127.64.1.2:20000\n172.16.0.2:20001 127.64.1.2:20001\n");
    expect_lines(&a, 1, true,
                 "node1:7445 127.64.1.1:20004\nnode1.link2:7445 127.64.1.1:20004\n"
                 "node2:7445 127.64.1.2:20004\nnode2.link2:7445 127.65.1.2:20004\n"
                 "192.168.1.102:7445 127.64.1.2:20004\n10.0.0.12:7445 127.65.1.2:20004\n"
                 "172.16.0.2:7445 127.64.1.2:20004\n");
    assert_true(addrs_learn(&a, "hosts", json_object_get(a.learned, "nothing"), true) == false);
    addrs_done(&a);
}

static void the_pdu_and_the_gateway(void **state)
{
    struct addrs a = { 0 };
    json_t *seen = json_object();

    (void)state;
    assert_true(learn(&a, "fencedevices",
                      "kind: FenceDevice\nmetadata: {name: p}\nspec: {type: ApcSnmp, address: "
                      "192.168.1.245}\n"));
    assert_false(learn(&a, "fencedevices",
                       "kind: FenceDevice\nmetadata: {name: d}\nspec: {type: Ipmi, address: "
                       "192.168.0.101}\n"));
    assert_true(learn(&a, "networkchecks",
                      "kind: NetworkCheck\nmetadata: {name: g}\nspec: {targets: "
                      "[192.168.1.254]}\n"));
    expect_map(&a, 2,
               "node1:20000 127.64.2.1:20000\nnode1:20001 127.64.2.1:20001\nnode1.link2:20000 "
               "127.65.2.1:20000\nnode1.link2:20001 127.65.2.1:20001\n"
               "node2:20000 127.64.2.2:20000\nnode2:20001 127.64.2.2:20001\nnode2.link2:20000 "
               "127.64.2.2:20000\nnode2.link2:20001 127.64.2.2:20001\n"
               "192.168.1.245:161/udp 127.64.2.250:20002\n"
               "192.168.1.254 127.64.2.254:20003\n192.168.1.254/udp 127.64.2.254:20003\n");
    assert_true(addrs_keep(&a, "fencedevices", seen));
    assert_false(addrs_keep(&a, "fencedevices", seen));
    assert_true(addrs_keep(&a, "networkchecks", seen));
    expect_map(&a, 2,
               "node1:20000 127.64.2.1:20000\nnode1:20001 127.64.2.1:20001\nnode1.link2:20000 "
               "127.65.2.1:20000\nnode1.link2:20001 127.65.2.1:20001\n"
               "node2:20000 127.64.2.2:20000\nnode2:20001 127.64.2.2:20001\nnode2.link2:20000 "
               "127.64.2.2:20000\nnode2.link2:20001 127.64.2.2:20001\n");
    json_decref(seen);
    addrs_done(&a);
}

static void malformed_objects_are_harmless(void **state)
{
    struct addrs a = { 0 };

    (void)state;
    (void)learn(&a, "hosts", "kind: Host\nmetadata: {name: node1}\nspec: {addresses: 7}\n");
    (void)learn(&a, "fencedevices", "kind: FenceDevice\nspec: [1]\n");
    (void)learn(&a, "networkchecks", "metadata: {name: x}\nspec: {targets: [1, {a: b}]}\n");
    assert_false(learn(&a, "volumes", "metadata: {name: x}\n"));
    expect_map(&a, 1,
               "node1:20000 127.64.1.1:20000\nnode1:20001 127.64.1.1:20001\nnode1.link2:20000 "
               "127.64.1.1:20000\nnode1.link2:20001 127.64.1.1:20001\n"
               "node2:20000 127.64.1.2:20000\nnode2:20001 127.64.1.2:20001\nnode2.link2:20000 "
               "127.65.1.2:20000\nnode2.link2:20001 127.65.1.2:20001\n");
    addrs_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_host_reaches_nobody_and_itself),
        cmocka_unit_test(one_way_cuts_block_one_way),
        cmocka_unit_test(one_link_can_be_cut),
        cmocka_unit_test(healing_takes_back_what_names_the_host),
        cmocka_unit_test(cuts_are_bounded),
        cmocka_unit_test(names_are_always_known),
        cmocka_unit_test(declared_addresses_go_over_their_links),
        cmocka_unit_test(the_pdu_and_the_gateway),
        cmocka_unit_test(malformed_objects_are_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
