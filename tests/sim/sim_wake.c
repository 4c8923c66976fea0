/* In the place of base/wake_uv.c: a wake is an async of the simulator (sim_uv.c). */

#include "base/wake.h"

#include <stdlib.h>

#include "base/obj.h"

struct wake {
    uv_async_t async;
    wake_cb *cb;
    void *ctx;
};

static void on_async(uv_async_t *a)
{
    struct wake *w = a->data;

    w->cb(w->ctx);
}

struct wake *wake_new(uv_loop_t *loop, wake_cb *cb, void *ctx)
{
    struct wake *w = OBJ_NEW(struct wake);

    w->cb = cb;
    w->ctx = ctx;
    CHECK(uv_async_init(loop, &w->async, on_async) == 0);
    w->async.data = w;
    return w;
}

void wake_send(struct wake *w)
{
    CHECK(uv_async_send(&w->async) == 0);
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void wake_close(struct wake *w)
{
    if (w != NULL) {
        uv_close((uv_handle_t *)&w->async, on_closed);
    }
}
