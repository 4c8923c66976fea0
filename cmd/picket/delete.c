/* picket delete: by name, from files, by selector, or all of a kind. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "cmd/picket/manifests.h"

#define POLL_MS 200

struct delete_args {
    struct manifests ms;
    const char *labels;
    bool all;
    bool wait;
    bool ignore_missing;
    bool dry_run;
    bool names_only;
    uint64_t timeout_ms;
};

struct target {
    const struct kind *kind;
    char *name;
    char *uid; /* of what was deleted, for the wait */
    bool gone;
};

struct targets {
    struct target *items;
    size_t n;
};

static void add_target(struct targets *ts, const struct kind *k, const char *name)
{
    ts->items = mem_realloc(ts->items, (ts->n + 1) * sizeof(ts->items[0]));
    ts->items[ts->n++] = (struct target){ .kind = k, .name = mem_strdup(name) };
}

static void targets_done(struct targets *ts)
{
    for (size_t i = 0; i < ts->n; i++) {
        free(ts->items[i].name);
        free(ts->items[i].uid);
    }
    free(ts->items);
}

static int targets_from_files(struct cli *c, struct delete_args *a, struct targets *ts)
{
    int rc = manifests_read(c, &a->ms, false);

    for (size_t i = 0; rc == CLI_OK && i < manifest_count(a->ms.m); i++) {
        const struct manifest_doc *d = manifest_doc(a->ms.m, i);
        const struct kind *k;
        struct err err = { 0 };

        if (obj_kind(d->obj, &k, &err) != 0 || *obj_name(d->obj) == 0) {
            cli_say("%s:%u: error: %s", d->source, d->line,
                    err.code != 0 ? err.msg : "metadata.name is missing");
            return CLI_ERROR;
        }
        add_target(ts, k, obj_name(d->obj));
    }
    return rc;
}

static int targets_of_kind(struct cli *c, const struct delete_args *a, const struct kind *k,
                           struct targets *ts)
{
    struct err err = { 0 };
    json_t *items = NULL, *v;
    size_t i;

    if (cli_list(c, k->plural, a->labels, NULL, &items, &err) != 0) {
        return cli_fail(c, &err);
    }
    json_array_foreach (items, i, v) {
        add_target(ts, k, obj_name(v));
    }
    json_decref(items);
    return CLI_OK;
}

static int collect(struct cli *c, struct delete_args *a, char **args, size_t n, struct targets *ts)
{
    struct cli_refs refs;
    int rc;

    if (a->ms.n_files > 0) {
        return n > 0 ? cli_bad_usage(c, "give files or names, not both")
                     : targets_from_files(c, a, ts);
    }
    if (n == 1 && str_eq(args[0], "all")) {
        return cli_bad_usage(c,
                             "\"all\" is not a kind here: name the kinds whose objects shall go");
    }
    rc = cli_parse_refs(c, args, n, &refs);
    for (size_t i = 0; rc == CLI_OK && i < refs.n; i++) {
        if (refs.items[i].name != NULL) {
            add_target(ts, refs.items[i].kind, refs.items[i].name);
        } else if (a->labels == NULL && !a->all) {
            rc = cli_bad_usage(c, "which %s? Give names, -l SELECTOR, or --all",
                               refs.items[i].kind->plural);
        } else {
            rc = targets_of_kind(c, a, refs.items[i].kind, ts);
        }
    }
    cli_refs_done(&refs);
    return rc;
}

static int delete_one(struct cli *c, const struct delete_args *a, struct target *t)
{
    json_t *body = a->dry_run ? json_pack("{s:s, s:s, s:[s]}", "kind", "DeleteOptions",
                                          "apiVersion", "v1", "dryRun", "All")
                              : NULL;
    struct api_op op = { .method = "DELETE",
                         .plural = t->kind->plural,
                         .name = t->name,
                         .body = body,
                         .query = a->dry_run ? "dryRun=All" : NULL };
    struct err err = { 0 };
    json_t *obj = NULL;
    int rc = cli_request(c, &op, &obj, &err);

    json_decref(body);
    if (rc == ERR_NOT_FOUND && a->ignore_missing) {
        t->gone = true;
        return CLI_OK;
    }
    if (rc != 0) {
        t->gone = true; /* nothing to wait for */
        return cli_fail(c, &err);
    }
    t->uid = mem_strdup(jget_str(obj, "metadata.uid", jget_str(obj, "details.uid", "")));
    json_decref(obj);
    if (a->names_only) {
        (void)printf("%s/%s\n", t->kind->singular, t->name);
    } else {
        (void)printf("%s/%s deleted%s\n", t->kind->singular, t->name,
                     a->dry_run ? " (server dry run)" : "");
    }
    (void)fflush(stdout);
    return CLI_OK;
}

/* Does it still exist?  What holds it goes to `why`. */
static int still_there(struct cli *c, struct target *t, struct buf *why, struct err *err)
{
    json_t *obj = NULL, *v;
    size_t i;
    int rc = cli_get(c, t->kind->plural, t->name, &obj, err);

    if (rc == ERR_NOT_FOUND) {
        t->gone = true;
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    t->gone = *t->uid != 0 && !str_eq(jget_str(obj, "metadata.uid", ""), t->uid);
    buf_clear(why);
    json_array_foreach (jget(obj, "metadata.finalizers"), i, v) {
        buf_printf(why, "%s%s", i > 0 ? ", " : "", json_string_value(v));
    }
    json_decref(obj);
    return 0;
}

static int wait_gone(struct cli *c, struct target *t, uint64_t deadline, struct buf *why)
{
    struct err err = { 0 };

    while (!t->gone) {
        if (still_there(c, t, why, &err) != 0) {
            return cli_fail(c, &err);
        }
        if (t->gone) {
            break;
        }
        if (clock_now_ms() >= deadline) {
            cli_say("picket delete: %s/%s is marked for deletion and still there%s%s; it goes when "
                    "that is done (see `picket describe %s %s`)",
                    t->kind->singular, t->name, why->len > 0 ? ": waits for " : "", buf_cstr(why),
                    t->kind->singular, t->name);
            return CLI_TIMEOUT;
        }
        cli_sleep(c, POLL_MS);
    }
    return CLI_OK;
}

static int delete_all(struct cli *c, const struct delete_args *a, struct targets *ts)
{
    uint64_t deadline = clock_now_ms() + a->timeout_ms;
    struct buf why = { 0 };
    int exit_code = CLI_OK;

    for (size_t i = 0; i < ts->n; i++) {
        int rc = delete_one(c, a, &ts->items[i]);

        exit_code = rc != CLI_OK ? rc : exit_code;
    }
    for (size_t i = 0; a->wait && !a->dry_run && i < ts->n; i++) {
        int rc = wait_gone(c, &ts->items[i], deadline, &why);

        exit_code = rc != CLI_OK ? rc : exit_code;
    }
    buf_done(&why);
    return exit_code;
}

static int delete_options(struct cli *c, int argc, char **argv, struct delete_args *a)
{
    enum { O_ALL = 1, O_WAIT, O_IGNORE, O_DRY, O_TIMEOUT };
    static const struct option options[] = { { "filename", required_argument, NULL, 'f' },
                                             { "selector", required_argument, NULL, 'l' },
                                             { "output", required_argument, NULL, 'o' },
                                             { "all", no_argument, NULL, O_ALL },
                                             { "wait", optional_argument, NULL, O_WAIT },
                                             { "ignore-not-found", no_argument, NULL, O_IGNORE },
                                             { "dry-run", required_argument, NULL, O_DRY },
                                             { "timeout", required_argument, NULL, O_TIMEOUT },
                                             { NULL, 0, NULL, 0 } };
    int o;
    bool ok = true;

    *a = (struct delete_args){ .wait = true, .timeout_ms = 60000 };
    while (ok && (o = cli_getopt(c, argc, argv, "f:l:o:", options)) != -1) {
        switch (o) {
        case 'f':
            ok = manifests_add(&a->ms, optarg);
            break;
        case 'l':
            a->labels = optarg;
            break;
        case 'o':
            a->names_only = ok = str_eq(optarg, "name");
            break;
        case O_ALL:
            a->all = true;
            break;
        case O_WAIT:
            a->wait = optarg == NULL || str_eq(optarg, "true");
            break;
        case O_IGNORE:
            a->ignore_missing = true;
            break;
        case O_DRY:
            a->dry_run = ok = str_eq(optarg, "server");
            break;
        case O_TIMEOUT:
            ok = str_parse_duration(optarg, &a->timeout_ms);
            break;
        default:
            return cli_usage(c);
        }
    }
    return ok ? CLI_OK
              : cli_bad_usage(c, "option %s: that value is not possible", argv[optind - 1]);
}

int verb_delete(struct cli *c, int argc, char **argv)
{
    struct delete_args a;
    struct targets ts = { 0 };
    int rc = delete_options(c, argc, argv, &a);

    if (rc != CLI_OK || c->usage_only) {
        return rc;
    }
    if (a.ms.n_files == 0 && argc == optind) {
        return cli_bad_usage(c, "what? Give KIND NAME, KIND/NAME, or -f FILE");
    }
    rc = cli_connect(c);
    if (rc == CLI_OK) {
        rc = collect(c, &a, argv + optind, (size_t)(argc - optind), &ts);
    }
    if (rc == CLI_OK && ts.n == 0) {
        cli_say("No objects found.");
    }
    if (rc == CLI_OK) {
        rc = delete_all(c, &a, &ts);
    }
    targets_done(&ts);
    manifests_done(&a.ms);
    return rc;
}
