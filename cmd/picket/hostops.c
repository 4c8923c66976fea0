/* Verbs about hosts: fence, confirm-off, cordon, uncordon, drain. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "cmd/picket/fence.h"

static int one_host(struct cli *c, int argc, char **argv, const char **ret)
{
    const char *name;

    if (argc - optind != 1) {
        return cli_bad_usage(c, "which host? Give one name (`picket get hosts` lists them)");
    }
    name = argv[optind];
    if (str_starts(name, "host/") || str_starts(name, "hosts/")) {
        name = strchr(name, '/') + 1;
    }
    if (!str_is_name(name)) {
        return cli_bad_usage(c, "\"%s\" is not the name of a host", name);
    }
    *ret = name;
    return CLI_OK;
}

static int post(struct cli *c, const char *host, const char *sub, json_t *body, json_t **ret,
                struct err *err)
{
    struct api_op op = {
        .method = "POST", .plural = "hosts", .name = host, .sub = sub, .body = body
    };
    int rc = cli_request(c, &op, ret, err);

    json_decref(body);
    return rc;
}

static int read_host(struct cli *c, const char *name, json_t **ret)
{
    struct err err = { 0 };

    if (cli_get(c, "hosts", name, ret, &err) != 0) {
        return cli_fail(c, &err);
    }
    return CLI_OK;
}

/* Nothing can be fenced or confirmed off that never was there.  CLI_CONFLICT after a message. */
static int check_registered(struct cli *c, const json_t *host)
{
    if (jget_int(host, "status.incarnation", 0) > 0) {
        return CLI_OK;
    }
    cli_say("picket %s: %s has never registered, so it holds nothing", c->verb, obj_name(host));
    cli_say("  Start picket-agent there; `picket why host %s` tells more.", obj_name(host));
    return CLI_CONFLICT;
}

/* ---- fence ---- */

struct fence_args {
    const char *reason;
    bool yes;
    bool wait;
    uint64_t timeout_ms;
};

struct fence_wait {
    const char *name;
    char said[256];
    char state[32];
    char proof[32];
};

static bool fencing_done(void *ctx, const json_t *items)
{
    struct fence_wait *w = ctx;
    size_t i;
    json_t *v;

    json_array_foreach (items, i, v) {
        const char *message = jget_str(v, "status.message", "");

        if (!str_eq(obj_name(v), w->name)) {
            continue;
        }
        if (*message != 0 && !str_eq(message, w->said)) {
            cli_say("  %s", message);
            (void)str_copy(w->said, sizeof(w->said), message);
        }
        (void)str_copy(w->state, sizeof(w->state), jget_str(v, "status.state", ""));
        (void)str_copy(w->proof, sizeof(w->proof), jget_str(v, "status.proof", "None"));
        return !str_eq(w->state, "Open");
    }
    return false;
}

static int follow_fencing(struct cli *c, const char *host, const char *name, uint64_t timeout_ms)
{
    struct fence_wait fw = { .name = name };
    struct cli_wait w = {
        .plural = "fencings", .timeout_ms = timeout_ms, .done = fencing_done, .ctx = &fw
    };
    int rc = cli_wait(c, &w);

    if (rc != CLI_OK) {
        cli_say("picket %s: fencing/%s is not over after the timeout; it goes on: `picket why "
                "host %s`, `picket get fencings -w`",
                c->verb, name, host);
        return rc;
    }
    (void)printf("fencing/%s %s, proof %s\n", name, fw.state, fw.proof);
    if (!str_eq(fw.state, "Succeeded")) {
        cli_say("  it proved nothing: `picket why host %s` says how the host is now", host);
        return CLI_CONFLICT;
    }
    return CLI_OK;
}

static void say_guests(const json_t *host)
{
    const char *name = obj_name(host);

    cli_say("%s (incarnation %" PRId64 ", %s) has %" PRId64
            " guests.  Fencing cuts its power: they "
            "die, and are started on other hosts once it is proved off.",
            name, jget_int(host, "status.incarnation", 0),
            jget_str(host, "status.incarnationState", "None"), jget_int(host, "status.guests", 0));
    cli_say("To empty it gently use `picket drain %s` instead.", name);
}

static int fence_go(struct cli *c, const char *name, const struct fence_args *a)
{
    struct err err = { 0 };
    json_t *host = NULL, *fencing = NULL;
    char question[320];
    char *id;
    int64_t incarnation;
    int rc = read_host(c, name, &host);

    if (rc != CLI_OK) {
        return rc;
    }
    rc = check_registered(c, host);
    if (rc != CLI_OK) {
        json_decref(host);
        return rc;
    }
    incarnation = jget_int(host, "status.incarnation", 0);
    (void)snprintf(question, sizeof(question), "Fence %s?", name);
    if (!a->yes) {
        say_guests(host);
        if (!cli_confirm(question)) {
            json_decref(host);
            cli_say("picket fence: not confirmed, nothing was done; --yes answers the question");
            return CLI_USAGE;
        }
    }
    json_decref(host);
    /* That very boot: a request that is repeated must not hit the next one. */
    if (post(c, name, "fence",
             json_pack("{s:s, s:I}", "reason", a->reason, "incarnation", (json_int_t)incarnation),
             &fencing, &err) != 0) {
        return cli_fail(c, &err);
    }
    id = mem_strdup(obj_name(fencing));
    json_decref(fencing);
    (void)printf("fencing/%s opened\n", *id != 0 ? id : name);
    if (a->wait && *id != 0) {
        rc = follow_fencing(c, name, id, a->timeout_ms);
    }
    free(id);
    return rc;
}

int verb_fence(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "reason", required_argument, NULL, 'r' },
                                             { "yes", no_argument, NULL, 'y' },
                                             { "wait", no_argument, NULL, 1 },
                                             { "timeout", required_argument, NULL, 2 },
                                             { NULL, 0, NULL, 0 } };
    struct fence_args a = { .timeout_ms = 120000 };
    const char *name = NULL;
    int o, rc;

    if (argc > 1 && str_eq(argv[1], "test")) {
        return fence_test(c, argc - 1, argv + 1);
    }
    while ((o = cli_getopt(c, argc, argv, "r:y", options)) != -1) {
        switch (o) {
        case 'r':
            a.reason = optarg;
            break;
        case 'y':
            a.yes = true;
            break;
        case 1:
            a.wait = true;
            break;
        case 2:
            if (!str_parse_duration(optarg, &a.timeout_ms)) {
                return cli_bad_usage(c, "--timeout %s: want a duration such as 2m", optarg);
            }
            break;
        default:
            return cli_usage(c);
        }
    }
    rc = one_host(c, argc, argv, &name);
    if (rc == CLI_OK && (a.reason == NULL || *a.reason == 0)) {
        return cli_bad_usage(c, "--reason TEXT is kept for the record: why is %s fenced?", name);
    }
    if (rc == CLI_OK) {
        rc = cli_connect(c);
    }
    return rc == CLI_OK ? fence_go(c, name, &a) : rc;
}

/* ---- confirm-off ---- */

struct confirm_args {
    uint64_t incarnation;
    const char *statement;
    bool yes;
};

/* What the operator puts his name to. */
static void say_assertion(const char *name, uint64_t incarnation)
{
    cli_say("You assert: incarnation %" PRIu64 " of %s is OFF: no power, or no way back to its "
            "disks and its network.",
            incarnation, name);
    cli_say(
        "All its locks are released at once and its VMs start elsewhere.  If it still runs, two "
        "copies of each VM write to the same disk, and the data is lost.");
}

static int check_incarnation(struct cli *c, const char *name, const struct confirm_args *a)
{
    json_t *host = NULL;
    int64_t now;
    int rc = read_host(c, name, &host);

    if (rc != CLI_OK) {
        return rc;
    }
    now = jget_int(host, "status.incarnation", 0);
    rc = check_registered(c, host);
    if (rc != CLI_OK) {
        json_decref(host);
        return rc;
    }
    if (a->incarnation == 0) {
        cli_say("picket confirm-off: which incarnation? %s is now incarnation %" PRId64 " (%s):",
                name, now, jget_str(host, "status.incarnationState", "None"));
        cli_say("  picket confirm-off %s --incarnation %" PRId64, name, now);
        rc = CLI_USAGE;
    } else if ((int64_t)a->incarnation != now) {
        cli_say("picket confirm-off: %s is incarnation %" PRId64 " now, not %" PRIu64
                ": look at it once more, it may have been started again",
                name, now, a->incarnation);
        rc = CLI_CONFLICT;
    }
    json_decref(host);
    return rc;
}

static int confirm_go(struct cli *c, const char *name, const struct confirm_args *a)
{
    struct err err = { 0 };
    char text[512];
    int rc = check_incarnation(c, name, a);

    if (rc != CLI_OK) {
        return rc;
    }
    say_assertion(name, a->incarnation);
    if (!a->yes && !cli_confirm("Is it off?")) {
        cli_say("picket confirm-off: not confirmed, nothing was done; --yes answers the question");
        return CLI_USAGE;
    }
    (void)snprintf(text, sizeof(text), "%s",
                   a->statement != NULL ? a->statement : "confirmed off with picket confirm-off: ");
    if (a->statement == NULL) {
        size_t n = strlen(text);

        (void)snprintf(text + n, sizeof(text) - n, "%s incarnation %" PRIu64, name, a->incarnation);
    }
    if (post(c, name, "confirm-off",
             json_pack("{s:I, s:s}", "incarnation", (json_int_t)a->incarnation, "statement", text),
             NULL, &err) != 0) {
        return cli_fail(c, &err);
    }
    (void)printf("host/%s incarnation %" PRIu64 " confirmed off\n", name, a->incarnation);
    return CLI_OK;
}

int verb_confirm(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "incarnation", required_argument, NULL, 'i' },
                                             { "statement", required_argument, NULL, 's' },
                                             { "yes", no_argument, NULL, 'y' },
                                             { NULL, 0, NULL, 0 } };
    struct confirm_args a = { 0 };
    const char *name = NULL;
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "i:s:y", options)) != -1) {
        switch (o) {
        case 'i':
            if (!str_parse_u64(optarg, &a.incarnation) || a.incarnation == 0) {
                return cli_bad_usage(c, "--incarnation %s: want its number", optarg);
            }
            break;
        case 's':
            a.statement = optarg;
            break;
        case 'y':
            a.yes = true;
            break;
        default:
            return cli_usage(c);
        }
    }
    rc = one_host(c, argc, argv, &name);
    if (rc == CLI_OK) {
        rc = cli_connect(c);
    }
    return rc == CLI_OK ? confirm_go(c, name, &a) : rc;
}

/* ---- cordon, uncordon ---- */

static int patch_host(struct cli *c, const char *name, json_t *spec, const char *what)
{
    struct err err = { 0 };

    if (cli_merge(c, "hosts", name, json_pack("{s:o}", "spec", spec), NULL, &err) != 0) {
        return cli_fail(c, &err);
    }
    (void)printf("host/%s %s\n", name, what);
    (void)fflush(stdout);
    return CLI_OK;
}

static int only_host(struct cli *c, int argc, char **argv, const char **name)
{
    static const struct option options[] = { { NULL, 0, NULL, 0 } };
    int rc;

    if (cli_getopt(c, argc, argv, "", options) != -1) {
        return cli_usage(c);
    }
    rc = one_host(c, argc, argv, name);
    return rc == CLI_OK ? cli_connect(c) : rc;
}

int verb_cordon(struct cli *c, int argc, char **argv)
{
    const char *name = NULL;
    int rc = only_host(c, argc, argv, &name);

    if (rc != CLI_OK || c->usage_only) {
        return rc;
    }
    return patch_host(c, name, json_pack("{s:b}", "unschedulable", 1), "cordoned");
}

int verb_uncordon(struct cli *c, int argc, char **argv)
{
    const char *name = NULL;
    int rc = only_host(c, argc, argv, &name);

    if (rc != CLI_OK || c->usage_only) {
        return rc;
    }
    return patch_host(c, name, json_pack("{s:b, s:b}", "unschedulable", 0, "maintenance", 0),
                      "uncordoned");
}

/* ---- drain ---- */

struct drain_wait {
    const char *host;
    char left[1024];
    size_t most; /* that were there at once */
};

/* Done when no VM is on the host any more, nor assigned to it. */
static bool drained(void *ctx, const json_t *items)
{
    struct drain_wait *w = ctx;
    char left[1024] = "";
    size_t i, n = 0;
    json_t *v;

    json_array_foreach (items, i, v) {
        size_t len = strlen(left);
        const char *phase = jget_str(v, "status.phase", "");

        if (!str_eq(jget_str(v, "status.host", ""), w->host) || str_eq(phase, "Stopped")) {
            continue;
        }
        n++;
        (void)snprintf(left + len, sizeof(left) - len, "%s%s (%s)", len > 0 ? ", " : "",
                       obj_name(v), phase);
    }
    if (n > w->most) {
        w->most = n;
    }
    if (n > 0 && !str_eq(left, w->left)) {
        cli_say("  %zu of %zu still there: %s", n, w->most, left);
    }
    (void)str_copy(w->left, sizeof(w->left), left);
    return n == 0;
}

static void say_blocked(struct cli *c, const char *name)
{
    json_t *host = NULL, *v;
    struct err err = { 0 };
    size_t i;

    if (cli_get(c, "hosts", name, &host, &err) != 0) {
        return;
    }
    json_array_foreach (jget(host, "status.drain.blockedBy"), i, v) {
        cli_say("  %s", json_string_value(v));
    }
    json_decref(host);
}

int verb_drain(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "timeout", required_argument, NULL, 1 },
                                             { "no-wait", no_argument, NULL, 2 },
                                             { NULL, 0, NULL, 0 } };
    struct drain_wait dw = { 0 };
    struct cli_wait w = {
        .plural = "virtualmachines", .timeout_ms = 600000, .done = drained, .ctx = &dw
    };
    bool wait = true;
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "", options)) != -1) {
        if (o == 1 && !str_parse_duration(optarg, &w.timeout_ms)) {
            return cli_bad_usage(c, "--timeout %s: want a duration such as 10m", optarg);
        }
        if (o == 2) {
            wait = false;
        } else if (o != 1) {
            return cli_usage(c);
        }
    }
    rc = one_host(c, argc, argv, &dw.host);
    if (rc == CLI_OK) {
        rc = cli_connect(c);
    }
    if (rc == CLI_OK) {
        rc = patch_host(c, dw.host, json_pack("{s:b}", "maintenance", 1), "draining");
    }
    if (rc != CLI_OK || !wait) {
        return rc;
    }
    rc = cli_wait(c, &w);
    if (rc == CLI_OK) {
        (void)printf("host/%s drained\n", dw.host);
    } else {
        cli_say("picket drain: %s is not empty after the timeout; it stays in maintenance and the "
                "drain goes on. What stands in the way: `picket why host %s`",
                dw.host, dw.host);
        say_blocked(c, dw.host);
    }
    return rc;
}
