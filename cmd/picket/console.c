/* picket console: this terminal as the console of a guest. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "api/console_conn.h"
#include "api/upgrade.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"

#define TYPED_MAX 4096
#define FILE_MS 10U /* between two reads of what cannot be polled */

struct console {
    struct cli *cli;
    const char *vm;
    bool take, quiet;
    size_t server; /* that is tried */
    struct upgrade *dial;
    struct console_conn *conn;
    bool opened, over, detached;
    struct err err; /* why it ended, when the person did not end it */
    uv_poll_t in;
    uv_timer_t in_timer; /* in the place of `in` for a file */
    bool in_polled, in_ready, in_over, full;
    uv_signal_t signals[3];
    struct termios was;
    bool raw;
};

static void finish(struct console *c)
{
    if (c->over) {
        return;
    }
    c->over = true;
    if (c->dial != NULL) {
        upgrade_cancel(c->dial);
    }
    if (c->conn != NULL) {
        console_conn_close(c->conn);
    }
    if (c->in_ready) {
        uv_close(c->in_polled ? (uv_handle_t *)&c->in : (uv_handle_t *)&c->in_timer, NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(c->signals); i++) {
        uv_close((uv_handle_t *)&c->signals[i], NULL);
    }
}

static void detach(struct console *c)
{
    c->detached = true;
    finish(c);
}

static void on_signal(uv_signal_t *s, int sig)
{
    (void)sig;
    detach(s->data);
}

/* --- what is typed --- */

static void in_wanted(struct console *c);

/* False: nothing more is to come. */
static void typed(struct console *c)
{
    uint8_t text[TYPED_MAX];
    ssize_t n = read(STDIN_FILENO, text, sizeof(text));
    const uint8_t *escape;
    size_t len;

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (n <= 0) {
        /* A terminal that is gone is a person that is gone; a file has been typed. */
        c->in_over = true;
        if (c->raw) {
            detach(c);
        } else {
            in_wanted(c);
        }
        return;
    }
    escape = memchr(text, (int)CONSOLE_ESCAPE, (size_t)n);
    len = escape == NULL ? (size_t)n : (size_t)(escape - text);
    if (len > 0 && !console_conn_send(c->conn, CONSOLE_DATA, text, len)) {
        c->full = true;
        in_wanted(c);
    }
    if (escape != NULL) {
        detach(c);
    }
}

static void on_in(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    typed(p->data);
}

static void on_in_timer(uv_timer_t *t)
{
    typed(t->data);
}

static void in_wanted(struct console *c)
{
    bool want = !c->full && !c->in_over && !c->over;

    if (!c->in_ready) {
        return;
    }
    if (c->in_polled) {
        CHECK((want ? uv_poll_start(&c->in, UV_READABLE, on_in) : uv_poll_stop(&c->in)) == 0);
    } else if (want) {
        CHECK(uv_timer_start(&c->in_timer, on_in_timer, FILE_MS, FILE_MS) == 0);
    } else {
        (void)uv_timer_stop(&c->in_timer);
    }
}

static void in_open(struct console *c)
{
    struct termios t;

    c->in_polled = uv_poll_init(&c->cli->loop, &c->in, STDIN_FILENO) == 0;
    if (!c->in_polled) {
        CHECK(uv_timer_init(&c->cli->loop, &c->in_timer) == 0);
    }
    c->in.data = c;
    c->in_timer.data = c;
    c->in_ready = true;
    if (isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &c->was) == 0) {
        t = c->was;
        cfmakeraw(&t);
        c->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
    }
    in_wanted(c);
}

/* --- what the guest says --- */

static void show(struct console *c, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, p, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) { /* one terminal for all three, made non-blocking by `in` */
            struct timespec wait = { .tv_nsec = 5000000 };

            (void)nanosleep(&wait, NULL);
            continue;
        }
        if (n <= 0) {
            detach(c); /* nobody reads it any more */
            return;
        }
        p += n;
        len -= (size_t)n;
    }
}

static void opened(struct console *c, const uint8_t *p, size_t len)
{
    c->opened = true;
    if (!c->quiet) {
        cli_say("picket: console of %s (%.*s); leave it with ^]", c->vm, (int)len, (const char *)p);
    }
    in_open(c);
}

static void on_frame(void *data, enum console_frame type, const uint8_t *p, size_t len)
{
    struct console *c = data;

    if (type == CONSOLE_DATA && c->opened) {
        show(c, p, len);
    } else if (type == CONSOLE_OPENED && !c->opened) {
        opened(c, p, len);
    } else if (type == CONSOLE_END) {
        console_get_end(p, len, &c->err);
        finish(c);
    } else {
        (void)err_set(&c->err, ERR_UNSUPPORTED, "the member sent a frame that makes no sense here");
        finish(c);
    }
}

static void on_end(void *data, const struct err *err)
{
    struct console *c = data;

    (void)err_set(&c->err, ERR_UNREACHABLE, "%s: %.300s", c->cli->cfg->servers[c->server],
                  err->msg);
    finish(c);
}

static void on_room(void *data)
{
    struct console *c = data;

    c->full = false;
    in_wanted(c);
}

static const struct console_conn_cbs conn_cbs = { .on_frame = on_frame,
                                                  .on_end = on_end,
                                                  .on_room = on_room };

/* --- connecting --- */

static void on_open(void *data, struct stream *s, const uint8_t *rest, size_t len)
{
    struct console *c = data;

    c->dial = NULL;
    c->conn = console_conn_new(&c->cli->loop, s, rest, len, &conn_cbs, c);
}

static void on_fail(void *data, const struct err *err)
{
    struct console *c = data;

    c->dial = NULL;
    c->err = *err;
    finish(c);
}

static const struct upgrade_cbs dial_cbs = { .on_open = on_open, .on_fail = on_fail };

static int dial(struct console *c)
{
    const struct api_config *cfg = c->cli->cfg;
    char address[128];
    struct buf target = { 0 };
    struct upgrade_opts o = { .address = address,
                              .tls = cfg->tls,
                              .want_role = "picket:voters",
                              .protocol = CONSOLE_PROTOCOL,
                              .low_mark = CONSOLE_LOW,
                              .timeout_ms = c->cli->request_ms };
    int rc = http_endpoint_resolve(cfg->servers[c->server], address, sizeof(address), &c->err);

    buf_add_str(&target, API_PREFIX "/virtualmachines/");
    http_escape(&target, c->vm);
    buf_add_str(&target, c->take ? "/console?take=true" : "/console");
    o.target = buf_cstr(&target);
    rc = rc != 0 ? rc : upgrade_open(&c->cli->loop, &o, &dial_cbs, c, &c->dial, &c->err);
    buf_done(&target);
    return rc;
}

/* Through one member, to the end. */
static void attempt(struct console *c)
{
    static const int signals[] = { SIGTERM, SIGHUP, SIGINT };

    c->over = false;
    c->conn = NULL;
    c->err = (struct err){ 0 };
    if (dial(c) != 0) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        CHECK(uv_signal_init(&c->cli->loop, &c->signals[i]) == 0);
        c->signals[i].data = c;
        CHECK(uv_signal_start(&c->signals[i], on_signal, signals[i]) == 0);
    }
    (void)uv_run(&c->cli->loop, UV_RUN_DEFAULT);
}

/* Another member may do it: this one is gone, knows no leader, or not the agent. */
static bool another(const struct console *c)
{
    return !c->opened && !c->detached && c->server + 1 < c->cli->cfg->n_servers &&
           (c->err.code == ERR_UNREACHABLE || c->err.code == ERR_TIMEOUT ||
            c->err.code == ERR_NO_QUORUM || c->err.code == ERR_NOT_LEADER);
}

static int run(struct console *c)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);

    cli_pick_server(c->cli);
    for (attempt(c); another(c); attempt(c)) {
        c->server++;
    }
    if (flags >= 0) {
        (void)fcntl(STDIN_FILENO, F_SETFL, flags); /* the shell's, too */
    }
    if (c->raw) {
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &c->was);
        (void)fputs("\n", stderr);
    }
    if (c->detached) {
        if (!c->quiet) {
            cli_say("picket: left the console of %s; the guest goes on", c->vm);
        }
        return CLI_OK;
    }
    return cli_fail(c->cli, &c->err);
}

int verb_console(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "take", no_argument, NULL, 't' },
                                             { "quiet", no_argument, NULL, 'q' },
                                             { NULL, 0, NULL, 0 } };
    struct console c = { .cli = cli };
    int o, rc;

    while ((o = cli_getopt(cli, argc, argv, "q", options)) != -1) {
        switch (o) {
        case 't':
            c.take = true;
            break;
        case 'q':
            c.quiet = true;
            break;
        default:
            return cli_usage(cli);
        }
    }
    if (argc - optind != 1) {
        return cli_bad_usage(cli, "the console of which VM? Give its name");
    }
    c.vm = strrchr(argv[optind], '/') != NULL ? strrchr(argv[optind], '/') + 1 : argv[optind];
    rc = cli_prepare(cli);
    return rc != CLI_OK ? rc : run(&c);
}
