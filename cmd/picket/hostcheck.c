/* `picket host check`: every line says what was found and, when it is not good, what to do. */

#include "cmd/picket/cli.h"
#include "cmd/picket/discover.h"

#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/hostcheck.h"
#include "cmd/picket/identity.h"

const char host_help[] =
    "Looks at this host only: Xen, its services and modules, LVM, multipath, iSCSI, watchdog, "
    "time,\n"
    "Picket's own identity and daemons; and asks the cluster, when one is configured, whether "
    "this\n"
    "host could be fenced. Nothing is changed, no program is run. Run it as root.\n"
    "\n"
    "Each line is ok, warn, fail or unknown (it could not be looked at), with what to do about "
    "it.\n"
    "The exit code is 1 when something failed.\n"
    "\n"
    "  --root DIR            look below this folder instead of /\n"
    "  --offline             do not ask the cluster\n"
    "  -q, --quiet           only what is not ok\n"
    "  -o json\n"
    "\n"
    "discover asks iSCSI portals for their targets (SendTargets), from this host, without CHAP "
    "and\n"
    "without leaving a record; nobody logs in. -o yaml gives ISCSITarget objects to look through,\n"
    "to complete (chap) and to apply. Give every portal that you know: a target may name only\n"
    "those that it likes best.\n"
    "\n"
    "  -o yaml\n"
    "\n"
    "Examples:\n"
    "  picket host discover 10.0.1.1 10.0.2.1:3260 -o yaml >san.yaml\n"
    "  picket host check\n"
    "  picket host check -q && picket uncordon $(hostname)\n";

static const json_t *condition(const json_t *host, const char *type)
{
    const json_t *list = json_object_get(json_object_get(host, "status"), "conditions");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);

        if (str_eq(jget_str(c, "type", ""), type)) {
            return c;
        }
    }
    return NULL;
}

/* What the cluster says of this host's fencing. */
static void ask_cluster(struct cli *c, const char *name, struct arena *a, struct hc_host *h)
{
    struct err err = { 0 };
    json_t *host = NULL;
    const json_t *cond;

    c->quiet_connect = true;
    if (cli_connect(c) != CLI_OK) {
        h->fencing_why = "no administrator's configuration here";
        return;
    }
    if (cli_get(c, "hosts", name, &host, &err) != 0) {
        h->fencing_why = arena_strdup(a, err.msg);
        return;
    }
    cond = condition(host, "FencingReady");
    h->fencing = arena_strdup(a, cond == NULL ? NULL : jget_str(cond, "status", "Unknown"));
    h->fencing_why = arena_strdup(a, cond == NULL ? "the controllers have said nothing about it yet"
                                                  : jget_str(cond, "message", ""));
    if (str_eq(h->fencing, "True") && h->fencing_why[0] == '\0') {
        h->fencing_why = "its devices answer";
    }
    json_decref(host);
}

static void print_text(const struct hc_report *r, bool quiet)
{
    struct buf out = { 0 };
    bool color = cli_color(stdout);

    for (size_t i = 0; i < r->n; i++) {
        const struct hc_line *l = &r->lines[i];
        const char *on = !color || l->level == HC_OK ? ""
                         : l->level == HC_FAIL       ? "\x1b[31m"
                                                     : "\x1b[33m";

        if (quiet && l->level == HC_OK) {
            continue;
        }
        buf_printf(&out, "%s%-8s%s%-18s %s\n", on, hc_level_name(l->level),
                   on[0] == '\0' ? "" : "\x1b[0m", l->topic, l->text);
        if (l->fix != NULL) {
            buf_printf(&out, "%-8s%-18s -> %s\n", "", "", l->fix);
        }
    }
    buf_printf(&out, "%zu ok, %zu warnings, %zu failed, %zu unknown\n", hc_count(r, HC_OK),
               hc_count(r, HC_WARN), hc_count(r, HC_FAIL), hc_count(r, HC_UNKNOWN));
    cli_flush(&out);
    buf_done(&out);
}

static void print_json(const struct hc_report *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->n; i++) {
        const struct hc_line *l = &r->lines[i];

        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s*}", "level",
                                                    hc_level_name(l->level), "topic", l->topic,
                                                    "message", l->text, "fix", l->fix));
    }
    cli_print_json(list);
    json_decref(list);
}

static int check_host(struct cli *c, const char *root, bool offline, bool quiet, bool json)
{
    struct arena a = { 0 };
    struct hc_report report;
    struct hc_host host;
    const char *name;
    int rc;

    hc_look(root, &a, &host);
    name = hc_setting(hc_text(&host, "/etc/picket/agent.conf"), "name", &a);
    host.fencing_why = "it was not asked";
    if (!offline && name != NULL) {
        ask_cluster(c, name, &a, &host);
    }
    hc_judge(&host, &a, &report);
    if (json) {
        print_json(&report);
    } else {
        print_text(&report, quiet);
    }
    rc = hc_count(&report, HC_FAIL) > 0 ? CLI_ERROR : CLI_OK;
    arena_done(&a);
    return rc;
}

int verb_host(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "root", required_argument, NULL, 'r' },
                                             { "offline", no_argument, NULL, 'O' },
                                             { "quiet", no_argument, NULL, 'q' },
                                             { "output", required_argument, NULL, 'o' },
                                             { NULL, 0, NULL, 0 } };
    const char *root = "/";
    bool offline = false, quiet = false, json = false, yaml = false, discover;
    int o;

    while ((o = cli_getopt(c, argc, argv, "qo:", options)) != -1) {
        if (o == 'r') {
            root = optarg;
        } else if (o == 'O') {
            offline = true;
        } else if (o == 'q') {
            quiet = true;
        } else if (o == 'o' && str_eq(optarg, "json")) {
            json = true;
        } else if (o == 'o' && str_eq(optarg, "yaml")) {
            yaml = true;
        } else if (o == 'o') {
            return cli_bad_usage(c, "-o %s: json (check) or yaml (discover)", optarg);
        } else {
            return cli_usage(c);
        }
    }
    discover = argc > optind && str_eq(argv[optind], "discover");
    if ((yaml && !discover) || (json && discover)) {
        return cli_bad_usage(c, "-o json is of check, -o yaml of discover");
    }
    if (discover) {
        return host_discover(c, root, argv + optind + 1, (size_t)(argc - optind - 1), yaml);
    }
    if (argc - optind != 1 || !str_eq(argv[optind], "check")) {
        return cli_bad_usage(c, "want: check, or discover PORTAL...");
    }
    return check_host(c, root, offline || !str_eq(root, "/"), quiet, json);
}
