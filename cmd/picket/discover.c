/* picket host discover: what targets a SAN has, asked from this host. */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "cmd/picket/discover.h"
#include "storage/cmd_exec.h"
#include "storage/iscsi_disc_codec.h"

#define DISCOVER_MS 20000U
#define ISCSIADM "/usr/sbin/iscsiadm"

struct discover {
    struct cli *cli;
    const char *program;
    struct cmd_runner *runner;
    struct arena a;
    struct iscsi_founds found;
    const char *portal;
    struct err err; /* of the portal asked; code 0: it answered */
};

/* iscsiadm tells the end of its many tries last; that is the line that says why. */
static const char *last_line(const struct cmd_result *r, struct arena *a)
{
    char *text = arena_strdup(a, r->errors);
    size_t n = strlen(text);
    char *nl;

    while (n > 0 && text[n - 1] == '\n') {
        text[--n] = '\0';
    }
    nl = strrchr(text, '\n');
    return nl != NULL ? nl + 1 : n > 0 ? text : r->why;
}

static void on_answer(void *ctx, const struct cmd_result *r)
{
    struct discover *d = ctx;

    if (r->end == CMD_OK &&
        iscsi_parse_discovery(r->out, r->out_len, &d->a, &d->found, &d->err) == 0) {
        return;
    }
    if (r->end == CMD_OK) {
        (void)err_wrap(&d->err, "iscsiadm");
    } else if (r->end == CMD_FAILED) {
        (void)err_set(&d->err, ERR_UNREACHABLE, "%.300s", last_line(r, &d->a));
    } else {
        (void)err_set(&d->err, ERR_TIMEOUT, "%.300s", r->why);
    }
}

/* No record is made of what is found: that is done for what the cluster declares. */
static int ask(struct discover *d)
{
    const char *const argv[] = { d->program, "-m", "discovery",     "-t", "st", "-p",
                                 d->portal,  "-o", "nonpersistent", NULL };
    struct cmd_spec spec = { .argv = argv, .timeout_ms = DISCOVER_MS };

    d->err = (struct err){ 0 };
    if (cmd_start(d->runner, &spec, on_answer, d, NULL, &d->err) == 0) {
        (void)uv_run(&d->cli->loop, UV_RUN_DEFAULT);
    }
    if (d->err.code != 0) {
        cli_say("picket host discover: %s: %s", d->portal, d->err.msg);
    }
    return d->err.code;
}

static void print_table(const struct iscsi_founds *f)
{
    struct buf b = { 0 };

    for (size_t i = 0; i < f->n; i++) {
        buf_printf(&b, "%s\n", f->list[i].iqn);
        for (size_t k = 0; k < f->list[i].n_portals; k++) {
            buf_printf(&b, "  %s\n", f->list[i].portals[k]);
        }
    }
    cli_flush(&b);
    buf_done(&b);
}

static void print_manifests(const struct iscsi_founds *f)
{
    struct buf b = { 0 };

    iscsi_manifests(f, &b);
    cli_flush(&b);
    buf_done(&b);
}

static void on_closed(void *ctx)
{
    (void)ctx;
}

int host_discover(struct cli *c, const char *root, char **portals, size_t n, bool yaml)
{
    char *program = mem_printf("%s" ISCSIADM, str_eq(root, "/") ? "" : root);
    struct discover d = { .cli = c, .program = program };
    int rc = CLI_OK;

    if (n == 0) {
        rc = cli_bad_usage(c, "which portals? Such as: picket host discover 10.0.1.1 10.0.2.1");
        free(program);
        return rc;
    }
    if (access(program, X_OK) != 0) {
        cli_say("picket host discover: %s: %s; it is in the package open-iscsi", program,
                strerror(errno));
        free(program);
        return CLI_ERROR;
    }
    CHECK(uv_loop_init(&c->loop) == 0);
    c->loop_ready = true;
    (void)signal(SIGPIPE, SIG_IGN);
    d.runner = cmd_runner_new(&c->loop, 1);
    for (size_t i = 0; i < n; i++) {
        d.portal = portals[i];
        if (ask(&d) != 0) {
            rc = cli_exit_code(d.err.code);
            rc = rc == CLI_NOT_FOUND ? CLI_ERROR : rc;
        }
    }
    if (yaml) {
        print_manifests(&d.found);
    } else {
        print_table(&d.found);
    }
    cmd_runner_close(d.runner, on_closed, NULL);
    (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    arena_done(&d.a);
    free(program);
    return rc;
}
