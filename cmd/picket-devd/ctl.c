/* The control socket D/devd.sock: one JSON object a line in, one a line out, in order.
 *
 *   {"cmd": "status"}                                     -> everything
 *   {"cmd": "power", "host": H, "on": true|false}         once it is so
 *   {"cmd": "cut", "host": H, "from": E, "direction": "both|in|out", "link": N}
 *   {"cmd": "heal", "host": H, "from": E}                 both optional
 *   {"cmd": "wedge"|"unwedge"|"reset", "host": H}
 *   {"cmd": "kill", "host": H, "process": P, "signal": N}
 *   {"cmd": "stop"|"start", "host": H, "process": P}      stop: and leave it down
 *   {"cmd": "down"}                                       when everything has ended
 * Answers: {"ok": true, ...} or {"ok": false, "code": ERR_*, "error": TEXT}.
 */

#include "cmd/picket-devd/dev.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define CTL_LINE_MAX 4096
#define CTL_POWER_MS 10000
#define CTL_MAGIC 0x43544c5fU
#define CTL_CONN_MAGIC 0x43434f4eU

struct ctl_conn {
    unsigned magic;
    LIST_ENTRY(ctl_conn) link;
    struct dev *dev;
    uv_pipe_t pipe;
    uv_write_t write;
    char *out; /* being written */
    char line[CTL_LINE_MAX];
    size_t len;
    bool busy;       /* an answer is owed or being written */
    bool wants_down; /* the answer comes when everything has ended */
};

struct ctl {
    unsigned magic;
    struct dev *dev;
    uv_pipe_t listen;
    LIST_HEAD(, ctl_conn) conns;
};

static void take_line(struct ctl_conn *c);

static void conn_closed(uv_handle_t *handle)
{
    struct ctl_conn *c;

    OBJ_FROM(c, handle->data, CTL_CONN_MAGIC);
    free(c->out);
    c->magic = 0;
    free(c);
}

static void conn_close(struct ctl_conn *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->pipe)) {
        dev_waits_cancel(c->dev, c);
        LIST_REMOVE(c, link);
        uv_close((uv_handle_t *)&c->pipe, conn_closed);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct ctl_conn *c;

    OBJ_FROM(c, req->data, CTL_CONN_MAGIC);
    free(c->out);
    c->out = NULL;
    c->busy = false;
    if (status != 0) {
        if (status != UV_ECANCELED) {
            conn_close(c);
        }
        return;
    }
    take_line(c);
}

static void answer(struct ctl_conn *c, json_t *obj)
{
    char *text = json_dumps(obj, JSON_COMPACT);
    uv_buf_t out;

    CHECK(text != NULL);
    json_decref(obj);
    c->out = mem_printf("%s\n", text);
    free(text);
    c->write.data = c;
    c->busy = true;
    out = uv_buf_init(c->out, (unsigned)strlen(c->out));
    if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &out, 1, on_written) != 0) {
        conn_close(c);
    }
}

static void answer_ok(struct ctl_conn *c)
{
    answer(c, json_pack("{s:b}", "ok", 1));
}

static void answer_err(struct ctl_conn *c, int code, const char *text)
{
    answer(c, json_pack("{s:b, s:i, s:s}", "ok", 0, "code", code, "error", text));
}

static void answer_rc(struct ctl_conn *c, int rc, const struct err *err)
{
    if (rc == 0) {
        answer_ok(c);
    } else {
        answer_err(c, rc, err->msg);
    }
}

/* ---- status ---- */

static const char *power_name(const struct dev_host *h)
{
    switch (h->power) {
    case DEV_OFF:
        return "off";
    case DEV_DYING:
        return "dying";
    case DEV_ON:
        return h->wedged ? "wedged" : "on";
    }
    CHECK_UNREACHABLE();
}

static void add_process(const struct dev_host *h, json_t *procs, const char *name)
{
    (void)json_object_set_new(procs, name, json_integer((json_int_t)host_process(h, name)));
}

static json_t *host_status(const struct dev_host *h)
{
    json_t *procs = json_object();
    char ip[32];

    if (h->voter) {
        add_process(h, procs, "picketd");
    }
    if (h->agent) {
        add_process(h, procs, "picket-agent");
        add_process(h, procs, "picket-watchdog");
    }
    addrs_ip(h->number, h->number, 1, ip);
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:i, s:I, s:I, s:s, s:o, s:o}", "name",
                     h->name, "power", power_name(h), "why", h->why, "bootID", h->boot_id, "voter",
                     h->voter, "plugged", h->plugged, "outlet", host_outlet_reads_on(h), "pgid",
                     (int)h->pgid, "boots", (json_int_t)h->boots, "sinceWallMs",
                     (json_int_t)h->since_wall_ms, "ip", ip, "watchdog", wdog_dev_status(h),
                     "processes", procs);
}

static void cmd_status(struct ctl_conn *c)
{
    struct dev *d = c->dev;
    json_t *hosts = json_array();

    for (size_t i = 0; i < d->n_hosts; i++) {
        (void)json_array_append_new(hosts, host_status(&d->hosts[i]));
    }
    answer(c, json_pack("{s:b, s:s, s:s, s:i, s:i, s:o, s:o}", "ok", 1, "dir", d->dir, "clusterID",
                        d->cluster_id, "port", (int)d->port, "pid", (int)getpid(), "hosts", hosts,
                        "cuts", net_status(d)));
}

/* ---- power ---- */

static void power_done(void *ctx, const char *error)
{
    struct ctl_conn *c;

    OBJ_FROM(c, ctx, CTL_CONN_MAGIC);
    if (error != NULL) {
        answer_err(c, ERR_TIMEOUT, error);
    } else {
        answer_ok(c);
    }
}

static void cmd_power(struct ctl_conn *c, struct dev_host *h, const json_t *rq)
{
    bool on = json_is_true(json_object_get(rq, "on"));

    h->plugged = on;
    if (on) {
        h->outlet_on = true; /* whoever comes to the rack switches the outlet on too */
        host_on(h, "switched on");
    } else {
        host_kill(h, "switched off", -1);
    }
    dev_wait_power(h, on, CTL_POWER_MS, power_done, c);
}

static void cmd_reset(struct ctl_conn *c, struct dev_host *h)
{
    if (h->power == DEV_OFF) {
        answer_err(c, ERR_CONFLICT, "the host is off; use: picket dev power HOST on");
        return;
    }
    host_kill(h, "reset button", 0);
    answer_ok(c);
}

/* ---- network ---- */

static int parse_cut(struct dev *d, const json_t *rq, struct cut *ret, struct err *err)
{
    const char *host = json_string_value(json_object_get(rq, "host"));
    const char *from = json_string_value(json_object_get(rq, "from"));
    const char *direction = json_string_value(json_object_get(rq, "direction"));
    json_int_t link = json_integer_value(json_object_get(rq, "link"));

    *ret = (struct cut){ .host = END_ANY, .with = END_ANY };
    if (host != NULL && dev_find_host(d, host) == NULL) {
        return err_set(err, ERR_NOT_FOUND,
                       "there is no host \"%s\"; `picket dev status` lists them", host);
    }
    if (from != NULL && dev_end_number(d, from) < 0) {
        return err_set(err, ERR_NOT_FOUND,
                       "nothing is called \"%s\"; use a host, operator, pdu or gateway", from);
    }
    if (link < 0 || link > DEV_LINKS) {
        return err_set(err, ERR_INVALID, "link %d does not exist; there are 1 to %d", (int)link,
                       DEV_LINKS);
    }
    ret->host = host != NULL ? dev_end_number(d, host) : END_ANY;
    ret->with = from != NULL ? dev_end_number(d, from) : END_ANY;
    ret->link = (int)link;
    if (direction == NULL || str_eq(direction, "both")) {
        ret->direction = CUT_BOTH;
    } else if (str_eq(direction, "in")) {
        ret->direction = CUT_IN;
    } else if (str_eq(direction, "out")) {
        ret->direction = CUT_OUT;
    } else {
        return err_set(err, ERR_INVALID, "direction \"%s\"; it is both, in or out", direction);
    }
    return 0;
}

static void cmd_cut(struct ctl_conn *c, const json_t *rq)
{
    struct dev *d = c->dev;
    struct err err = { 0 };
    struct cut cut;
    int rc = parse_cut(d, rq, &cut, &err);

    if (rc == 0 && cut.host == END_ANY) {
        rc = err_set(&err, ERR_INVALID, "which host?");
    }
    if (rc == 0 && !cuts_add(&d->cuts, cut)) {
        rc = err_set(&err, ERR_LIMIT, "there are %d cuts already", CUTS_MAX);
    }
    if (rc == 0) {
        lg_info("net", "cut=%s from=%s direction=%s link=%d", dev_end_name(d, cut.host),
                dev_end_name(d, cut.with), cut_direction_name(cut.direction), cut.link);
        net_changed(d);
    }
    answer_rc(c, rc, &err);
}

static void cmd_heal(struct ctl_conn *c, const json_t *rq)
{
    struct dev *d = c->dev;
    struct err err = { 0 };
    struct cut cut;
    size_t n;

    if (parse_cut(d, rq, &cut, &err) != 0) {
        answer_err(c, err.code, err.msg);
        return;
    }
    n = cuts_heal(&d->cuts, cut.host, cut.with);
    lg_info("net", "heal=%s from=%s removed=%zu", dev_end_name(d, cut.host),
            dev_end_name(d, cut.with), n);
    net_changed(d);
    answer(c, json_pack("{s:b, s:i}", "ok", 1, "removed", (int)n));
}

/* ---- processes ---- */

static void cmd_process(struct ctl_conn *c, struct dev_host *h, const char *cmd, const json_t *rq)
{
    const char *process = json_string_value(json_object_get(rq, "process"));
    json_int_t sig = json_integer_value(json_object_get(rq, "signal"));
    char path[DEV_PATH_MAX];
    struct err err = { 0 };
    int rc = 0;

    if (process == NULL || !str_is_name(process) || sig < 0 || sig >= NSIG) {
        answer_err(c, ERR_INVALID, "which process, which signal?");
        return;
    }
    host_path(h, path, "run/%s.stopped", process);
    if (str_eq(cmd, "start")) {
        if (unlink(path) != 0) {
            rc = err_set(&err, ERR_CONFLICT, "%s of %s was not stopped", process, h->name);
        } else if (h->power == DEV_ON) {
            (void)kill(h->pgid, SIGHUP); /* init looks again */
        }
        answer_rc(c, rc, &err);
        return;
    }
    if (str_eq(cmd, "stop")) {
        rc = dev_write_file(path, "", 0, &err);
    }
    if (rc == 0) {
        rc = host_kill_process(h, process, sig == 0 ? SIGKILL : (int)sig, &err);
    }
    answer_rc(c, rc, &err);
}

static void on_host(struct ctl_conn *c, const char *cmd, struct dev_host *h, const json_t *rq)
{
    struct err err = { 0 };

    if (str_eq(cmd, "power")) {
        cmd_power(c, h, rq);
    } else if (str_eq(cmd, "reset")) {
        cmd_reset(c, h);
    } else if (str_eq(cmd, "wedge") || str_eq(cmd, "unwedge")) {
        answer_rc(c, host_wedge(h, str_eq(cmd, "wedge"), &err), &err);
    } else if (str_eq(cmd, "kill") || str_eq(cmd, "stop") || str_eq(cmd, "start")) {
        cmd_process(c, h, cmd, rq);
    } else {
        answer_err(c, ERR_INVALID, "unknown command");
    }
}

static void dispatch(struct ctl_conn *c, const json_t *rq)
{
    const char *cmd = json_string_value(json_object_get(rq, "cmd"));
    const char *name = json_string_value(json_object_get(rq, "host"));
    struct dev_host *h = name != NULL ? dev_find_host(c->dev, name) : NULL;

    if (cmd == NULL) {
        answer_err(c, ERR_INVALID, "not a request");
    } else if (c->dev->stopping && !str_eq(cmd, "down")) {
        answer_err(c, ERR_CONFLICT, "the cluster is going down");
    } else if (str_eq(cmd, "status")) {
        cmd_status(c);
    } else if (str_eq(cmd, "cut")) {
        cmd_cut(c, rq);
    } else if (str_eq(cmd, "heal")) {
        cmd_heal(c, rq);
    } else if (str_eq(cmd, "down")) {
        c->wants_down = true;
        dev_stop(c->dev);
    } else if (h == NULL) {
        answer_err(c, ERR_NOT_FOUND, "there is no such host; `picket dev status` lists them");
    } else {
        on_host(c, cmd, h, rq);
    }
}

static void take_line(struct ctl_conn *c)
{
    char *end = memchr(c->line, '\n', c->len);
    json_t *rq;
    size_t n;

    if (c->busy || uv_is_closing((uv_handle_t *)&c->pipe)) {
        return;
    }
    if (end == NULL) {
        if (c->len == sizeof(c->line)) {
            conn_close(c);
        }
        return;
    }
    n = (size_t)(end - c->line) + 1;
    rq = json_loadb(c->line, n, 0, NULL);
    c->len -= n;
    memmove(c->line, end + 1, c->len);
    c->busy = true; /* until the answer is out */
    dispatch(c, rq);
    json_decref(rq);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct ctl_conn *c;

    (void)size;
    OBJ_FROM(c, handle->data, CTL_CONN_MAGIC);
    *buf = uv_buf_init(c->line + c->len, (unsigned)(sizeof(c->line) - c->len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct ctl_conn *c;

    (void)buf;
    OBJ_FROM(c, s->data, CTL_CONN_MAGIC);
    if (n < 0) {
        conn_close(c);
    } else if (n > 0) {
        c->len += (size_t)n;
        take_line(c);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    struct ctl *ctl;
    struct ctl_conn *c;

    OBJ_FROM(ctl, server->data, CTL_MAGIC);
    if (status != 0) {
        return;
    }
    c = OBJ_NEW(struct ctl_conn);
    c->magic = CTL_CONN_MAGIC;
    c->dev = ctl->dev;
    CHECK(uv_pipe_init(ctl->dev->loop, &c->pipe, 0) == 0);
    c->pipe.data = c;
    LIST_INSERT_HEAD(&ctl->conns, c, link);
    if (uv_accept(server, (uv_stream_t *)&c->pipe) != 0 ||
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0) {
        conn_close(c);
    }
}

int ctl_open(struct dev *d, struct err *err)
{
    struct ctl *ctl = OBJ_NEW(struct ctl);
    char path[DEV_PATH_MAX];
    mode_t old;
    int r;

    ctl->magic = CTL_MAGIC;
    ctl->dev = d;
    CHECK(uv_pipe_init(d->loop, &ctl->listen, 0) == 0);
    ctl->listen.data = ctl;
    d->ctl = ctl;
    dev_path(d, path, "devd.sock");
    (void)unlink(path);
    old = umask(0077); /* whoever may connect may switch hosts off */
    r = uv_pipe_bind(&ctl->listen, path);
    (void)umask(old);
    if (r == 0) {
        r = uv_listen((uv_stream_t *)&ctl->listen, 16, on_connection);
    }
    if (r != 0) {
        return err_native(err, ERR_SYS, "uv", r, "listen on %s: %s", path, uv_strerror(r));
    }
    return 0;
}

static void ctl_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* The other side also waits for the end of the connection: a copy of it stays open until this
 * process is gone, and with it the lock of the folder. */
static void answer_down(struct ctl_conn *c)
{
    char ok[] = "{\"ok\":true}\n";
    uv_buf_t out = uv_buf_init(ok, sizeof(ok) - 1);
    uv_os_fd_t fd;

    (void)uv_try_write((uv_stream_t *)&c->pipe, &out, 1);
    if (uv_fileno((const uv_handle_t *)&c->pipe, &fd) == 0) {
        (void)fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
}

void ctl_close(struct dev *d)
{
    struct ctl *ctl = d->ctl;
    struct ctl_conn *c;

    if (ctl == NULL) {
        return;
    }
    d->ctl = NULL;
    while ((c = LIST_FIRST(&ctl->conns)) != NULL) {
        if (c->wants_down) {
            answer_down(c);
        }
        conn_close(c);
    }
    uv_close((uv_handle_t *)&ctl->listen, ctl_closed); /* removes the socket file */
}
