/* Consoles: the frames, and the agent's side at real terminals over real connections. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "api/console_conn.h"
#include "api/http_server.h"
#include "api/upgrade.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"
#include "reconciler/console.h"

/* --- frames --- */

static void frames(void **state)
{
    struct console_open o = { .vm = "web", .uid = "u1", .by = "a b", .via = "n1", .take = true };
    struct console_open got;
    struct buf b = { 0 };
    struct err err, end;
    enum console_frame type = CONSOLE_PING;
    const uint8_t *p = NULL;
    size_t len = 0, used;

    (void)state;
    console_put_open(&b, &o);
    for (size_t n = 0; n < b.len; n++) { /* never before it is whole */
        assert_int_equal(console_get(b.data, n, &type, &p, &len, &used, &err), 0);
        assert_int_equal(used, 0);
    }
    assert_int_equal(console_get(b.data, b.len, &type, &p, &len, &used, &err), 0);
    assert_int_equal(used, b.len);
    assert_int_equal(type, CONSOLE_OPEN);
    assert_int_equal(console_get_open(p, len, &got, &err), 0);
    assert_string_equal(got.vm, "web");
    assert_string_equal(got.via, "n1");
    assert_true(got.take);
    for (size_t n = 0; n < len; n++) {
        assert_int_equal(console_get_open(p, n, &got, &err), ERR_BAD_REQUEST);
    }
    buf_clear(&b);
    (void)err_set(&err, ERR_CONFLICT, "held by \x1b[31mann");
    console_put_end(&b, &err);
    assert_int_equal(console_get(b.data, b.len, &type, &p, &len, &used, &err), 0);
    assert_int_equal(type, CONSOLE_END);
    console_get_end(p, len, &end);
    assert_int_equal(end.code, ERR_CONFLICT);
    assert_string_equal(end.msg, "held by  [31mann"); /* it is printed on a terminal */
    console_get_end((const uint8_t *)"", 0, &end);
    assert_int_equal(end.code, ERR_DRIVER);
    console_get_end((const uint8_t *)"\xff", 1, &end);
    assert_int_equal(end.code, ERR_DRIVER);
    buf_done(&b);
}

static void bad_frames(void **state)
{
    static const uint8_t heads[][3] = { { 0, 0, 0 }, { 7, 0, 0 }, { 3, 0x20, 0x01 }, { 0xff } };
    enum console_frame type;
    const uint8_t *p;
    size_t len, used;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        assert_int_equal(console_get(heads[i], 3, &type, &p, &len, &used, &err), ERR_BAD_REQUEST);
    }
}

static void terminals(void **state)
{
    (void)state;
    assert_true(console_tty_ok("/dev/pts/0"));
    assert_true(console_tty_ok("/dev/pts/12345"));
    assert_false(console_tty_ok("/dev/pts/"));
    assert_false(console_tty_ok("/dev/pts/1/../../sda"));
    assert_false(console_tty_ok("/dev/pts/../sda"));
    assert_false(console_tty_ok("/dev/tty0"));
    assert_false(console_tty_ok("/etc/passwd"));
    assert_false(console_tty_ok("/dev/pts/1234567890"));
}

/* --- the end of a connection --- */

struct farewell {
    uv_loop_t loop;
    struct listener *listener;
    struct console_conn *conn;
    struct err end, lost;
};

static void farewell_accept(struct listener *l, struct stream *s)
{
    static const struct stream_cbs none = { .on_data = NULL };
    struct buf b = { 0 };
    struct err err, why;

    (void)l;
    (void)err_set(&why, ERR_REFUSED, "web does not run");
    buf_add(&b, "x", 1);
    console_put_end(&b, &why);
    stream_set_cbs(s, &none);
    assert_int_equal(stream_write(s, b.data, b.len, &err), 0);
    stream_close(s, true);
    buf_done(&b);
}

static void farewell_frame(void *data, enum console_frame type, const uint8_t *p, size_t len)
{
    struct farewell *f = data;

    assert_int_equal(type, CONSOLE_END);
    console_get_end(p, len, &f->end);
}

static void farewell_lost(void *data, const struct err *err)
{
    ((struct farewell *)data)->lost = *err;
}

/* As after an upgrade: what follows the answer belongs to the console. */
static void farewell_data(struct stream *s, const uint8_t *data, size_t len)
{
    static const struct console_conn_cbs cbs = { .on_frame = farewell_frame,
                                                 .on_end = farewell_lost };
    struct farewell *f = stream_data(s);

    f->conn = console_conn_new(&f->loop, s, data + 1, len - 1, &cbs, f);
}

/* Of TLS, where the last bytes and the end come in one read. */
static struct tls_ctx *farewell_tls(void)
{
    struct pki_subject s = { .role = "picket:voters", .name = "h", .cluster = "c" };
    char dir[] = "/tmp/picket-console-XXXXXX", cmd[64], crt[64], key[64], ca[64];
    struct tls_ctx *tls;
    struct err err;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(crt, sizeof(crt), "%s/h.crt", dir);
    (void)snprintf(key, sizeof(key), "%s/h.key", dir);
    (void)snprintf(ca, sizeof(ca), "%s/ca.crt", dir);
    assert_int_equal(pki_make_ca(dir, "c", &err), 0);
    assert_int_equal(pki_issue(dir, &s, crt, key, &err), 0);
    assert_int_equal(tls_ctx_load(crt, key, ca, "c", &tls, &err), 0);
    (void)snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    assert_int_equal(system(cmd), 0);
    return tls;
}

/* The reason came together with the end of the connection: it is heard all the same. */
static void last_words(void **state)
{
    static const struct stream_cbs cbs = { .on_data = farewell_data };
    struct stream_opts opts = { .tls = farewell_tls() };
    struct farewell f = { .conn = NULL };
    struct stream *s;
    struct err err;

    (void)state;
    assert_int_equal(uv_loop_init(&f.loop), 0);
    assert_int_equal(
        listener_open(&f.loop, "127.0.0.1:0", &opts, farewell_accept, &f, &f.listener, &err), 0);
    assert_int_equal(
        stream_connect(&f.loop, listener_address(f.listener), &opts, &cbs, &f, &s, &err), 0);
    while (f.lost.code == 0) {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
    assert_int_equal(f.end.code, ERR_REFUSED);
    assert_non_null(strstr(f.end.msg, "web does not run"));
    console_conn_close(f.conn);
    listener_close(f.listener);
    (void)uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f.loop), 0);
    tls_ctx_unref(opts.tls);
}

/* --- the agent's side --- */

#define PEOPLE 3

/* A picketd in small: it takes the agent's connections in the order in which they came. */
struct bench {
    uv_loop_t loop;
    struct http_server *server;
    const char *address;
    struct console_srv *srv;
    int master; /* of the guest's terminal */
    struct console_where at;
    int where_rc;
    struct person {
        struct console_conn *conn;
        struct buf heard;
        char opened[100];
        struct err end; /* code 0: it goes on */
        bool lost;
    } people[PEOPLE];
    size_t n_waiting;
    uv_timer_t patience;
    bool late;
};

static void on_frame(void *data, enum console_frame type, const uint8_t *p, size_t len)
{
    struct person *w = data;

    if (type == CONSOLE_DATA) {
        buf_add(&w->heard, p, len);
    } else if (type == CONSOLE_OPENED) {
        (void)snprintf(w->opened, sizeof(w->opened), "%.*s", (int)len, (const char *)p);
    } else {
        assert_int_equal(type, CONSOLE_END);
        console_get_end(p, len, &w->end);
    }
}

static void on_end(void *data, const struct err *err)
{
    struct person *w = data;

    (void)err;
    w->lost = true;
}

static void take(void *data, struct stream *s, const uint8_t *rest, size_t len)
{
    static const struct console_conn_cbs cbs = { .on_frame = on_frame, .on_end = on_end };
    struct bench *b = data;

    for (size_t i = 0; i < PEOPLE; i++) {
        if (b->people[i].conn == NULL) {
            b->people[i].conn = console_conn_new(&b->loop, s, rest, len, &cbs, &b->people[i]);
            b->n_waiting++;
            return;
        }
    }
    stream_close(s, false);
}

static void on_request(void *ctx, struct http_req *req)
{
    struct bench *b = ctx;
    struct err err;

    assert_string_equal(req->path, "/apis/picket/v1/hosts/node1/console");
    if (b->n_waiting == PEOPLE) {
        (void)err_set(&err, ERR_LIMIT, "enough");
        http_respond_err(req, &err);
    } else {
        assert_true(http_upgrade(req, CONSOLE_PROTOCOL, take, b));
    }
}

static int where(void *ctx, const char *vm, struct console_where *ret, struct err *err)
{
    struct bench *b = ctx;

    assert_string_equal(vm, "web");
    *ret = b->at;
    return b->where_rc == 0 ? 0 : err_set(err, b->where_rc, "web has ended: GuestPoweroff");
}

static void new_terminal(struct bench *b)
{
    b->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    assert_true(b->master >= 0);
    assert_int_equal(grantpt(b->master), 0);
    assert_int_equal(unlockpt(b->master), 0);
    assert_int_equal(ptsname_r(b->master, b->at.tty, sizeof(b->at.tty)), 0);
}

static void on_patience(uv_timer_t *t)
{
    struct bench *b = t->data;

    b->late = true;
}

#define UNTIL(b, cond)                                                                             \
    do {                                                                                           \
        (b)->late = false;                                                                         \
        assert_int_equal(uv_timer_start(&(b)->patience, on_patience, 30000, 0), 0);                \
        while (!(cond) && !(b)->late) {                                                            \
            (void)uv_run(&(b)->loop, UV_RUN_ONCE);                                                 \
        }                                                                                          \
        (void)uv_timer_stop(&(b)->patience);                                                       \
        assert_true(cond);                                                                         \
    } while (0)

static int setup(void **state)
{
    struct bench *b = OBJ_NEW(struct bench);
    struct http_server_opts o = { .on_request = on_request, .ctx = b };
    struct console_opts co = { .loop = &b->loop, .host = "node1", .where = where, .ctx = b };
    struct err err;

    assert_int_equal(uv_loop_init(&b->loop), 0);
    assert_int_equal(uv_timer_init(&b->loop, &b->patience), 0);
    b->patience.data = b;
    new_terminal(b);
    (void)str_copy(b->at.uid, sizeof(b->at.uid), "u1");
    b->at.id = 7;
    assert_int_equal(http_server_new(&b->loop, &o, &b->server, &err), 0);
    assert_int_equal(http_server_listen(b->server, "127.0.0.1:0", NULL, &b->address, &err), 0);
    co.endpoints = &b->address;
    co.n_endpoints = 1;
    b->srv = console_srv_new(&co);
    *state = b;
    UNTIL(b, b->n_waiting == 1);
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    console_srv_close(b->srv);
    for (size_t i = 0; i < PEOPLE; i++) {
        if (b->people[i].conn != NULL) {
            console_conn_close(b->people[i].conn);
        }
    }
    http_server_close(b->server, NULL, NULL);
    uv_close((uv_handle_t *)&b->patience, NULL);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    for (size_t i = 0; i < PEOPLE; i++) {
        buf_done(&b->people[i].heard);
    }
    if (b->master >= 0) {
        (void)close(b->master);
    }
    free(b);
    return 0;
}

/* Somebody asks: for the connection that came `i`th. */
static struct person *ask(struct bench *b, size_t i, const char *uid, bool by_force)
{
    struct console_open o = { .vm = "web", .via = "node2", .take = by_force };

    (void)snprintf(o.by, sizeof(o.by), "person%zu", i);
    (void)str_copy(o.uid, sizeof(o.uid), uid);
    UNTIL(b, b->n_waiting > i);
    (void)console_conn_send_open(b->people[i].conn, &o);
    return &b->people[i];
}

static void talks(void **state)
{
    struct bench *b = *state;
    struct person *a = ask(b, 0, "u1", false);
    char text[64] = "";
    ssize_t n = 0;

    UNTIL(b, a->opened[0] != '\0');
    assert_non_null(strstr(a->opened, b->at.tty));
    assert_int_equal(write(b->master, "login: \r\n", 9), 9);
    UNTIL(b, a->heard.len >= 9);
    assert_string_equal(buf_cstr(&a->heard), "login: \r\n"); /* the terminal adds nothing */
    (void)console_conn_send(a->conn, CONSOLE_DATA, "ro\x03\x04", 4);
    UNTIL(b, n > 0 || (n = read(b->master, text, sizeof(text) - 1)) > 0);
    assert_memory_equal(text, "ro\x03\x04", 4); /* nor does it take anything away */
    assert_int_equal(console_srv_sessions(b->srv), 1);
    console_conn_close(a->conn);
    a->conn = NULL;
    UNTIL(b, console_srv_sessions(b->srv) == 0);
}

static void one_at_a_time(void **state)
{
    struct bench *b = *state;
    struct person *a = ask(b, 0, "u1", false), *c, *d;

    UNTIL(b, a->opened[0] != '\0');
    c = ask(b, 1, "u1", false);
    UNTIL(b, c->end.code != 0);
    assert_int_equal(c->end.code, ERR_CONFLICT);
    assert_non_null(strstr(c->end.msg, "person0"));
    assert_non_null(strstr(c->end.msg, "node2"));
    assert_int_equal(a->end.code, 0);
    d = ask(b, 2, "u1", true);
    UNTIL(b, d->opened[0] != '\0');
    UNTIL(b, a->end.code != 0);
    assert_non_null(strstr(a->end.msg, "person2 has taken"));
    assert_int_equal(console_srv_sessions(b->srv), 1);
}

static void wrong_machine(void **state)
{
    struct bench *b = *state;
    struct person *a = ask(b, 0, "another", false), *c, *d;

    UNTIL(b, a->end.code != 0);
    assert_int_equal(a->end.code, ERR_CONFLICT);
    (void)str_copy(b->at.tty, sizeof(b->at.tty), "/dev/sda");
    c = ask(b, 1, "u1", false);
    UNTIL(b, c->end.code != 0);
    assert_int_equal(c->end.code, ERR_REFUSED);
    b->where_rc = ERR_NOT_FOUND;
    d = ask(b, 2, "u1", false);
    UNTIL(b, d->end.code != 0);
    assert_int_equal(d->end.code, ERR_NOT_FOUND);
    assert_int_equal(console_srv_sessions(b->srv), 0);
}

/* Restarted, and ended: said, whether the terminal closes or not. */
static void guest_ends(void **state)
{
    struct bench *b = *state;
    struct person *a = ask(b, 0, "u1", false), *c, *d;

    UNTIL(b, a->opened[0] != '\0');
    b->at.id = 8;
    UNTIL(b, a->end.code != 0);
    assert_int_equal(a->end.code, ERR_CANCELED);
    assert_non_null(strstr(a->end.msg, "was started again"));
    c = ask(b, 1, "u1", false);
    UNTIL(b, c->opened[0] != '\0');
    (void)close(b->master);
    b->master = -1;
    b->where_rc = ERR_TIMEOUT; /* for a while nobody knows what became of it */
    for (int i = 0; i < 3; i++) {
        (void)uv_run(&b->loop, UV_RUN_ONCE);
    }
    b->where_rc = ERR_REFUSED;
    UNTIL(b, c->end.code != 0);
    assert_non_null(strstr(c->end.msg, "GuestPoweroff"));
    b->where_rc = 0;
    new_terminal(b);
    d = ask(b, 2, "u1", false);
    UNTIL(b, d->opened[0] != '\0');
    (void)close(b->master); /* and nobody ever knows why */
    b->master = -1;
    UNTIL(b, d->end.code != 0);
    assert_non_null(strstr(d->end.msg, "closed by the side of the guest"));
}

/* A guest that reads nothing: what is typed waits within bounds, and it can be left all the same.
 */
static void deaf_guest(void **state)
{
    struct bench *b = *state;
    struct person *a = ask(b, 0, "u1", false), *c;
    char text[CONSOLE_PAYLOAD_MAX];
    bool room = true;

    UNTIL(b, a->opened[0] != '\0');
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 2000 && room; i++) {
        room = console_conn_send(a->conn, CONSOLE_DATA, text, sizeof(text));
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
    }
    assert_false(room); /* the agent stopped reading, so it waits here */
    c = ask(b, 1, "u1", true);
    UNTIL(b, c->opened[0] != '\0');
    UNTIL(b, a->end.code != 0 || a->lost);
}

static void nonsense(void **state)
{
    struct bench *b = *state;
    struct person *a, *c;

    (void)console_conn_send(b->people[0].conn, CONSOLE_DATA, "ls\n", 3);
    UNTIL(b, b->people[0].end.code == ERR_BAD_REQUEST);
    UNTIL(b, b->n_waiting > 1);
    a = &b->people[1];
    (void)console_conn_send(a->conn, CONSOLE_OPEN, "\0../../x", 9);
    UNTIL(b, a->end.code == ERR_BAD_REQUEST);
    c = ask(b, 2, "u1", false);
    UNTIL(b, c->opened[0] != '\0');
    (void)console_conn_send(c->conn, CONSOLE_OPENED, "", 0);
    UNTIL(b, c->end.code == ERR_BAD_REQUEST);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames),
        cmocka_unit_test(bad_frames),
        cmocka_unit_test(terminals),
        cmocka_unit_test(last_words),
        T(talks),
        T(one_at_a_time),
        T(wrong_machine),
        T(guest_ends),
        T(deaf_guest),
        T(nonsense),
    };

    return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
