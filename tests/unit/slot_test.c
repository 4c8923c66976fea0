/* The storage heartbeat: torn and foreign sectors, whose sector is whose, and two hosts on one
 * file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "fence/slot.h"

#define BEAT 20U
#define GENEROUS_MS 60000U

static struct slot_rec rec(const char *host, uint64_t incarnation, uint64_t counter)
{
    struct slot_rec r = { .epoch = 1, .incarnation = incarnation, .counter = counter };

    (void)str_copy(r.host, sizeof(r.host), host);
    return r;
}

static void put(uint8_t *image, size_t at, struct slot_rec r)
{
    slot_encode(&r, image + at * SLOT_BYTES);
}

static void sectors(void **state)
{
    struct slot_rec in = rec("node2", 7, 42), out;
    uint8_t sector[SLOT_BYTES], torn[SLOT_BYTES];

    (void)state;
    in.wall_ms = 1234567890123U;
    slot_encode(&in, sector);
    assert_true(slot_decode(sector, &out));
    assert_memory_equal(&in, &out, sizeof(in));
    memset(torn, 0, sizeof(torn));
    assert_false(slot_decode(torn, &out));
    for (size_t i = 0; i < 8 + SLOT_HOST_MAX + 36; i++) { /* each byte matters */
        memcpy(torn, sector, sizeof(torn));
        torn[i] ^= 0x20;
        assert_false(slot_decode(torn, &out));
    }
}

static void a_change_is_dated_before_it_was_found(void **state)
{
    uint8_t *image = calloc(1, SLOT_FILE_BYTES);
    struct slot_table *t = calloc(1, sizeof(*t));

    (void)state;
    put(image, 3, rec("node2", 7, 1));
    slot_table_feed(t, image, 1000);
    assert_int_equal(t->slots[3].changed_ms, 0); /* who knows how old that is */
    slot_table_feed(t, image, 1500);
    assert_int_equal(t->slots[3].changed_ms, 0);
    put(image, 3, rec("node2", 7, 2));
    slot_table_feed(t, image, 2000);
    assert_int_equal(t->slots[3].changed_ms, 1500);
    image[3 * SLOT_BYTES + 80] ^= 1; /* torn: says nothing */
    slot_table_feed(t, image, 2500);
    assert_int_equal(t->slots[3].changed_ms, 1500);
    assert_int_equal(t->slots[3].rec.counter, 2);
    put(image, 3, rec("node2", 8, 2)); /* another boot */
    slot_table_feed(t, image, 3000);
    assert_int_equal(t->slots[3].changed_ms, 2500);
    free(image);
    free(t);
}

static void whose_sector(void **state)
{
    uint8_t *image = calloc(1, SLOT_FILE_BYTES);
    struct slot_table *t = calloc(1, sizeof(*t));
    char name[16];
    int mine;

    (void)state;
    slot_table_feed(t, image, 1000);
    mine = slot_table_pick(t, "node1", 1000, 5000);
    assert_true(mine >= 0);
    put(image, (size_t)mine, rec("node9", 1, 1)); /* somebody was faster */
    slot_table_feed(t, image, 1100);
    assert_int_not_equal(slot_table_pick(t, "node1", 1100, 5000), mine);
    put(image, 200, rec("node1", 1, 1)); /* of the boot before: kept */
    slot_table_feed(t, image, 1200);
    assert_int_equal(slot_table_pick(t, "node1", 1200, 5000), 200);
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        (void)snprintf(name, sizeof(name), "h%zu", i);
        put(image, i, rec(name, 1, 1));
    }
    slot_table_feed(t, image, 1300);
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        (void)snprintf(name, sizeof(name), "h%zu", i);
        put(image, i, rec(name, 1, i == 17 ? 1 : 2)); /* all but one move */
    }
    slot_table_feed(t, image, 9000);
    assert_int_equal(slot_table_pick(t, "node1", 9000, 8000), 17);
    put(image, 17, rec("h17", 1, 2));
    slot_table_feed(t, image, 9100);
    assert_int_equal(slot_table_pick(t, "node1", 9100, 8000), -1);
    free(image);
    free(t);
}

static bool sees(struct slots *s, const char *host, uint64_t incarnation, uint64_t within_ms)
{
    struct slot_seen seen[8];
    size_t n = slots_seen(s, seen, 8);

    for (size_t i = 0; i < n; i++) {
        if (str_eq(seen[i].host, host) && seen[i].incarnation == incarnation &&
            seen[i].age_ms <= within_ms) {
            return true;
        }
    }
    return false;
}

static bool wait_sees(struct slots *s, const char *host, uint64_t incarnation)
{
    uint64_t until = clock_now_ms() + GENEROUS_MS;

    while (clock_now_ms() < until) {
        if (sees(s, host, incarnation, GENEROUS_MS)) {
            return true;
        }
        (void)poll(NULL, 0, 5);
    }
    return false;
}

static void two_hosts_on_one_volume(void **state)
{
    char path[] = "/tmp/slot-test-XXXXXX", error[200];
    int fd = mkstemp(path);
    struct slots_opts o1 = { .host = "node1", .path = path, .heartbeat_ms = BEAT };
    struct slots_opts o2 = { .host = "node2", .path = path, .heartbeat_ms = BEAT };
    struct slots *a = NULL, *b = NULL;
    struct slot_seen seen[8];
    struct err err;

    (void)state;
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(slots_start(&o1, &a, &err), 0);
    assert_int_equal(slots_start(&o2, &b, &err), 0);
    slots_identity(a, 1, 11);
    slots_identity(b, 1, 12);
    assert_true(wait_sees(a, "node2", 12));
    assert_true(wait_sees(b, "node1", 11));
    assert_false(sees(a, "node1", 11, GENEROUS_MS)); /* not ourselves */
    slots_identity(b, 1, 13);                        /* another boot */
    assert_true(wait_sees(a, "node2", 13));
    slots_error(a, error, sizeof(error));
    assert_string_equal(error, "");
    slots_stop(b);
    for (uint64_t until = clock_now_ms() + GENEROUS_MS; clock_now_ms() < until;) {
        if (slots_seen(a, seen, 8) == 1 && seen[0].age_ms > 10 * BEAT) { /* silence shows */
            break;
        }
        (void)poll(NULL, 0, 5);
    }
    assert_true(slots_seen(a, seen, 8) == 1 && seen[0].age_ms > 10 * BEAT);
    slots_stop(a);
    (void)poll(NULL, 0, 4 * BEAT); /* their threads end by themselves */
    (void)unlink(path);
}

static void a_volume_that_is_not_there(void **state)
{
    struct slots_opts o = { .host = "node1",
                            .path = "/dev/no-group/no-volume",
                            .heartbeat_ms = BEAT };
    char error[200] = "";
    struct slots *s = NULL;
    struct err err;

    (void)state;
    assert_int_equal(slots_start(&o, &s, &err), 0);
    for (uint64_t until = clock_now_ms() + GENEROUS_MS;
         error[0] == '\0' && clock_now_ms() < until;) {
        (void)poll(NULL, 0, 5);
        slots_error(s, error, sizeof(error));
    }
    assert_non_null(strstr(error, "/dev/no-group/no-volume"));
    slots_stop(s);
    (void)poll(NULL, 0, 4 * BEAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sectors),
        cmocka_unit_test(a_change_is_dated_before_it_was_found),
        cmocka_unit_test(whose_sector),
        cmocka_unit_test(two_hosts_on_one_volume),
        cmocka_unit_test(a_volume_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
