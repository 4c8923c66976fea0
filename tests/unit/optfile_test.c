/* Configuration files of the daemons, and certificate requests. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/optfile.h"
#include "base/pki.h"
#include "base/stream.h"

static char dir[] = "/tmp/optfile-test-XXXXXX";

static char *in_dir(const char *name)
{
    static char path[8][256];
    static unsigned n;
    char *p = path[n++ % 8];

    (void)snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static char *file(const char *text)
{
    char *path = in_dir("conf");
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    (void)fclose(f);
    return path;
}

static void test_expand(void **state)
{
    char prog[] = "p", opt[] = "--config", own[] = "--name=x", rest[] = "arg";
    char *argv_[] = { prog, own, opt, file("# c\n\n name = node1 \nlab\nlisten=1.2.3.4:5\n"),
                      rest, NULL };
    char **argv = argv_;
    int argc = 5;
    struct err err;

    (void)state;
    assert_int_equal(optfile_expand(&argc, &argv, &err), 0);
    assert_int_equal(argc, 6);
    assert_string_equal(argv[1], "--name=node1");
    assert_string_equal(argv[2], "--lab");
    assert_string_equal(argv[3], "--listen=1.2.3.4:5");
    assert_string_equal(argv[4], "--name=x"); /* behind: it wins */
    assert_string_equal(argv[5], "arg");
    assert_null(argv[6]);
    for (int i = 1; i < 4; i++) {
        free(argv[i]);
    }
    free(argv);
}

static void refuse(const char *text, const char *where)
{
    char prog[] = "p", opt[] = "--config";
    char *argv_[] = { prog, opt, file(text), NULL };
    char **argv = argv_;
    int argc = 3;
    struct err err;

    assert_int_equal(optfile_expand(&argc, &argv, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, where));
}

static void test_refuse(void **state)
{
    char prog[] = "p", opt[] = "--config", none[] = "/nonexistent/conf";
    char *argv_[] = { prog, opt, none, NULL };
    char **argv = argv_;
    int argc = 3;
    struct err err;

    (void)state;
    refuse("--name = x\n", "conf:1:");
    refuse("a = b\nsome words here\n", "conf:2:");
    refuse("config = other\n", "conf:1:");
    refuse("= x\n", "conf:1:");
    assert_int_equal(optfile_expand(&argc, &argv, &err), ERR_NOT_FOUND);
}

static void test_request(void **state)
{
    struct pki_subject s = { .role = "picket:agents", .name = "node1", .cluster = "c1" };
    char *csr = NULL, *cert = NULL, *key = NULL, *bad;
    struct err err;
    struct tls_ctx *tls;

    (void)state;
    assert_int_equal(pki_make_ca(in_dir("ca"), "c1", &err), 0);
    assert_int_equal(pki_request(in_dir("k"), &csr, &err), 0);
    assert_int_equal(pki_sign_request(in_dir("ca"), csr, &s, &cert, &err), 0);
    assert_non_null(strstr(cert, "BEGIN CERTIFICATE"));
    bad = strdup(csr);
    bad[strlen(bad) / 2] = bad[strlen(bad) / 2] == 'A' ? 'B' : 'A';
    assert_int_equal(pki_sign_request(in_dir("ca"), bad, &s, &cert, &err), ERR_INVALID);
    assert_int_equal(pki_sign_request(in_dir("ca"), "", &s, &cert, &err), ERR_INVALID);
    free(bad);
    free(cert);
    free(csr);
    assert_int_equal(pki_request(in_dir("k"), &csr, &err), ERR_EXISTS);

    assert_int_equal(pki_issue_pem(in_dir("ca"), &s, &cert, &key, &err), 0);
    assert_int_equal(tls_ctx_load_pem("t", cert, key, cert, "c1", &tls, &err), 0);
    tls_ctx_unref(tls);
    free(cert);
    free(key);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
    static const char *const names[] = { "conf", "k", "ca/ca.crt", "ca/ca.key" };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)unlink(in_dir(names[i]));
    }
    (void)rmdir(in_dir("ca"));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_request),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
