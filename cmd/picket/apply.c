/* picket apply: many objects in one transaction. */

#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "cmd/picket/manifests.h"
#include "cmd/picket/prune.h"

enum dry_run { DRY_NONE, DRY_CLIENT, DRY_SERVER };

struct apply_args {
    struct manifests ms;
    enum dry_run dry;
    enum cli_output out;
    bool out_given;
    bool prune;
    const char *labels;
};

static void print_result(const json_t *item, enum dry_run dry)
{
    const struct kind *k = kind_find(jget_str(item, "kind", ""));

    (void)printf("%s/%s %s%s\n", k != NULL ? k->singular : jget_str(item, "kind", "?"),
                 jget_str(item, "name", "?"), jget_str(item, "result", "?"),
                 dry == DRY_SERVER ? " (server dry run)" : "");
}

static void print_objects(const struct apply_args *a, const json_t *items)
{
    json_t *objects = json_array();
    json_t *v;
    size_t i;

    json_array_foreach (items, i, v) {
        const struct kind *k = kind_find(jget_str(v, "kind", ""));

        if (a->out == OUT_NAME) {
            (void)printf("%s/%s\n", k != NULL ? k->singular : "?", jget_str(v, "name", "?"));
        }
        (void)json_array_append(objects, json_object_get(v, "object"));
    }
    if (a->out == OUT_JSON || a->out == OUT_YAML) {
        cli_print(a->out, NULL, objects, json_array_size(objects) != 1, true, false);
    }
    json_decref(objects);
}

static int send_all(struct cli *c, const struct apply_args *a)
{
    json_t *body = manifests_body(&a->ms, a->dry == DRY_SERVER);
    struct api_op op = {
        .method = "POST", .target = API_PREFIX "/apply", .body = body, .repeatable = true
    };
    json_t *answer = NULL, *v;
    struct err err = { 0 };
    size_t i;
    int rc = cli_request(c, &op, &answer, &err);

    json_decref(body);
    if (rc != 0) {
        return cli_fail(c, &err);
    }
    json_array_foreach (json_object_get(answer, "warnings"), i, v) {
        cli_warn(c, NULL, json_string_value(v));
    }
    if (a->out_given) {
        print_objects(a, json_object_get(answer, "items"));
    } else {
        json_array_foreach (json_object_get(answer, "items"), i, v) {
            print_result(v, a->dry);
        }
    }
    json_decref(answer);
    return CLI_OK;
}

static int client_dry_run(const struct apply_args *a)
{
    for (size_t i = 0; i < manifest_count(a->ms.m); i++) {
        const json_t *obj = manifest_doc(a->ms.m, i)->obj;
        const struct kind *k = kind_find(jget_str(obj, "kind", ""));

        CHECK(k != NULL); /* checked when it was read */
        (void)printf("%s/%s valid (client dry run)\n", k->singular, obj_name(obj));
    }
    return CLI_OK;
}

static int parse_dry_run(struct cli *c, const char *text, enum dry_run *ret)
{
    if (str_eq(text, "none")) {
        *ret = DRY_NONE;
    } else if (str_eq(text, "client")) {
        *ret = DRY_CLIENT;
    } else if (str_eq(text, "server")) {
        *ret = DRY_SERVER;
    } else {
        return cli_bad_usage(c, "--dry-run=%s: want none, client or server", text);
    }
    return CLI_OK;
}

static int apply_options(struct cli *c, int argc, char **argv, struct apply_args *a)
{
    static const struct option options[] = {
        { "filename", required_argument, NULL, 'f' }, { "dry-run", required_argument, NULL, 1 },
        { "output", required_argument, NULL, 'o' },   { "prune", no_argument, NULL, 2 },
        { "selector", required_argument, NULL, 'l' }, { NULL, 0, NULL, 0 }
    };
    int o, rc = CLI_OK;

    while (rc == CLI_OK && (o = cli_getopt(c, argc, argv, "f:o:l:", options)) != -1) {
        switch (o) {
        case 'f':
            if (!manifests_add(&a->ms, optarg)) {
                rc = cli_bad_usage(c, "more than %d times -f; give a folder", FILES_MAX);
            }
            break;
        case 1:
            rc = parse_dry_run(c, optarg, &a->dry);
            break;
        case 2:
            a->prune = true;
            break;
        case 'l':
            a->labels = optarg;
            break;
        case 'o':
            a->out_given = true;
            if (!cli_parse_output(optarg, &a->out) || a->out == OUT_WIDE) {
                rc = cli_bad_usage(c, "-o %s: want json, yaml or name", optarg);
            }
            break;
        default:
            return cli_usage(c);
        }
    }
    if (rc == CLI_OK && argc != optind) {
        return cli_bad_usage(c, "\"%s\": files are given with -f", argv[optind]);
    }
    if (rc == CLI_OK && a->ms.n_files == 0) {
        return cli_bad_usage(c, "-f FILE says what to apply (a folder and - work too)");
    }
    if (rc == CLI_OK && a->prune != (a->labels != NULL)) {
        return cli_bad_usage(c,
                             "--prune and -l SELECTOR go together: the labels say what the files "
                             "are all of");
    }
    if (rc == CLI_OK && a->prune && a->dry == DRY_CLIENT) {
        return cli_bad_usage(c, "only the cluster knows what would be pruned: --dry-run=server");
    }
    return rc;
}

int verb_apply(struct cli *c, int argc, char **argv)
{
    struct apply_args a = { .dry = DRY_NONE };
    int rc = apply_options(c, argc, argv, &a);

    if (rc != CLI_OK || c->usage_only) {
        return rc;
    }
    rc = manifests_read(c, &a.ms, true);
    if (rc == CLI_OK && a.dry == DRY_CLIENT) {
        rc = client_dry_run(&a);
    } else if (rc == CLI_OK) {
        rc = cli_connect(c);
        rc = rc == CLI_OK ? send_all(c, &a) : rc;
        if (rc == CLI_OK && a.prune) {
            rc = prune_undeclared(c, &a.ms, a.labels, a.dry == DRY_SERVER);
        }
    }
    manifests_done(&a.ms);
    return rc;
}
