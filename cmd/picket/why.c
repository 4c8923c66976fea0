/* picket why: collects what why_plan.c needs. */

#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "cmd/picket/why_plan.h"

struct refs {
    struct cli *cli;
    json_t *missing;
};

static void check_ref(void *ctx, const char *kind, const char *name, const char *path)
{
    struct refs *r = ctx;
    const struct kind *k = kind_find(kind);
    struct err err = { 0 };

    if (k != NULL && cli_get(r->cli, k->plural, name, NULL, &err) == ERR_NOT_FOUND) {
        (void)json_array_append_new(
            r->missing, json_pack("{s:s, s:s, s:s}", "kind", kind, "name", name, "path", path));
    }
}

/* Lists that make the answer better; an answer without them is still one. */
static json_t *try_list(struct cli *c, const char *plural)
{
    struct err err = { 0 };
    json_t *items = NULL;

    if (cli_list(c, plural, NULL, NULL, &items, &err) != 0) {
        cli_say("picket why: without the %s: %s", plural, err.msg);
        return NULL;
    }
    return items;
}

static int why_one(struct cli *c, const struct cli_ref *ref)
{
    struct why_in in = { .kind = ref->kind, .now_wall_ms = clock_wall_ms() };
    struct refs refs = { .cli = c };
    struct err err = { 0 };
    struct buf out = { 0 };
    json_t *obj = NULL, *hosts, *fencings;

    if (cli_get(c, ref->kind->plural, ref->name, &obj, &err) != 0) {
        return cli_fail(c, &err);
    }
    refs.missing = json_array();
    obj_refs(ref->kind, obj, check_ref, &refs);
    hosts = try_list(c, "hosts");
    fencings = try_list(c, "fencings");
    in.obj = obj;
    in.hosts = hosts;
    in.fencings = fencings;
    in.missing = refs.missing;
    why_print(&in, &out);
    cli_flush(&out);
    buf_done(&out);
    json_decref(obj);
    json_decref(hosts);
    json_decref(fencings);
    json_decref(refs.missing);
    return CLI_OK;
}

int verb_why(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { NULL, 0, NULL, 0 } };
    struct cli_refs refs;
    int rc;

    if (cli_getopt(c, argc, argv, "", options) != -1) {
        return cli_usage(c);
    }
    rc = cli_parse_refs(c, argv + optind, (size_t)(argc - optind), &refs);
    if (rc != CLI_OK) {
        return rc;
    }
    for (size_t i = 0; rc == CLI_OK && i < refs.n; i++) {
        if (refs.items[i].name == NULL) {
            rc = cli_bad_usage(c, "which %s? Give its name", refs.items[i].kind->singular);
        }
    }
    if (rc == CLI_OK) {
        rc = cli_connect(c);
    }
    for (size_t i = 0; rc == CLI_OK && i < refs.n; i++) {
        if (i > 0) {
            (void)putchar('\n');
        }
        rc = why_one(c, &refs.items[i]);
    }
    cli_refs_done(&refs);
    return rc;
}
