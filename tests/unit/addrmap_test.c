/* The address map of `picket dev`. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/addrmap.h"

static char test_dir[] = "/tmp/picket-addrmap-XXXXXX";
static char map_file[64];

/* As `picket dev` writes it: a new file under the old name. */
static void write_map(const char *text)
{
    char tmp[80];
    FILE *f;

    (void)snprintf(tmp, sizeof(tmp), "%s.new", map_file);
    f = fopen(tmp, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(tmp, map_file), 0);
}

static void want(const char *host, uint16_t port, enum addr_proto proto, const char *result)
{
    char dst[128] = "";
    struct err err;

    if (addr_resolve(host, port, proto, dst, sizeof(dst), &err) != 0) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(dst, result);
}

static void refuse(const char *host, uint16_t port, enum addr_proto proto, int code,
                   const char *text)
{
    char dst[128] = "untouched";
    struct err err;

    assert_int_equal(addr_resolve(host, port, proto, dst, sizeof(dst), &err), code);
    assert_string_equal(dst, "untouched");
    if (strstr(err.msg, text) == NULL) {
        fail_msg("%s", err.msg);
    }
}

static void test_without_map(void **state)
{
    char tiny[8] = "";
    struct err err;

    (void)state;
    assert_int_equal(unsetenv("PICKET_ADDRESS_MAP"), 0);
    want("10.0.0.1", 7443, ADDR_TCP, "10.0.0.1:7443");
    want("fd00::1", 161, ADDR_UDP, "[fd00::1]:161");
    refuse("host-a", 7443, ADDR_TCP, ERR_INVALID, "not an IP address");
    refuse("", 7443, ADDR_TCP, ERR_INVALID, "not an IP address");
    assert_int_equal(addr_resolve("10.0.0.1", 7443, ADDR_TCP, tiny, sizeof(tiny), &err),
                     ERR_INVALID);
    assert_int_equal(setenv("PICKET_ADDRESS_MAP", "", 1), 0); /* empty counts as none */
    want("10.0.0.1", 1, ADDR_TCP, "10.0.0.1:1");
}

static void test_with_map(void **state)
{
    (void)state;
    write_map("# a comment\n\n"
              "10.0.0.1:7443 127.0.0.1:20001\n"
              "10.0.0.1 127.0.0.1:20002\n"
              "10.9.9.9/udp 127.0.0.1:20003\n"
              "10.9.9.9:162/udp\t127.0.0.1:20004\n"
              "host-b 127.0.0.1:20005\n"
              "fd00::1 [::1]:20006");
    assert_int_equal(setenv("PICKET_ADDRESS_MAP", map_file, 1), 0);
    want("10.0.0.1", 7443, ADDR_TCP, "127.0.0.1:20001");
    want("10.0.0.1", 80, ADDR_TCP, "127.0.0.1:20002");
    want("10.9.9.9", 161, ADDR_UDP, "127.0.0.1:20003");
    want("10.9.9.9", 162, ADDR_UDP, "127.0.0.1:20004");
    want("host-b", 1, ADDR_TCP, "127.0.0.1:20005");
    want("fd00::1", 1, ADDR_TCP, "[::1]:20006");
    refuse("10.0.0.2", 7443, ADDR_TCP, ERR_UNREACHABLE, "10.0.0.2:7443 is unreachable");
    refuse("10.9.9.9", 161, ADDR_TCP, ERR_UNREACHABLE, map_file);
    refuse("10.0.0.1", 7443, ADDR_UDP, ERR_UNREACHABLE, "/udp");
}

static void test_reads_again(void **state)
{
    (void)state;
    assert_int_equal(setenv("PICKET_ADDRESS_MAP", map_file, 1), 0);
    write_map("10.0.0.1 127.0.0.1:1111\n");
    want("10.0.0.1", 1, ADDR_TCP, "127.0.0.1:1111");
    write_map("10.0.0.1 127.0.0.1:2222\n");
    want("10.0.0.1", 1, ADDR_TCP, "127.0.0.1:2222");
    write_map("");
    refuse("10.0.0.1", 1, ADDR_TCP, ERR_UNREACHABLE, "unreachable");
    assert_int_equal(unlink(map_file), 0); /* no map is not the same as no setting */
    refuse("10.0.0.1", 1, ADDR_TCP, ERR_SYS, "PICKET_ADDRESS_MAP");
}

static void test_mistakes(void **state)
{
    static const char *const bad[] = {
        "10.0.0.1\n",
        "ok 127.0.0.1:1\n10.0.0.1 127.0.0.1\n",
        "10.0.0.1 127.0.0.1:1 extra\n",
    };

    (void)state;
    assert_int_equal(setenv("PICKET_ADDRESS_MAP", map_file, 1), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_map(bad[i]);
        refuse("ok", 1, ADDR_TCP, ERR_INVALID, i == 1 ? ":2: want" : ":1: want");
        refuse("ok", 1, ADDR_TCP, ERR_INVALID, "want"); /* still, not only the first time */
    }
    write_map("ok 127.0.0.1:1\n");
    want("ok", 1, ADDR_TCP, "127.0.0.1:1");
}

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(test_dir) == NULL) {
        return -1;
    }
    (void)snprintf(map_file, sizeof(map_file), "%s/map", test_dir);
    return 0;
}

static _Atomic bool asking;

static void *ask(void *arg)
{
    char dst[128];
    struct err err;

    (void)arg;
    while (asking) {
        if (addr_resolve("node1", 80, ADDR_TCP, dst, sizeof(dst), &err) != 0 ||
            strncmp(dst, "127.64.0.1:", 11) != 0) {
            return &asking;
        }
    }
    return NULL;
}

/* An agent's renewer asks while its main thread reads a new map. */
static void test_two_threads(void **state)
{
    pthread_t thread;
    char text[80];
    void *bad;

    (void)state;
    write_map("node1 127.64.0.1:1\n");
    asking = true;
    assert_int_equal(pthread_create(&thread, NULL, ask, NULL), 0);
    for (int i = 1; i <= 2000; i++) {
        (void)snprintf(text, sizeof(text), "node1 127.64.0.1:%d\n", i);
        write_map(text);
        (void)snprintf(text, sizeof(text), "127.64.0.1:%d", i);
        want("node1", 80, ADDR_TCP, text);
    }
    asking = false;
    assert_int_equal(pthread_join(thread, &bad), 0);
    assert_null(bad);
}

static int teardown(void **state)
{
    char cmd[100];

    (void)state;
    (void)snprintf(cmd, sizeof(cmd), "rm -rf %s", test_dir);
    return system(cmd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_map), cmocka_unit_test(test_with_map),
        cmocka_unit_test(test_reads_again), cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_two_threads),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
