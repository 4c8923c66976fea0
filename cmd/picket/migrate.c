/* picket migrate: creates a Migration and follows it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"

struct migrate_args {
    const char *vm;
    const char *to;
    const char *mode;
    const char *timeout;
    const char *bandwidth; /* or NULL */
    uint64_t timeout_ms;
    bool wait;
};

struct migration_wait {
    const char *name;
    char phase[32];
    char message[256];
    char target[128];
    bool gone;
};

static bool is_end(const char *phase)
{
    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed") || str_eq(phase, "Canceled");
}

static bool migration_done(void *ctx, const json_t *items)
{
    struct migration_wait *w = ctx;
    size_t i;
    json_t *v;

    json_array_foreach (items, i, v) {
        const char *phase = jget_str(v, "status.phase", "Pending");

        if (!str_eq(obj_name(v), w->name)) {
            continue;
        }
        if (!str_eq(phase, w->phase)) {
            cli_say("  %s%s%s", phase, *jget_str(v, "status.message", "") != 0 ? ": " : "",
                    jget_str(v, "status.message", ""));
        }
        (void)str_copy(w->phase, sizeof(w->phase), phase);
        (void)str_copy(w->message, sizeof(w->message), jget_str(v, "status.message", ""));
        (void)str_copy(w->target, sizeof(w->target), jget_str(v, "status.target", "?"));
        return is_end(phase);
    }
    w->gone = true;
    return true;
}

static int follow(struct cli *c, const struct migrate_args *a, const char *name)
{
    struct migration_wait mw = { .name = name };
    struct cli_wait w = { .plural = "migrations",
                          .timeout_ms = a->timeout_ms + 30000,
                          .done = migration_done,
                          .ctx = &mw };
    int rc = cli_wait(c, &w);

    if (rc != CLI_OK) {
        cli_say("picket migrate: migration/%s is not over yet; it goes on: `picket get migrations "
                "-w`",
                name);
        return rc;
    }
    if (mw.gone) {
        cli_say("picket migrate: migration/%s was deleted", name);
        return CLI_NOT_FOUND;
    }
    if (!str_eq(mw.phase, "Succeeded")) {
        cli_say("picket migrate: migration/%s %s: %s", name, mw.phase, mw.message);
        cli_say("  `picket why vm %s` tells where the VM is now.", a->vm);
        return CLI_CONFLICT;
    }
    (void)printf("virtualmachine/%s migrated to %s\n", a->vm, mw.target);
    return CLI_OK;
}

/* Is what is named there?  A Migration of nothing would only fail later. */
static int look(struct cli *c, const char *plural, const char *name)
{
    struct api_op op = { .method = "GET", .plural = plural, .name = name };
    struct err err = { 0 };
    json_t *obj = NULL;
    int rc = cli_request(c, &op, &obj, &err);

    json_decref(obj);
    return rc == 0 ? CLI_OK : cli_fail(c, &err);
}

static int create(struct cli *c, const struct migrate_args *a)
{
    char uuid[37], name[300];
    struct api_op op = { .method = "POST", .plural = "migrations", .query = "fieldManager=picket" };
    struct err err = { 0 };
    json_t *body;
    int rc;

    clock_uuid(uuid);
    (void)snprintf(name, sizeof(name), "%s-%.8s", a->vm, uuid);
    body = json_pack("{s:s, s:s, s:{s:s}, s:{s:s, s:s, s:s, s:s}}", "apiVersion", API_VERSION,
                     "kind", "Migration", "metadata", "name", name, "spec", "vm", a->vm, "target",
                     a->to, "mode", a->mode, "timeout", a->timeout);
    if (a->bandwidth != NULL) {
        jset(body, "spec.bandwidth", json_string(a->bandwidth));
    }
    op.body = body;
    rc = cli_request(c, &op, NULL, &err);
    json_decref(body);
    if (rc != 0) {
        return cli_fail(c, &err);
    }
    (void)printf("migration/%s created\n", name);
    (void)fflush(stdout);
    return a->wait ? follow(c, a, name) : CLI_OK;
}

int verb_migrate(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "to", required_argument, NULL, 't' },
                                             { "cold", no_argument, NULL, 1 },
                                             { "live", no_argument, NULL, 2 },
                                             { "timeout", required_argument, NULL, 3 },
                                             { "no-wait", no_argument, NULL, 4 },
                                             { "auto", no_argument, NULL, 5 },
                                             { "bandwidth", required_argument, NULL, 6 },
                                             { NULL, 0, NULL, 0 } };
    struct migrate_args a = {
        .to = "Auto", .mode = "Auto", .timeout = "10m", .timeout_ms = 600000, .wait = true
    };
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "t:", options)) != -1) {
        switch (o) {
        case 't':
            a.to = optarg;
            break;
        case 1:
            a.mode = "Cold";
            break;
        case 2:
            a.mode = "Live";
            break;
        case 3:
            a.timeout = optarg;
            if (!str_parse_duration(optarg, &a.timeout_ms)) {
                return cli_bad_usage(c, "--timeout %s: want a duration such as 10m", optarg);
            }
            break;
        case 4:
            a.wait = false;
            break;
        case 5:
            a.mode = "Auto";
            break;
        case 6:
            a.bandwidth = optarg;
            break;
        default:
            return cli_usage(c);
        }
    }
    if (argc - optind < 1 || argc - optind > 2) {
        return cli_bad_usage(c, "which VM? Give its name, and the host if you want a certain one");
    }
    if (argc - optind == 2) {
        a.to = argv[optind + 1];
    }
    a.vm = strchr(argv[optind], '/') != NULL ? strchr(argv[optind], '/') + 1 : argv[optind];
    rc = cli_connect(c);
    if (rc == CLI_OK) {
        rc = look(c, "virtualmachines", a.vm);
    }
    if (rc == CLI_OK && !str_eq(a.to, "Auto")) {
        rc = look(c, "hosts", a.to);
    }
    return rc == CLI_OK ? create(c, &a) : rc;
}
