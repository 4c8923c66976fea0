/* `picket member`: who votes, who follows, who leads. */

#include "cmd/picket/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/str.h"

#define MEMBER_MS 100000U /* a promotion waits for a log to be sent */
#define TRANSFER_MS 15000U
#define PATH "/apis/picket/v1/members"

const char member_help[] =
    "list               who votes, who follows, who leads, as the leader sees it\n"
    "add NAME           a host that is not enrolled by `picket join`: prints its id, which its\n"
    "                   picketd needs (--id); a stand-by until it is promoted\n"
    "  --address A      IP:PORT of its picketd for the other members\n"
    "  --voter          promote it by itself as soon as it has caught up\n"
    "promote NAME       wait until it has caught up, then let it vote\n"
    "demote NAME        a voter becomes a stand-by: it has all data and no vote\n"
    "remove NAME        it is no member any more; its number never comes again\n"
    "transfer [NAME]    hand leadership over, else to the best follower\n"
    "\n"
    "Refused: what would leave no majority of reachable voters. One change at a time.\n"
    "Replace a voter that is gone for good: remove it, then `picket join` on the new host.\n"
    "\n"
    "  -o json            (list)\n"
    "\n"
    "Examples:\n"
    "  picket member list\n"
    "  picket member transfer node2\n"
    "  picket member remove node3\n";

struct member_args {
    const char *address;
    bool voter;
    bool json;
};

static int ask(struct cli *c, const char *method, const char *target, json_t *body, json_t **ret)
{
    struct api_op op = { .method = method,
                         .target = target,
                         .body = body,
                         .timeout_ms = c->request_ms != 0 ? c->request_ms : MEMBER_MS };
    struct err err = { 0 };
    int rc = c->client == NULL ? cli_connect(c) : CLI_OK;

    if (rc == CLI_OK && cli_request(c, &op, ret, &err) != 0) {
        rc = cli_fail(c, &err);
    }
    json_decref(body);
    return rc;
}

static void contact_text(const json_t *m, char *dst, size_t size)
{
    int64_t ms = jget_int(m, "lastContactMs", -1);

    if (jget_bool(m, "leader", false)) {
        (void)str_copy(dst, size, "-");
    } else if (ms < 0) {
        (void)str_copy(dst, size, "never");
    } else {
        str_format_age((uint64_t)ms, dst, size);
    }
}

static void print_members(const json_t *answer)
{
    const json_t *items = json_object_get(answer, "items");
    struct buf out = { 0 };
    char age[32];

    buf_printf(&out, "%-4s %-20s %-8s %-7s %-10s %-8s %s\n", "ID", "NAME", "ROLE", "LEADER",
               "REACHABLE", "CONTACT", "ADDRESS");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *m = json_array_get(items, i);

        contact_text(m, age, sizeof(age));
        buf_printf(&out, "%-4" PRId64 " %-20s %-8s %-7s %-10s %-8s %s\n", jget_int(m, "id", 0),
                   jget_str(m, "name", "?"), jget_str(m, "role", "?"),
                   jget_bool(m, "leader", false) ? "yes" : "no",
                   jget_bool(m, "reachable", false) ? "yes" : "no", age,
                   jget_str(m, "address", "?"));
    }
    cli_flush(&out);
    buf_done(&out);
}

static int member_list(struct cli *c, const struct member_args *a)
{
    json_t *answer = NULL;
    int rc = ask(c, "GET", PATH, NULL, &answer);

    if (rc == CLI_OK && a->json) {
        cli_print_json(answer);
    } else if (rc == CLI_OK) {
        print_members(answer);
    }
    json_decref(answer);
    return rc;
}

static int member_add(struct cli *c, const char *name, const struct member_args *a)
{
    json_t *answer = NULL;
    int rc;

    if (a->address == NULL) {
        return cli_bad_usage(c, "add needs --address IP:PORT");
    }
    rc = ask(c, "POST", PATH,
             json_pack("{s:s, s:s, s:b}", "name", name, "address", a->address, "voter", a->voter),
             &answer);
    if (rc == CLI_OK) {
        (void)printf("member %s added with id %" PRId64 ", a stand-by%s\n", name,
                     jget_int(answer, "id", 0),
                     a->voter ? " that votes as soon as it has caught up" : "");
    }
    json_decref(answer);
    return rc;
}

static int member_change(struct cli *c, const char *op, const char *name)
{
    char target[160];
    bool remove = str_eq(op, "remove");
    int rc;

    if (!str_is_name(name) || strlen(name) >= 64) {
        return cli_bad_usage(c, "\"%s\" is no host name", name);
    }
    (void)snprintf(target, sizeof(target), "%s/%s%s%s", PATH, name, remove ? "" : "/",
                   remove ? "" : op);
    rc = ask(c, remove ? "DELETE" : "POST", target, NULL, NULL);
    if (rc == CLI_OK) {
        (void)printf("member %s %s\n", name,
                     remove                  ? "removed"
                     : str_eq(op, "promote") ? "votes"
                                             : "is a stand-by");
    }
    return rc;
}

/* The present leader, "" when none is known; the caller frees. */
static int leader_of(struct cli *c, char *dst, size_t size)
{
    json_t *answer = NULL;
    int rc = ask(c, "GET", PATH, NULL, &answer);

    dst[0] = 0;
    if (rc == CLI_OK && !str_copy(dst, size, jget_str(answer, "leader", ""))) {
        dst[0] = 0;
    }
    json_decref(answer);
    return rc;
}

static int member_transfer(struct cli *c, const char *to)
{
    uint64_t until = clock_now_ms() + TRANSFER_MS;
    char was[64], now[64], target[160];
    int rc = leader_of(c, was, sizeof(was));

    if (to != NULL && (!str_is_name(to) || strlen(to) >= 64)) {
        return cli_bad_usage(c, "\"%s\" is no host name", to);
    }
    if (rc != CLI_OK) {
        return rc;
    }
    (void)snprintf(target, sizeof(target), "%s/%s/transfer", PATH, to == NULL ? "-" : to);
    rc = ask(c, "POST", target, NULL, NULL);
    while (rc == CLI_OK) {
        rc = leader_of(c, now, sizeof(now));
        if (rc != CLI_OK || (to == NULL ? !str_eq(now, was) : str_eq(now, to))) {
            break;
        }
        if (clock_now_ms() >= until) {
            cli_say("picket: leadership did not move; %s leads still. Ask again, or see its log",
                    now);
            return CLI_TIMEOUT;
        }
        cli_sleep(c, 100);
    }
    if (rc == CLI_OK) {
        (void)printf("%s leads\n", now);
    }
    return rc;
}

static int member_run(struct cli *c, const struct member_args *a, char **args, int n)
{
    const char *op = args[0], *name = n > 1 ? args[1] : NULL;

    if (str_eq(op, "list") && n == 1) {
        return member_list(c, a);
    }
    if (str_eq(op, "transfer") && n <= 2) {
        return member_transfer(c, name);
    }
    if (n != 2) {
        return cli_bad_usage(c, "want list, transfer [NAME], or add, promote, demote, remove NAME");
    }
    if (str_eq(op, "add")) {
        return member_add(c, name, a);
    }
    if (str_eq(op, "promote") || str_eq(op, "demote") || str_eq(op, "remove")) {
        return member_change(c, op, name);
    }
    return cli_bad_usage(c, "there is no \"member %s\"", op);
}

int verb_member(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "address", required_argument, NULL, 1 },
                                             { "voter", no_argument, NULL, 2 },
                                             { "output", required_argument, NULL, 'o' },
                                             { NULL, 0, NULL, 0 } };
    struct member_args a = { 0 };
    int o;

    while ((o = cli_getopt(c, argc, argv, "o:", options)) != -1) {
        if (o == 1) {
            a.address = optarg;
        } else if (o == 2) {
            a.voter = true;
        } else if (o != 'o') {
            return cli_usage(c);
        } else if (!str_eq(optarg, "json")) {
            return cli_bad_usage(c, "-o %s: want json", optarg);
        } else {
            a.json = true;
        }
    }
    if (optind >= argc) {
        return cli_bad_usage(c, "what? list, add, promote, demote, remove or transfer");
    }
    return member_run(c, &a, argv + optind, argc - optind);
}
