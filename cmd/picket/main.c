/* picket: the command line. */

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/str.h"
#include "base/version.h"
#include "cmd/picket/cli.h"

static const char exit_codes[] =
    "Exit codes:\n"
    "  0  done\n"
    "  1  bad input, not permitted, or another error (diff: there are differences)\n"
    "  2  wrong usage, or a question was not answered with yes (diff: an error)\n"
    "  3  there is no such object\n"
    "  4  conflict, or refused by the safety rules\n"
    "  5  no member reachable, or no quorum: it did not happen\n"
    "  6  outcome unknown: it may have happened; read back\n"
    "  7  a deadline passed while waiting\n";

void cli_print_usage(const struct cli_verb *v, FILE *f)
{
    const char *line = v->usage;
    const char *lead = "Usage: ";

    do {
        size_t n = strcspn(line, "\n");

        (void)fprintf(f, "%spicket %s%s%.*s\n", lead, v->name, n > 0 ? " " : "", (int)n, line);
        lead = "       ";
        line += n;
    } while (*line++ == '\n');
    (void)fprintf(f, "\n%c%s.\n%s%s", v->summary[0] >= 'a' ? v->summary[0] - 'a' + 'A' : 'A',
                  v->summary + 1, v->help[0] == '\n' ? "" : "\n", v->help);
}

static void print_group(const char *group, FILE *f)
{
    (void)fprintf(f, "\n%s:\n", group);
    for (const struct cli_verb *v = cli_verbs(); v->name != NULL; v++) {
        if (str_eq(v->group, group)) {
            (void)fprintf(f, "  %-14s %s\n", v->name, v->summary);
        }
    }
}

/* Is there a verb of the same group before it? */
static bool group_began(const struct cli_verb *v)
{
    for (const struct cli_verb *w = cli_verbs(); w != v; w++) {
        if (str_eq(w->group, v->group)) {
            return true;
        }
    }
    return false;
}

static void print_help(FILE *f)
{
    (void)fprintf(f, "picket keeps Xen virtual machines running when hosts die.\n"
                     "\n"
                     "Usage: picket VERB [options]\n");
    for (const struct cli_verb *v = cli_verbs(); v->name != NULL; v++) {
        if (v->group != NULL && !group_began(v)) {
            print_group(v->group, f);
        }
    }
    (void)fprintf(f, "\n`picket help VERB` tells more, `picket help exit-codes` what the exit code "
                     "means.\n"
                     "Start here: picket dev up && picket apply -f examples/book-cluster.yaml && "
                     "picket status\n");
}

struct verb_words {
    const struct cli_verb *at;
    bool help; /* it is no verb of the table */
};

static const char *next_verb(void *ctx)
{
    struct verb_words *w = ctx;

    if (w->at->name != NULL && !str_starts(w->at->name, "__")) {
        return (w->at++)->name;
    }
    if (w->help) {
        return NULL;
    }
    w->help = true;
    return "help";
}

static int unknown_verb(const char *name)
{
    static const struct {
        const char *word;
        const char *verb;
    } others[] = { { "create", "apply" }, { "list", "get" },      { "ls", "get" },
                   { "rm", "delete" },    { "show", "describe" }, { "start", "apply" },
                   { "kill", "fence" },   { "stonith", "fence" }, { "evacuate", "drain" },
                   { "move", "migrate" }, { "info", "status" },   { "watch", "get -w" } };
    struct verb_words words = { .at = cli_verbs() };
    const char *near = NULL;

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (str_eq(others[i].word, name)) {
            near = others[i].verb;
        }
    }
    if (near == NULL) {
        near = cli_nearest(name, next_verb, &words);
    }
    if (near != NULL) {
        cli_say("picket: there is no verb \"%s\"; did you mean `picket %s`?", name, near);
    } else {
        cli_say("picket: there is no verb \"%s\"; `picket help` lists them", name);
    }
    return CLI_USAGE;
}

static int help(int argc, char **argv)
{
    const struct cli_verb *v;

    if (argc < 2) {
        print_help(stdout);
        return CLI_OK;
    }
    if (str_eq(argv[1], "exit-codes")) {
        (void)fputs(exit_codes, stdout);
        return CLI_OK;
    }
    v = cli_verb_find(argv[1]);
    if (v == NULL) {
        return unknown_verb(argv[1]);
    }
    cli_print_usage(v, stdout);
    return CLI_OK;
}

static int server_version(struct cli *c, json_t *out)
{
    struct api_op op = { .method = "GET", .target = "/version" };
    struct err err = { 0 };
    json_t *v = NULL;
    int rc;

    if (cli_connect(c) != CLI_OK) {
        return CLI_ERROR;
    }
    rc = cli_request(c, &op, &v, &err);
    if (rc != 0) {
        return cli_fail(c, &err);
    }
    (void)json_object_set_new(out, "server", v);
    return CLI_OK;
}

int verb_version(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "client", no_argument, NULL, 1 },
                                             { "output", required_argument, NULL, 'o' },
                                             { NULL, 0, NULL, 0 } };
    enum cli_output out = OUT_TABLE;
    bool client_only = false;
    json_t *v;
    int o, rc = CLI_OK;

    while ((o = cli_getopt(c, argc, argv, "o:", options)) != -1) {
        if (o == 1) {
            client_only = true;
        } else if (o != 'o') {
            return cli_usage(c);
        } else if (!cli_parse_output(optarg, &out)) {
            return cli_bad_usage(c, "-o %s: want json or yaml", optarg);
        }
    }
    v = json_pack("{s:s}", "client", PICKET_VERSION);
    if (out == OUT_TABLE) {
        (void)printf("client: %s\n", PICKET_VERSION);
        (void)fflush(stdout);
    }
    rc = client_only ? CLI_OK : server_version(c, v);
    if (out == OUT_JSON) {
        cli_print_json(v);
    } else if (out == OUT_YAML) {
        cli_print_yaml(v);
    } else if (rc == CLI_OK && !client_only) {
        (void)printf("server: %s\n",
                     jget_str(v, "server.picketVersion", jget_str(v, "server.gitVersion", "?")));
    }
    json_decref(v);
    return rc;
}

/* Where the verb stands: behind options that every verb has. */
static int verb_index(int argc, char **argv)
{
    static const char *const with_value[] = { "--kubeconfig", "--context", "--server",
                                              "--request-timeout" };
    int i = 1;

    while (i < argc && argv[i][0] == '-' && argv[i][1] != 0) {
        int step = 1;

        for (size_t k = 0; k < sizeof(with_value) / sizeof(with_value[0]); k++) {
            step = str_eq(argv[i], with_value[k]) ? 2 : step;
        }
        i += step;
    }
    return i;
}

/* "picket -v get vm" becomes "picket get -v vm". */
static void verb_first(char **argv, int at)
{
    char *verb = argv[at];

    memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof(argv[0]));
    argv[1] = verb;
}

static int run_verb(int argc, char **argv)
{
    struct cli c = { 0 };
    const struct cli_verb *v = cli_verb_find(argv[1]);
    int rc;

    if (v == NULL) {
        return unknown_verb(argv[1]);
    }
    c.verb = v->name;
    argv[1] = argv[0]; /* getopt's messages begin with the program's name */
    rc = v->run(&c, argc - 1, argv + 1);
    cli_done(&c);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return rc == CLI_OK ? CLI_ERROR : rc;
    }
    return rc;
}

int main(int argc, char **argv)
{
    int at = verb_index(argc, argv);

    lg_init("picket");
    lg_set_level(getenv("PICKET_LOG") != NULL ? LG_DEBUG : LG_ERR);
    (void)signal(SIGPIPE, SIG_DFL);
    if (argc > 1 && (str_eq(argv[1], "--help") || str_eq(argv[1], "-h"))) {
        print_help(stdout);
        return CLI_OK;
    }
    if (argc > 1 && str_eq(argv[1], "--version")) {
        (void)printf("picket %s\n", PICKET_VERSION);
        return CLI_OK;
    }
    if (at >= argc) {
        print_help(stderr);
        return CLI_USAGE;
    }
    verb_first(argv, at);
    if (str_eq(argv[1], "help")) {
        return help(argc - 1, argv + 1);
    }
    return run_verb(argc, argv);
}
