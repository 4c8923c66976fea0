#include "storage/cmd_exec.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"

/* The story: spawn into a session of its own, write the input, read both outputs, wait for the
 * exit. The command has ended when it is gone and both outputs are at their end; then pipes, timer
 * and process are closed, and after the last of them the callback runs.
 *
 * One timer has three lives: the deadline; after a kill the grace, at whose end the command counts
 * as stuck; after an exit the time that a grandchild may hold the pipes open. A stuck command gives
 * its result at once and keeps only its process handle, until the kernel lets it go. */

#define CMD_MAGIC 0x434d4458U
#define RUNNER_MAGIC 0x434d4452U
#define LINGER_MS 500U

struct stream {
    uv_pipe_t pipe;
    struct buf data;
    bool ended;
};

struct cmd {
    unsigned magic;
    TAILQ_ENTRY(cmd) entry;
    struct cmd_runner *runner;
    uv_process_t process;
    uv_pipe_t in;
    struct stream out, errors;
    uv_timer_t timer;
    uv_write_t write;
    uv_buf_t input; /* wiped after it was written */
    unsigned handles;
    enum cmd_end end; /* why it was killed; CMD_OK: it was not */
    bool has_process, process_closing, exited, killed, closing, stuck, reported;
    int64_t status;
    int term_signal;
    uint64_t started_ms;
    char name[160];
    cmd_cb *cb; /* NULL: it was never started */
    void *ctx;
};

struct cmd_runner {
    unsigned magic;
    uv_loop_t *loop;
    TAILQ_HEAD(, cmd) cmds;
    unsigned max, running, stuck;
    bool closing;
    void (*on_closed)(void *ctx);
    void *ctx;
    uv_idle_t close_later; /* on_closed never comes out of cmd_runner_close itself */
};

const char *cmd_end_name(enum cmd_end end)
{
    switch (end) {
    case CMD_OK:
        return "Ok";
    case CMD_FAILED:
        return "Failed";
    case CMD_SIGNALED:
        return "Signaled";
    case CMD_TIMED_OUT:
        return "TimedOut";
    case CMD_OVERFLOW:
        return "Overflow";
    case CMD_CANCELED:
        return "Canceled";
    case CMD_STUCK:
        return "Stuck";
    }
    CHECK_UNREACHABLE();
}

/* --- the result --- */

static enum cmd_end end_of(const struct cmd *c)
{
    if (c->stuck) {
        return CMD_STUCK;
    }
    if (c->end != CMD_OK) {
        return c->end;
    }
    if (c->term_signal != 0) {
        return CMD_SIGNALED;
    }
    return c->status == 0 ? CMD_OK : CMD_FAILED;
}

/* The last line that is not empty: programs say what went wrong at the end. */
static void last_line(struct buf *b, char *dst, size_t size)
{
    const char *s = buf_cstr(b);
    size_t end = b->len;
    size_t start;
    size_t n = 0;

    while (end > 0 && (s[end - 1] == '\n' || s[end - 1] == ' ')) {
        end--;
    }
    for (start = end; start > 0 && s[start - 1] != '\n'; start--) {
    }
    while (start < end && s[start] == ' ') {
        start++;
    }
    for (; start < end && n + 1 < size; start++) {
        dst[n++] = (unsigned char)s[start] < ' ' || s[start] == 0x7f ? ' ' : s[start];
    }
    dst[n] = '\0';
}

static void why_of(struct cmd *c, struct cmd_result *r)
{
    char said[200];

    last_line(c->errors.data.len > 0 ? &c->errors.data : &c->out.data, said, sizeof(said));
    switch (r->end) {
    case CMD_OK:
        return;
    case CMD_FAILED:
        (void)snprintf(r->why, sizeof(r->why), "%s: exit status %d%s%s", c->name, r->status,
                       said[0] != '\0' ? ": " : "", said);
        return;
    case CMD_SIGNALED:
        (void)snprintf(r->why, sizeof(r->why), "%s: ended by signal %d", c->name, r->signal);
        return;
    case CMD_TIMED_OUT:
        (void)snprintf(r->why, sizeof(r->why), "%s: no end after %" PRIu64 " ms, killed%s%s",
                       c->name, r->took_ms, said[0] != '\0' ? "; it said: " : "", said);
        return;
    case CMD_OVERFLOW:
        (void)snprintf(r->why, sizeof(r->why), "%s: printed more than %zu bytes, killed", c->name,
                       c->out.data.max);
        return;
    case CMD_CANCELED:
        (void)snprintf(r->why, sizeof(r->why), "%s: canceled", c->name);
        return;
    case CMD_STUCK:
        (void)snprintf(r->why, sizeof(r->why),
                       "%s: hangs and cannot be killed (process %d); it waits for a disk that does "
                       "not answer",
                       c->name, uv_process_get_pid(&c->process));
        return;
    }
    CHECK_UNREACHABLE();
}

static void report(struct cmd *c)
{
    struct cmd_result r = { .end = end_of(c), .status = (int)c->status, .signal = c->term_signal };

    c->reported = true;
    r.out = buf_cstr(&c->out.data);
    r.out_len = c->out.data.len;
    r.errors = buf_cstr(&c->errors.data);
    r.errors_len = c->errors.data.len;
    r.took_ms = clock_now_ms() - c->started_ms;
    why_of(c, &r);
    c->cb(c->ctx, &r);
}

int cmd_result_err(const struct cmd_result *r, struct err *err)
{
    switch (r->end) {
    case CMD_OK:
        return 0;
    case CMD_FAILED:
        return err_set(err, ERR_DRIVER, "%s", r->why);
    case CMD_SIGNALED:
    case CMD_TIMED_OUT:
    case CMD_OVERFLOW:
    case CMD_CANCELED:
    case CMD_STUCK:
        return err_set(err, ERR_UNKNOWN_OUTCOME, "%s", r->why);
    }
    CHECK_UNREACHABLE();
}

/* --- the end --- */

static void on_runner_closed(uv_handle_t *h)
{
    struct cmd_runner *r;

    OBJ_FROM(r, h->data, RUNNER_MAGIC);
    r->on_closed(r->ctx);
    r->magic = 0;
    free(r);
}

static void runner_check(struct cmd_runner *r)
{
    if (r->closing && TAILQ_EMPTY(&r->cmds) && !uv_is_closing((uv_handle_t *)&r->close_later)) {
        uv_close((uv_handle_t *)&r->close_later, on_runner_closed);
    }
}

static void wipe_input(struct cmd *c)
{
    if (c->input.base != NULL) {
        explicit_bzero(c->input.base, c->input.len);
        free(c->input.base);
        c->input.base = NULL;
    }
}

static void cmd_free(struct cmd *c)
{
    struct cmd_runner *r = c->runner;

    TAILQ_REMOVE(&r->cmds, c, entry);
    if (c->cb != NULL) {
        CHECK(r->running > 0);
        r->running--;
    }
    if (c->stuck) {
        CHECK(r->stuck > 0);
        r->stuck--;
    }
    wipe_input(c);
    buf_done(&c->out.data);
    buf_done(&c->errors.data);
    c->magic = 0;
    free(c);
    runner_check(r);
}

static void close_handle(struct cmd *c, uv_handle_t *h, uv_close_cb cb)
{
    (void)c;
    if (!uv_is_closing(h)) {
        uv_close(h, cb);
    }
}

static void on_closed(uv_handle_t *h)
{
    struct cmd *c;

    OBJ_FROM(c, h->data, CMD_MAGIC);
    CHECK(c->handles > 0);
    c->handles--;
    if (c->handles == 1 && c->stuck && !c->process_closing && !c->reported) {
        report(c);
        if (c->exited || c->runner->closing) {
            c->process_closing = true;
            close_handle(c, (uv_handle_t *)&c->process, on_closed);
        }
    }
    if (c->handles > 0) {
        return;
    }
    if (c->cb != NULL && !c->reported) {
        report(c);
    }
    cmd_free(c);
}

static void close_all(struct cmd *c)
{
    c->closing = true;
    close_handle(c, (uv_handle_t *)&c->in, on_closed);
    close_handle(c, (uv_handle_t *)&c->out.pipe, on_closed);
    close_handle(c, (uv_handle_t *)&c->errors.pipe, on_closed);
    close_handle(c, (uv_handle_t *)&c->timer, on_closed);
    if (c->has_process && !c->stuck) {
        c->process_closing = true;
        close_handle(c, (uv_handle_t *)&c->process, on_closed);
    }
}

static void check_finished(struct cmd *c)
{
    if (c->exited && c->out.ended && c->errors.ended && !c->closing) {
        close_all(c);
    }
}

static void on_timer(uv_timer_t *t);

/* The group's id is the process's, and lives as long as one of its members. */
static void kill_group(struct cmd *c)
{
    int pid = uv_process_get_pid(&c->process);

    CHECK(pid > 1);
    (void)kill(-pid, SIGKILL);
}

static void kill_cmd(struct cmd *c, enum cmd_end end)
{
    if (c->closing || c->killed) {
        return;
    }
    c->killed = true;
    if (!c->exited) {
        c->end = end;
    }
    kill_group(c);
    c->out.ended = c->errors.ended = true; /* what others in the group have to say is not asked */
    (void)uv_read_stop((uv_stream_t *)&c->out.pipe);
    (void)uv_read_stop((uv_stream_t *)&c->errors.pipe);
    CHECK(uv_timer_start(&c->timer, on_timer, CMD_GRACE_MS, 0) == 0);
    check_finished(c);
}

static void on_timer(uv_timer_t *t)
{
    struct cmd *c;

    OBJ_FROM(c, t->data, CMD_MAGIC);
    if (!c->killed) {
        kill_cmd(c, CMD_TIMED_OUT);
    } else if (!c->exited && !c->closing) {
        c->stuck = true;
        c->runner->stuck++;
        close_all(c);
    }
}

static void on_exit_child(uv_process_t *p, int64_t status, int term_signal)
{
    struct cmd *c;

    OBJ_FROM(c, p->data, CMD_MAGIC);
    c->exited = true;
    c->status = status;
    c->term_signal = term_signal;
    if (c->reported && !c->process_closing) { /* it was stuck, and the disk has answered */
        c->process_closing = true;
        close_handle(c, (uv_handle_t *)&c->process, on_closed);
        return;
    }
    if (!c->closing && !c->killed && !(c->out.ended && c->errors.ended)) {
        uint64_t left = uv_timer_get_due_in(&c->timer);

        CHECK(uv_timer_start(&c->timer, on_timer, left < LINGER_MS ? left : LINGER_MS, 0) == 0);
    }
    check_finished(c);
}

/* --- input and output --- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    static char data[16384]; /* consumed in on_read, before the next on_alloc */

    (void)h;
    (void)suggested;
    *ret = uv_buf_init(data, sizeof(data));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *data)
{
    struct cmd *c;
    struct stream *st;

    OBJ_FROM(c, s->data, CMD_MAGIC);
    st = s == (uv_stream_t *)&c->out.pipe ? &c->out : &c->errors;
    if (n > 0) {
        buf_add(&st->data, data->base, (size_t)n);
        if (c->out.data.overflow) {
            kill_cmd(c, CMD_OVERFLOW);
            c->end = CMD_OVERFLOW; /* also when it has exited: its output is not complete */
        }
    } else if (n < 0) {
        st->ended = true;
        (void)uv_read_stop(s);
        check_finished(c);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct cmd *c = CONTAINER_OF(req, struct cmd, write);

    (void)status; /* a command that does not read is seen by its exit */
    OBJ_CHECK(c, CMD_MAGIC);
    wipe_input(c);
    if (!uv_is_closing((uv_handle_t *)&c->in)) {
        uv_close((uv_handle_t *)&c->in, on_closed);
    }
}

static void feed(struct cmd *c, const struct cmd_spec *spec)
{
    c->input = uv_buf_init(mem_dup(spec->input, spec->input_len), (unsigned)spec->input_len);
    if (uv_write(&c->write, (uv_stream_t *)&c->in, &c->input, 1, on_written) != 0) {
        on_written(&c->write, -1);
    }
}

/* --- start --- */

static int check_spec(const struct cmd_runner *r, const struct cmd_spec *spec, struct err *err)
{
    size_t n = 0;

    CHECK(spec->timeout_ms > 0);
    CHECK(!r->closing);
    if (spec->argv[0] == NULL || spec->argv[0][0] != '/') {
        return err_set(err, ERR_INVALID, "run a command: \"%s\" is not an absolute path",
                       spec->argv[0] != NULL ? spec->argv[0] : "");
    }
    while (spec->argv[n] != NULL) {
        n++;
    }
    if (n > CMD_ARGS_MAX || spec->input_len > CMD_INPUT_MAX) {
        return err_set(err, ERR_INVALID,
                       "run %s: %zu arguments and %zu bytes of input are more than %d and %d",
                       spec->argv[0], n, spec->input_len, CMD_ARGS_MAX, CMD_INPUT_MAX);
    }
    if (r->running >= r->max) {
        return err_set(err, ERR_LIMIT, "run %s: %u commands run already, %u of them hang",
                       spec->argv[0], r->running, r->stuck);
    }
    return 0;
}

/* "lvm vgs --reportformat ...": enough to know which one it was. */
static void name_of(struct cmd *c, const char *const *argv)
{
    const char *slash = strrchr(argv[0], '/');
    size_t n = (size_t)snprintf(c->name, sizeof(c->name), "%s", slash + 1);

    for (size_t i = 1; i < 4 && argv[i] != NULL && n < sizeof(c->name); i++) {
        n += (size_t)snprintf(c->name + n, sizeof(c->name) - n, " %.40s", argv[i]);
    }
}

static struct cmd *cmd_new(struct cmd_runner *r, const struct cmd_spec *spec)
{
    struct cmd *c = OBJ_NEW(struct cmd);

    c->magic = CMD_MAGIC;
    c->runner = r;
    buf_init(&c->out.data, spec->output_max != 0 ? spec->output_max : CMD_OUTPUT_MAX);
    buf_init(&c->errors.data, CMD_STDERR_MAX);
    CHECK(uv_pipe_init(r->loop, &c->in, 0) == 0);
    CHECK(uv_pipe_init(r->loop, &c->out.pipe, 0) == 0);
    CHECK(uv_pipe_init(r->loop, &c->errors.pipe, 0) == 0);
    CHECK(uv_timer_init(r->loop, &c->timer) == 0);
    c->in.data = c->out.pipe.data = c->errors.pipe.data = c->timer.data = c->process.data = c;
    c->handles = 5;
    c->has_process = true;
    name_of(c, spec->argv);
    TAILQ_INSERT_TAIL(&r->cmds, c, entry);
    return c;
}

static int spawn(struct cmd *c, const struct cmd_spec *spec)
{
    char *env[] = { (char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                    (char *)(uintptr_t) "LC_ALL=C",
                    (char *)(uintptr_t) "LVM_SUPPRESS_FD_WARNINGS=1", NULL };
    uv_stdio_container_t stdio[3] = {
        { .flags = UV_IGNORE },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->out.pipe },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
          .data.stream = (uv_stream_t *)&c->errors.pipe },
    };
    uv_process_options_t o = { .exit_cb = on_exit_child,
                               .file = spec->argv[0],
                               .args = (char **)(uintptr_t)spec->argv,
                               .env = env,
                               .cwd = "/",
                               .flags = UV_PROCESS_DETACHED,
                               .stdio_count = 3,
                               .stdio = stdio };

    if (spec->input_len > 0) {
        stdio[0].flags = UV_CREATE_PIPE | UV_READABLE_PIPE;
        stdio[0].data.stream = (uv_stream_t *)&c->in;
    }
    return uv_spawn(c->runner->loop, &c->process, &o);
}

int cmd_start(struct cmd_runner *r, const struct cmd_spec *spec, cmd_cb *cb, void *ctx,
              struct cmd **ret, struct err *err)
{
    struct cmd *c;
    int rc;

    OBJ_CHECK(r, RUNNER_MAGIC);
    CHECK(cb != NULL);
    rc = check_spec(r, spec, err);
    if (rc != 0) {
        return rc;
    }
    c = cmd_new(r, spec);
    rc = spawn(c, spec);
    if (rc != 0) {
        close_all(c); /* without a callback: it frees itself */
        return err_native(err, ERR_SYS, "uv", rc, "start %s: %s", spec->argv[0], uv_strerror(rc));
    }
    c->cb = cb;
    c->ctx = ctx;
    c->started_ms = clock_now_ms();
    r->running++;
    if (spec->input_len > 0) {
        feed(c, spec);
    }
    CHECK(uv_read_start((uv_stream_t *)&c->out.pipe, on_alloc, on_read) == 0);
    CHECK(uv_read_start((uv_stream_t *)&c->errors.pipe, on_alloc, on_read) == 0);
    CHECK(uv_timer_start(&c->timer, on_timer, spec->timeout_ms, 0) == 0);
    if (ret != NULL) {
        *ret = c;
    }
    return 0;
}

void cmd_cancel(struct cmd *c)
{
    OBJ_CHECK(c, CMD_MAGIC);
    kill_cmd(c, CMD_CANCELED);
}

/* --- the runner --- */

struct cmd_runner *cmd_runner_new(uv_loop_t *loop, unsigned max)
{
    struct cmd_runner *r = OBJ_NEW(struct cmd_runner);

    struct sigaction pipe_action;

    CHECK(max > 0);
    CHECK(sigaction(SIGPIPE, NULL, &pipe_action) == 0 && pipe_action.sa_handler == SIG_IGN);
    r->magic = RUNNER_MAGIC;
    r->loop = loop;
    r->max = max;
    TAILQ_INIT(&r->cmds);
    CHECK(uv_idle_init(loop, &r->close_later) == 0);
    r->close_later.data = r;
    return r;
}

unsigned cmd_running(const struct cmd_runner *r)
{
    OBJ_CHECK(r, RUNNER_MAGIC);
    return r->running;
}

unsigned cmd_stuck(const struct cmd_runner *r)
{
    OBJ_CHECK(r, RUNNER_MAGIC);
    return r->stuck;
}

void cmd_runner_close(struct cmd_runner *r, void (*on_closed_cb)(void *ctx), void *ctx)
{
    struct cmd *c;

    OBJ_CHECK(r, RUNNER_MAGIC);
    CHECK(!r->closing && on_closed_cb != NULL);
    r->closing = true;
    r->on_closed = on_closed_cb;
    r->ctx = ctx;
    TAILQ_FOREACH (c, &r->cmds, entry) {
        if (c->reported && c->stuck && !c->process_closing) {
            c->process_closing = true;
            close_handle(c, (uv_handle_t *)&c->process, on_closed);
        } else if (c->cb != NULL) {
            kill_cmd(c, CMD_CANCELED);
        }
    }
    runner_check(r);
}
