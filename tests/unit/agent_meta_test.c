/* The parameters of a fence agent, asked of the program: here scripts in its place. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/obj.h"
#include "fence/agent_meta_exec.h"

static char dir[] = "/tmp/picket-meta-XXXXXX";

static void script(const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", dir, name);
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_true(fprintf(f, "#!/bin/sh\n%s\n", text) > 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
    free(path);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    script("fence_good", "[ \"$1 $2\" = \"-o metadata\" ] || exit 1\n"
                         "echo '<parameters><parameter name=\"snmp_version\" required=\"1\">"
                         "<content type=\"select\" default=\"1\"/><shortdesc lang=\"en\">"
                         "Version &lt;of SNMP&gt;</shortdesc></parameter>'\n"
                         "echo '<parameter name=\"ip\"><content type=\"string\"/></parameter>"
                         "<parameter name=\"password_script\"><content type=\"string\"/>"
                         "</parameter></parameters>'");
    script("fence_mute", "exit 0");
    script("fence_chatty", "head -c 400000 /dev/zero");
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = { "fence_good", "fence_mute", "fence_chatty" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = mem_printf("%s/%s", dir, names[i]);

        (void)unlink(path);
        free(path);
    }
    return rmdir(dir);
}

static int ask(const char *program, struct buf *out)
{
    struct err err = { 0 };
    int rc;

    buf_clear(out);
    rc = agent_meta_ask(dir, program, out, &err);
    assert_true(rc == 0 || err.msg[0] != '\0');
    return rc;
}

static void test_ask(void **state)
{
    struct buf b = { 0 };

    (void)state;
    assert_int_equal(ask("fence_good", &b), 0);
    assert_non_null(strstr(buf_cstr(&b), "snmp_version"));
    assert_non_null(strstr(buf_cstr(&b), "Version <of SNMP> (required)"));
    assert_null(strstr(buf_cstr(&b), "password_script")); /* a device may not give it */
    assert_null(strstr(buf_cstr(&b), "ip "));             /* has a field of its own */
    assert_int_equal(ask("fence_mute", &b), ERR_INVALID);
    assert_int_equal(ask("fence_chatty", &b), ERR_INVALID);
    assert_int_equal(ask("fence_none", &b), ERR_NOT_FOUND);
    assert_int_equal(ask("../../bin/sh", &b), ERR_INVALID);
    assert_int_equal(ask("sh", &b), ERR_INVALID);
    assert_int_equal(ask(NULL, &b), ERR_INVALID);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_ask) };

    return cmocka_run_group_tests(tests, setup, teardown);
}
