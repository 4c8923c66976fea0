/* The power distribution unit: picket-pdu as a child speaks SNMP, and asks us on D/pdu.sock to
 * switch.  One line a request: "off node1", "on node1", "reboot node1" -> "ok" or an error text;
 * "status node1" -> "on" or "off".  "off" is answered when the host's processes are gone.
 */

#include "cmd/picket-devd/dev.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define PDU_LINE_MAX 256
#define PDU_OFF_MS 3000
#define PDU_RESTART_MS 1000
#define PDU_MAGIC 0x5044555fU
#define PDU_CONN_MAGIC 0x50434f4eU

struct pdu_conn {
    unsigned magic;
    LIST_ENTRY(pdu_conn) link;
    struct dev *dev;
    uv_pipe_t pipe;
    char line[PDU_LINE_MAX];
    size_t len;
    bool busy; /* a request waits for the power to change */
};

struct pdu {
    unsigned magic;
    struct dev *dev;
    uv_pipe_t listen;
    uv_timer_t restart;
    pid_t pid;
    unsigned handles;
    LIST_HEAD(, pdu_conn) conns;
};

static void take_lines(struct pdu_conn *c);

static void conn_closed(uv_handle_t *handle)
{
    struct pdu_conn *c;

    OBJ_FROM(c, handle->data, PDU_CONN_MAGIC);
    c->magic = 0;
    free(c);
}

static void conn_close(struct pdu_conn *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->pipe)) {
        dev_waits_cancel(c->dev, c);
        LIST_REMOVE(c, link);
        uv_close((uv_handle_t *)&c->pipe, conn_closed);
    }
}

static void say(struct pdu_conn *c, const char *text)
{
    char line[PDU_LINE_MAX];
    uv_buf_t out;

    (void)snprintf(line, sizeof(line), "%s\n", text);
    out = uv_buf_init(line, (unsigned)strlen(line));
    if (uv_try_write((uv_stream_t *)&c->pipe, &out, 1) != (int)out.len) {
        conn_close(c);
    }
}

static void switched(void *ctx, const char *error)
{
    struct pdu_conn *c;

    OBJ_FROM(c, ctx, PDU_CONN_MAGIC);
    c->busy = false;
    say(c, error != NULL ? error : "ok");
    take_lines(c);
}

static void request(struct pdu_conn *c, const char *verb, const char *name)
{
    struct dev_host *h = dev_find_host(c->dev, name);

    if (h == NULL) {
        say(c, "no such outlet");
        return;
    }
    if (str_eq(verb, "status")) {
        say(c, host_outlet_reads_on(h) ? "on" : "off");
        return;
    }
    lg_info("pdu", "outlet=%s command=%s", name, verb);
    if (str_eq(verb, "on")) {
        host_outlet(h, true);
        say(c, "ok");
    } else if (str_eq(verb, "reboot")) {
        host_outlet_reboot(h);
        say(c, "ok");
    } else if (str_eq(verb, "off")) {
        host_outlet(h, false);
        c->busy = true;
        dev_wait_power(h, false, PDU_OFF_MS, switched, c);
    } else {
        say(c, "unknown command");
    }
}

static void one_line(struct pdu_conn *c, char *line)
{
    char *name = strchr(line, ' ');

    if (name == NULL) {
        say(c, "malformed request");
        return;
    }
    *name++ = 0;
    request(c, line, name);
}

static void take_lines(struct pdu_conn *c)
{
    char line[PDU_LINE_MAX];
    char *end;

    while (!c->busy && !uv_is_closing((uv_handle_t *)&c->pipe) &&
           (end = memchr(c->line, '\n', c->len)) != NULL) {
        size_t n = (size_t)(end - c->line);

        memcpy(line, c->line, n);
        line[n] = 0;
        c->len -= n + 1;
        memmove(c->line, end + 1, c->len);
        one_line(c, line);
    }
    if (c->len == sizeof(c->line)) {
        conn_close(c);
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct pdu_conn *c;

    (void)size;
    OBJ_FROM(c, handle->data, PDU_CONN_MAGIC);
    *buf = uv_buf_init(c->line + c->len, (unsigned)(sizeof(c->line) - c->len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct pdu_conn *c;

    (void)buf;
    OBJ_FROM(c, s->data, PDU_CONN_MAGIC);
    if (n < 0) {
        conn_close(c);
    } else if (n > 0) {
        c->len += (size_t)n;
        take_lines(c);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    struct pdu *p;
    struct pdu_conn *c;

    OBJ_FROM(p, server->data, PDU_MAGIC);
    if (status != 0) {
        return;
    }
    c = OBJ_NEW(struct pdu_conn);
    c->magic = PDU_CONN_MAGIC;
    c->dev = p->dev;
    CHECK(uv_pipe_init(p->dev->loop, &c->pipe, 0) == 0);
    c->pipe.data = c;
    LIST_INSERT_HEAD(&p->conns, c, link);
    if (uv_accept(server, (uv_stream_t *)&c->pipe) != 0 ||
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0) {
        conn_close(c);
    }
}

static int start_child(struct pdu *p, struct err *err)
{
    struct dev *d = p->dev;
    char binary[DEV_PATH_MAX * 2], listen[64], ip[32], control[DEV_PATH_MAX], log[DEV_PATH_MAX];
    struct buf outlets = { 0 };
    char *argv[] = { binary, (char[]){ "--listen" },  listen,  (char[]){ "--outlets" },
                     NULL,   (char[]){ "--control" }, control, (char[]){ "--any-community" },
                     NULL };
    struct spawn s = { .argv = argv, .log = log, .stdin_fd = -1, .new_group = true };
    int rc;

    for (size_t i = 0; i < d->n_hosts; i++) {
        buf_printf(&outlets, "%s%s", i > 0 ? "," : "", d->hosts[i].name);
    }
    argv[4] = buf_take(&outlets, NULL);
    addrs_ip(END_PDU, END_PDU, 1, ip);
    (void)snprintf(binary, sizeof(binary), "%s/picket-pdu", d->bin_dir);
    (void)snprintf(listen, sizeof(listen), "%s:%u", ip, d->port + 2U);
    dev_path(d, control, "pdu.sock");
    dev_path(d, log, "pdu.log");
    rc = dev_spawn(&s, &p->pid, err);
    free(argv[4]);
    if (rc == 0) {
        guard_add(d, p->pid);
        lg_info("pdu", "pid=%d listen=%s msg=started", (int)p->pid, listen);
    }
    return rc;
}

static void restart(uv_timer_t *timer)
{
    struct pdu *p;
    struct err err = { 0 };

    OBJ_FROM(p, timer->data, PDU_MAGIC);
    if (start_child(p, &err) != 0) {
        lg_err("pdu", "msg=\"%s\"", err.msg);
        (void)uv_timer_start(timer, restart, PDU_RESTART_MS, 0);
    }
}

bool pdu_child_gone(struct dev *d, pid_t pid)
{
    struct pdu *p = d->pdu;

    if (p == NULL || p->pid != pid) {
        return false;
    }
    guard_del(d, pid);
    p->pid = 0;
    lg_warn("pdu", "pid=%d msg=\"ended; starts again\"", (int)pid);
    (void)uv_timer_start(&p->restart, restart, PDU_RESTART_MS, 0);
    return true;
}

int pdu_open(struct dev *d, struct err *err)
{
    struct pdu *p = OBJ_NEW(struct pdu);
    char path[DEV_PATH_MAX];
    int r;

    p->magic = PDU_MAGIC;
    p->dev = d;
    p->handles = 2;
    CHECK(uv_pipe_init(d->loop, &p->listen, 0) == 0);
    CHECK(uv_timer_init(d->loop, &p->restart) == 0);
    p->listen.data = p;
    p->restart.data = p;
    d->pdu = p;
    dev_path(d, path, "pdu.sock");
    (void)unlink(path);
    r = uv_pipe_bind(&p->listen, path);
    if (r == 0) {
        r = uv_listen((uv_stream_t *)&p->listen, 8, on_connection);
    }
    if (r != 0) {
        return err_native(err, ERR_SYS, "uv", r, "listen on %s: %s", path, uv_strerror(r));
    }
    return start_child(p, err);
}

static void handle_closed(uv_handle_t *handle)
{
    struct pdu *p;

    OBJ_FROM(p, handle->data, PDU_MAGIC);
    if (--p->handles == 0) {
        free(p);
    }
}

void pdu_close(struct dev *d)
{
    struct pdu *p = d->pdu;
    struct pdu_conn *c;

    if (p == NULL) {
        return;
    }
    d->pdu = NULL;
    if (p->pid > 0) {
        (void)kill(-p->pid, SIGKILL);
    }
    while ((c = LIST_FIRST(&p->conns)) != NULL) {
        conn_close(c);
    }
    uv_close((uv_handle_t *)&p->listen, handle_closed);
    uv_close((uv_handle_t *)&p->restart, handle_closed);
}
