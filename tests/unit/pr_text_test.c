/* What sg_persist prints, and what is made of it; and the plan, over every combination of facts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "base/obj.h"
#include "storage/pr_plan.h"

static const char two[] = "  PR generation=0x9, 2 registered reservation keys follow:\n"
                          "    0x504b0000abcdef07\n    0x504b0000abcdef08\n";
static const char one[] = "  PR generation=0x9, 1 registered reservation key follows:\n    0x7\n";
static const char none[] = "  PR generation=0x0, there are NO registered reservation keys\n";

static int keys(const char *text, size_t len, struct arena *a, struct prt_keys *k)
{
    struct err err;

    return prt_keys_parse(text, len, a, k, &err);
}

static void keys_of_all_paths(void **state)
{
    struct arena a = { 0 };
    struct prt_keys k;

    (void)state;
    assert_int_equal(keys(two, strlen(two), &a, &k), 0);
    assert_int_equal(k.n, 2);
    assert_true(prt_keys_have(&k, 0x504b0000abcdef08ULL));
    assert_false(prt_keys_have(&k, 0x7));
    assert_int_equal(keys(one, strlen(one), &a, &k), 0);
    assert_true(k.n == 1 && k.keys[0] == 7);
    assert_int_equal(keys(none, strlen(none), &a, &k), 0);
    assert_int_equal(k.n, 0);
    arena_done(&a);
}

/* Fewer keys than are said could hide ours: that is no answer. */
static void cut_off_is_no_answer(void **state)
{
    struct arena a = { 0 };
    struct prt_keys k;

    (void)state;
    for (size_t n = 0; n + 2 < strlen(two); n++) {
        if (keys(two, n, &a, &k) == 0) {
            assert_int_equal(k.n, 2); /* only the last digits may be missing: never a match */
            assert_int_not_equal(k.keys[1], 0x504b0000abcdef08ULL);
        }
    }
    assert_int_equal(keys("", 0, &a, &k), ERR_CORRUPT);
    assert_int_equal(keys("x\0y", 3, &a, &k), ERR_CORRUPT);
    arena_done(&a);
}

static void reservations(void **state)
{
    static const char ar[] = "  PR generation=0x9, Reservation follows:\n    Key=0x0\n"
                             "    scope: LU_SCOPE,  type: Write Exclusive, all registrants\n";
    static const char ea[] = "  PR generation=0x9, Reservation follows:\n    Key=0x1\n"
                             "    scope: LU_SCOPE,  type: Exclusive Access\n";
    static const char no[] = "  PR generation=0x9, there is NO reservation held\n";
    static const char cut[] = "  PR generation=0x9, Reservation follows:\n    Key=0x1\n";
    struct arena a = { 0 };
    struct prt_reservation r;
    struct err err;
    bool ptpl = false;

    (void)state;
    assert_int_equal(prt_reservation_parse(ar, strlen(ar), &a, &r, &err), 0);
    assert_int_equal(r.type, PRT_REGISTRANTS);
    assert_int_equal(prt_reservation_parse(ea, strlen(ea), &a, &r, &err), 0);
    assert_int_equal(r.type, PRT_OTHER);
    assert_string_equal(r.text, "Exclusive Access");
    assert_int_equal(prt_reservation_parse(no, strlen(no), &a, &r, &err), 0);
    assert_int_equal(r.type, PRT_NONE);
    assert_int_equal(prt_reservation_parse(cut, strlen(cut), &a, &r, &err), ERR_CORRUPT);
    assert_int_equal(prt_caps_parse("x (PTPL_C): 1\n", 14, &a, &ptpl, &err), 0);
    assert_true(ptpl);
    assert_int_equal(prt_caps_parse("x (PTPL_C): ", 12, &a, &ptpl, &err), ERR_CORRUPT);
    arena_done(&a);
}

static struct prp_lun lun_of(unsigned bits, struct prp_path paths[2])
{
    struct prp_lun l = {
        .name = "l", .paths = paths, .n_paths = 2, .reserved_text = "", .why = ""
    };

    l.ready = bits % 3;
    bits /= 3;
    paths[0] = (struct prp_path){ .device = "sda", .registered = bits % 3 };
    bits /= 3;
    paths[1] = (struct prp_path){ .device = "sdb", .registered = bits % 3 };
    bits /= 3;
    l.reserved = bits % 3;
    bits /= 3;
    l.looked = bits & 1;
    l.has_key = bits & 2;
    l.was_ours = bits & 4;
    l.missed = l.was_ours && (bits & 8);
    return l;
}

/* Rules that hold whatever the facts are. */
static void rules(const struct prp_want *w, const struct prp_lun *l, const struct prp_plan *p)
{
    bool outside = false;

    for (size_t i = 0; i < p->n_steps; i++) {
        outside = outside || p->steps[i].kind != PRP_UNREGISTER;
    }
    assert_false(outside && !w->meta_lock);
    assert_false(outside && (l->reserved == PRT_OTHER || !l->looked || !w->key_known));
    assert_false(outside && l->was_ours && !l->has_key); /* cut off: never registers again */
    assert_false(p->n_steps > 0 && w->paused);
    assert_false(p->reset && !(l->looked && l->was_ours && !l->has_key && l->missed));
    assert_false(p->n_steps > 0 && !w->wanted && w->in_use != LVM_NO);
    if (w->wanted && p->state == ST_READY && l->ready == LVM_YES) {
        assert_true(l->looked && l->reserved == PRT_REGISTRANTS);
        assert_true(l->paths[0].registered != LVM_NO && l->paths[1].registered != LVM_NO);
        assert_true(l->paths[0].registered == LVM_YES || l->paths[1].registered == LVM_YES);
    }
}

static void every_combination(void **state)
{
    struct arena a = { 0 };
    unsigned plans = 0;

    (void)state;
    for (unsigned bits = 0; bits < 81 * 16; bits++) {
        for (unsigned more = 0; more < 48; more++) {
            struct prp_path paths[2];
            struct prp_lun l = lun_of(bits, paths);
            struct prp_want w = { .wanted = more & 1,
                                  .paused = more & 2,
                                  .key_known = more & 4,
                                  .meta_lock = more & 8,
                                  .in_use = more / 16,
                                  .luns = &l,
                                  .n_luns = 1 };
            struct prp_plan p;

            prp_plan(&w, &a, &p);
            rules(&w, &l, &p);
            plans += p.n_steps > 0;
        }
        arena_done(&a);
    }
    assert_true(plans > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_all_paths),
        cmocka_unit_test(cut_off_is_no_answer),
        cmocka_unit_test(reservations),
        cmocka_unit_test(every_combination),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
