/* plan: what would happen if hosts failed, without anything happening. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"

static json_t *hosts_of(const char *list)
{
    json_t *out = json_array();
    char *copy = mem_strdup(list);
    char *save = NULL;

    for (char *p = strtok_r(copy, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        (void)json_array_append_new(out, json_string(p));
    }
    free(copy);
    return out;
}

static int plan_go(struct cli *c, const char *fail)
{
    json_t *body = json_pack("{s:o}", "fail", hosts_of(fail));
    struct api_op op = {
        .method = "POST", .target = API_PREFIX "/plan", .body = body, .repeatable = true
    };
    json_t *answer = NULL;
    struct err err = { 0 };
    int rc = cli_request(c, &op, &answer, &err);

    json_decref(body);
    if (rc != 0) {
        return cli_fail(c, &err);
    }
    (void)fputs(jget_str(answer, "text", ""), stdout);
    json_decref(answer);
    return CLI_OK;
}

int verb_plan(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "fail", required_argument, NULL, 'f' },
                                             { NULL, 0, NULL, 0 } };
    const char *fail = "";
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "f:", options)) != -1) {
        if (o != 'f') {
            return cli_usage(c);
        }
        fail = optarg;
    }
    if (optind != argc) {
        return cli_bad_usage(c, "hosts that fail are named with --fail HOST[,HOST...]");
    }
    rc = cli_connect(c);
    return rc == CLI_OK ? plan_go(c, fail) : rc;
}

int verb_clear_conflict(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { NULL, 0, NULL, 0 } };
    struct api_op op = { .method = "POST", .plural = "hosts", .sub = "clear-conflict" };
    struct err err = { 0 };
    int rc;

    if (cli_getopt(c, argc, argv, "", options) != -1) {
        return cli_usage(c);
    }
    if (argc - optind != 1) {
        return cli_bad_usage(c, "which host? Give one name");
    }
    op.name = argv[optind];
    op.body = json_object();
    rc = cli_connect(c);
    if (rc == CLI_OK && cli_request(c, &op, NULL, &err) != 0) {
        rc = cli_fail(c, &err);
    } else if (rc == CLI_OK) {
        (void)printf("host/%s: conflict cleared\n", op.name);
    }
    json_decref((json_t *)(uintptr_t)op.body);
    return rc;
}
