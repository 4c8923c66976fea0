#include "base/wake.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/obj.h"

#define WAKE_MAGIC 0x57414b45U

struct wake {
    unsigned magic;
    uv_poll_t poll;
    int fd;
    wake_cb *cb;
    void *ctx;
};

static void on_readable(uv_poll_t *p, int status, int events)
{
    struct wake *w;
    uint64_t n;

    (void)events;
    OBJ_FROM(w, p->data, WAKE_MAGIC);
    CHECK(status == 0);
    if (read(w->fd, &n, sizeof(n)) < 0) {
        CHECK(errno == EAGAIN || errno == EINTR);
    }
    w->cb(w->ctx);
}

struct wake *wake_new(uv_loop_t *loop, wake_cb *cb, void *ctx)
{
    struct wake *w = OBJ_NEW(struct wake);

    w->magic = WAKE_MAGIC;
    w->cb = cb;
    w->ctx = ctx;
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(w->fd >= 0);
    CHECK(uv_poll_init(loop, &w->poll, w->fd) == 0);
    w->poll.data = w;
    CHECK(uv_poll_start(&w->poll, UV_READABLE, on_readable) == 0);
    return w;
}

void wake_send(struct wake *w)
{
    const uint64_t one = 1;
    ssize_t n;

    OBJ_CHECK(w, WAKE_MAGIC);
    do {
        n = write(w->fd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    CHECK(n == sizeof(one) || errno == EAGAIN); /* EAGAIN: as woken as can be */
}

static void on_closed(uv_handle_t *h)
{
    struct wake *w;

    OBJ_FROM(w, h->data, WAKE_MAGIC);
    (void)close(w->fd);
    w->magic = 0;
    free(w);
}

void wake_close(struct wake *w)
{
    if (w != NULL) {
        OBJ_CHECK(w, WAKE_MAGIC);
        uv_close((uv_handle_t *)&w->poll, on_closed);
    }
}
