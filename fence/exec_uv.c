#include "fence/exec_uv.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/obj.h"

/* The story: spawn, write the operation, read the answer up to EOF, wait for the exit.  The result
 * is made when the child is gone and its output has ended; then the handles are closed, and the
 * callback runs when the last one is.  A timer kills the child at its hard timeout. */

#define FENCE_EXEC_MAGIC 0x46455843U
#define OUTPUT_MAX 16384U
#define HARD_EXTRA_MS 2000U
#define EXTEND_KEY "deadline_boottime_ms="

struct fence_exec {
    unsigned magic;
    uv_process_t process;
    uv_pipe_t in, out;
    uv_timer_t timer;
    unsigned handles; /* to be closed */
    bool exited, ended, closing, killed, overflow;
    int64_t exit_status;
    int term_signal;
    struct buf output;
    fence_exec_cb *cb;
    void *ctx;
};

struct exec_write {
    uv_write_t req;
    uv_buf_t buf; /* wiped after it was written */
};

/* --- result
 * ------------------------------------------------------------------------------------------ */

static int64_t status_of(enum fence_outcome r)
{
    switch (r) {
    case FENCE_SUCCEEDED:
        return 0;
    case FENCE_FAILED:
        return 1;
    case FENCE_UNKNOWN:
        return 2;
    }
    CHECK_UNREACHABLE();
}

/* Anything that is not clearly Succeeded or Failed is Unknown. */
static void result_of(struct fence_exec *x, struct fence_answer *ret)
{
    struct err err;

    memset(ret, 0, sizeof(*ret));
    if (!x->overflow && x->term_signal == 0 &&
        fence_answer_decode(buf_cstr(&x->output), x->output.len, ret, &err) == 0 &&
        x->exit_status == status_of(ret->result)) {
        return;
    }
    memset(ret, 0, sizeof(*ret));
    if (x->killed) {
        fence_answer_set(ret, FENCE_UNKNOWN, "picket-fence was ended at its hard timeout");
    } else if (x->term_signal != 0) {
        fence_answer_set(ret, FENCE_UNKNOWN, "picket-fence was ended by signal %d", x->term_signal);
    } else {
        fence_answer_set(ret, FENCE_UNKNOWN,
                         "picket-fence gave no proper answer (exit status %" PRId64 ")",
                         x->exit_status);
    }
}

static void on_closed(uv_handle_t *h)
{
    struct fence_answer ans;
    struct fence_exec *x;

    OBJ_FROM(x, h->data, FENCE_EXEC_MAGIC);
    CHECK(x->handles > 0);
    if (--x->handles > 0) {
        return;
    }
    if (x->cb != NULL) {
        result_of(x, &ans);
        x->cb(x->ctx, &ans);
    }
    buf_done(&x->output);
    x->magic = 0;
    free(x);
}

static void close_handle(uv_handle_t *h)
{
    if (!uv_is_closing(h)) {
        uv_close(h, on_closed);
    }
}

static void close_all(struct fence_exec *x)
{
    x->closing = true;
    close_handle((uv_handle_t *)&x->process);
    close_handle((uv_handle_t *)&x->in);
    close_handle((uv_handle_t *)&x->out);
    close_handle((uv_handle_t *)&x->timer);
}

static void check_finished(struct fence_exec *x)
{
    if (x->exited && x->ended && !x->closing) {
        close_all(x);
    }
}

/* --- events
 * ------------------------------------------------------------------------------------------ */

static void on_exit_child(uv_process_t *p, int64_t status, int term_signal)
{
    struct fence_exec *x;

    OBJ_FROM(x, p->data, FENCE_EXEC_MAGIC);
    x->exited = true;
    x->exit_status = status;
    x->term_signal = term_signal;
    check_finished(x);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    static char data[4096]; /* consumed in on_read, before the next on_alloc */

    (void)h;
    (void)suggested;
    *ret = uv_buf_init(data, sizeof(data));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *data)
{
    struct fence_exec *x;

    OBJ_FROM(x, s->data, FENCE_EXEC_MAGIC);
    if (n > 0) {
        buf_add(&x->output, data->base, (size_t)n);
        x->overflow = x->output.overflow;
    } else if (n < 0) {
        x->ended = true;
        (void)uv_read_stop(s);
        check_finished(x);
    }
}

static void kill_child(struct fence_exec *x)
{
    if (!x->exited) {
        x->killed = true;
        (void)uv_process_kill(&x->process, SIGKILL);
    }
    /* A grandchild may hold the pipe open: what it has to say does not matter any more. */
    x->ended = true;
    (void)uv_read_stop((uv_stream_t *)&x->out);
    check_finished(x);
}

static void on_timer(uv_timer_t *t)
{
    struct fence_exec *x;

    OBJ_FROM(x, t->data, FENCE_EXEC_MAGIC);
    kill_child(x);
}

/* --- stdin
 * ------------------------------------------------------------------------------------------- */

static void on_written(uv_write_t *req, int status)
{
    struct exec_write *w = CONTAINER_OF(req, struct exec_write, req);

    (void)status; /* a child that does not read is seen by its exit */
    explicit_bzero(w->buf.base, w->buf.len);
    free(w->buf.base);
    free(w);
}

/* Takes over the buffer's bytes. */
static void write_in(struct fence_exec *x, struct buf *text)
{
    struct exec_write *w = OBJ_NEW(struct exec_write);
    size_t len = 0;
    char *data = buf_take(text, &len);

    w->buf = uv_buf_init(data, (unsigned)len);
    if (uv_write(&w->req, (uv_stream_t *)&x->in, &w->buf, 1, on_written) != 0) {
        on_written(&w->req, -1);
    }
}

/* Grown at once, so that no copy of a secret is left behind by a realloc. */
static void write_op(struct fence_exec *x, const struct fence_op *op)
{
    struct buf text = { 0 };

    CHECK(buf_reserve(&text, FENCE_OP_MAX_PARAMS * sizeof(struct fence_param) + 1024) != NULL);
    fence_op_encode(op, &text);
    write_in(x, &text);
}

/* --- interface
 * --------------------------------------------------------------------------------------- */

static void init_handles(struct fence_exec *x, uv_loop_t *loop)
{
    CHECK(uv_pipe_init(loop, &x->in, 0) == 0);
    CHECK(uv_pipe_init(loop, &x->out, 0) == 0);
    CHECK(uv_timer_init(loop, &x->timer) == 0);
    x->in.data = x;
    x->out.data = x;
    x->timer.data = x;
    x->process.data = x;
    x->handles = 4;
}

static int spawn(struct fence_exec *x, uv_loop_t *loop, const char *path)
{
    char *args[] = { (char *)(uintptr_t)path, NULL };
    char *env[] = { (char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                    (char *)(uintptr_t) "LC_ALL=C.UTF-8", NULL };
    uv_stdio_container_t stdio[3] = {
        { .flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&x->in },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&x->out },
        { .flags = UV_IGNORE },
    };
    uv_process_options_t o = { .exit_cb = on_exit_child,
                               .file = path,
                               .args = args,
                               .env = env,
                               .stdio_count = 3,
                               .stdio = stdio };

    return uv_spawn(loop, &x->process, &o);
}

int fence_exec_start(uv_loop_t *loop, const char *path, const struct fence_op *op, uint64_t hard_ms,
                     fence_exec_cb *cb, void *ctx, struct fence_exec **ret, struct err *err)
{
    struct fence_exec *x = OBJ_NEW(struct fence_exec);
    int r;

    CHECK(cb != NULL);
    CHECK(op->timeout_ms > 0);
    x->magic = FENCE_EXEC_MAGIC;
    x->ctx = ctx;
    buf_init(&x->output, OUTPUT_MAX);
    init_handles(x, loop);
    r = spawn(x, loop, path);
    if (r != 0) {
        close_all(x); /* without a callback: it frees itself */
        return err_native(err, ERR_SYS, "uv", r, "start %s: %s", path, uv_strerror(r));
    }
    x->cb = cb;
    write_op(x, op);
    CHECK(uv_read_start((uv_stream_t *)&x->out, on_alloc, on_read) == 0);
    CHECK(uv_timer_start(&x->timer, on_timer,
                         hard_ms != 0 ? hard_ms : op->timeout_ms + HARD_EXTRA_MS, 0) == 0);
    *ret = x;
    return 0;
}

void fence_exec_extend(struct fence_exec *x, uint64_t deadline_boottime_ms)
{
    struct buf text = { 0 };

    OBJ_CHECK(x, FENCE_EXEC_MAGIC);
    if (!x->closing && !x->exited) {
        buf_printf(&text, EXTEND_KEY "%" PRIu64 "\n", deadline_boottime_ms);
        write_in(x, &text);
    }
}

void fence_exec_cancel(struct fence_exec *x)
{
    OBJ_CHECK(x, FENCE_EXEC_MAGIC);
    if (!x->closing) {
        kill_child(x);
    }
}
