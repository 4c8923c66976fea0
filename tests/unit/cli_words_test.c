/* What the command line makes of words: kinds, names, suggestions, exit codes, options. */

#include "cmd/picket/cli.c"
#include "cmd/picket/output.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <fcntl.h>

/* Of other files; not used by what is tested. */
void cli_print_usage(const struct cli_verb *v, FILE *f)
{
    (void)v;
    (void)f;
}

const struct cli_verb *cli_verb_find(const char *name)
{
    (void)name;
    return NULL;
}

void cli_pick_server(struct cli *c)
{
    (void)c;
}

static struct cli cli = { .verb = "get" };

/* Messages to users are not looked at here; those of cmocka are. */
static int quiet(void)
{
    int saved = dup(STDERR_FILENO);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    assert_true(saved >= 0 && null >= 0);
    assert_true(dup2(null, STDERR_FILENO) >= 0);
    (void)close(null);
    return saved;
}

static void loud(int saved)
{
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
}

/* Parse words separated by spaces; the references as "plural/name plural/- ..." or "error N". */
static void expect_refs(const char *words, const char *want)
{
    char *text = mem_strdup(words);
    char *args[8];
    size_t n = 0;
    char *save = NULL;
    struct cli_refs refs;
    struct buf got = { 0 };
    int rc, saved;

    for (char *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        assert_true(n < 8);
        args[n++] = w;
    }
    saved = quiet();
    rc = cli_parse_refs(&cli, args, n, &refs);
    loud(saved);
    if (rc != CLI_OK) {
        buf_printf(&got, "error %d", rc);
    }
    for (size_t i = 0; rc == CLI_OK && i < refs.n; i++) {
        buf_printf(&got, "%s%s/%s", i > 0 ? " " : "", refs.items[i].kind->plural,
                   refs.items[i].name != NULL ? refs.items[i].name : "-");
    }
    assert_string_equal(buf_cstr(&got), want);
    cli_refs_done(&refs);
    buf_done(&got);
    free(text);
}

static void references(void **state)
{
    (void)state;
    expect_refs("vm", "virtualmachines/-");
    expect_refs("VirtualMachine", "virtualmachines/-");
    expect_refs("vm,hosts", "virtualmachines/- hosts/-");
    expect_refs("vm a b", "virtualmachines/a virtualmachines/b");
    expect_refs("vm,host a", "virtualmachines/a hosts/a");
    expect_refs("vm/a host/b", "virtualmachines/a hosts/b");
    expect_refs("vm/a b", "error 2");
    expect_refs("vm/", "error 2");
    expect_refs("nonsense", "error 2");
    expect_refs("vm,nonsense", "error 2");
    expect_refs("nonsense/a", "error 2");
    expect_refs("", "error 2");
}

static void all_means_every_kind(void **state)
{
    char all[] = "all";
    char *args[] = { all };
    struct cli_refs refs;

    (void)state;
    assert_int_equal(cli_parse_refs(&cli, args, 1, &refs), CLI_OK);
    assert_int_equal(refs.n, kind_count());
    assert_true(refs.several_kinds);
    cli_refs_done(&refs);
}

static const char *near_kind(const char *word)
{
    struct kind_words at = { 0 };

    return cli_nearest(word, next_kind_word, &at);
}

static void suggestions_are_near_or_none(void **state)
{
    (void)state;
    assert_string_equal(near_kind("hsots"), "hosts");
    assert_string_equal(near_kind("virtualmachin"), "virtualmachine");
    assert_string_equal(near_kind("Volum"), "volume");
    assert_string_equal(near_kind("vmm"), "vm");
    assert_null(near_kind("nope"));
    assert_null(near_kind("q"));
    assert_null(near_kind("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void distances(void **state)
{
    (void)state;
    assert_int_equal(distance("", ""), 0);
    assert_int_equal(distance("abc", ""), 3);
    assert_int_equal(distance("get", "GET"), 0);
    assert_int_equal(distance("gte", "get"), 1);
    assert_int_equal(distance("kitten", "sitting"), 3);
    assert_int_equal(distance("ca", "abc"), 3); /* optimal string alignment, not full Damerau */
}

static void every_error_has_its_exit_code(void **state)
{
    (void)state;
    assert_int_equal(cli_exit_code(0), CLI_OK);
    assert_int_equal(cli_exit_code(ERR_INVALID), CLI_ERROR);
    assert_int_equal(cli_exit_code(ERR_DENIED), CLI_ERROR);
    assert_int_equal(cli_exit_code(ERR_NOT_FOUND), CLI_NOT_FOUND);
    assert_int_equal(cli_exit_code(ERR_CONFLICT), CLI_CONFLICT);
    assert_int_equal(cli_exit_code(ERR_REFUSED), CLI_CONFLICT);
    assert_int_equal(cli_exit_code(ERR_NO_QUORUM), CLI_UNREACHABLE);
    assert_int_equal(cli_exit_code(ERR_UNREACHABLE), CLI_UNREACHABLE);
    assert_int_equal(cli_exit_code(ERR_UNKNOWN_OUTCOME), CLI_UNKNOWN);
    assert_int_equal(cli_exit_code(ERR_TIMEOUT), CLI_TIMEOUT);
}

/* Whoever gets one of these needs to know what to do. */
static void errors_that_are_not_about_input_have_advice(void **state)
{
    static const int codes[] = { ERR_UNREACHABLE, ERR_NO_QUORUM,   ERR_UNKNOWN_OUTCOME,
                                 ERR_TIMEOUT,     ERR_CONFLICT,    ERR_REFUSED,
                                 ERR_DENIED,      ERR_UNAUTHORIZED };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        assert_non_null(cli_advice(codes[i]));
    }
}

static void common_options_are_taken_anywhere(void **state)
{
    static const struct option longs[] = { { "wide", no_argument, NULL, 7 }, { NULL, 0, NULL, 0 } };
    char *argv[] = { (char[]){ "picket" },       (char[]){ "vm" },   (char[]){ "--kubeconfig" },
                     (char[]){ "/tmp/config" },  (char[]){ "-v" },   (char[]){ "--wide" },
                     (char[]){ "--server=a:1" }, (char[]){ "web1" }, NULL };
    struct cli c = { .verb = "get" };

    (void)state;
    optind = 0;
    assert_int_equal(cli_getopt(&c, 8, argv, "", longs), 7);
    assert_int_equal(cli_getopt(&c, 8, argv, "", longs), -1);
    assert_string_equal(c.config, "/tmp/config");
    assert_string_equal(c.server, "a:1");
    assert_int_equal(c.verbose, 1);
    assert_int_equal(8 - optind, 2);
    assert_string_equal(argv[optind], "vm");
    assert_string_equal(argv[optind + 1], "web1");
}

static void queries_are_escaped(void **state)
{
    struct buf q = { 0 };

    (void)state;
    cli_query(&q, "labelSelector", "a in (x,y)");
    cli_query(&q, "fieldSelector", NULL);
    cli_query(&q, "limit", "5");
    assert_string_equal(buf_cstr(&q), "labelSelector=a%20in%20%28x%2Cy%29&limit=5");
    buf_done(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references),
        cmocka_unit_test(all_means_every_kind),
        cmocka_unit_test(suggestions_are_near_or_none),
        cmocka_unit_test(distances),
        cmocka_unit_test(every_error_has_its_exit_code),
        cmocka_unit_test(errors_that_are_not_about_input_have_advice),
        cmocka_unit_test(common_options_are_taken_anywhere),
        cmocka_unit_test(queries_are_escaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
