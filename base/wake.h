#ifndef BASE_WAKE_H
#define BASE_WAKE_H

/* Wakes a loop from other threads, also a loop of a thread in a real-time class.
 *
 * uv_async_t is not for that: its handler waits, spinning, for a sender that is still inside
 * uv_async_send (src/unix/async.c of libuv 1.44: uv__async_spin).  A real-time thread that its
 * sender has woken on the same processor takes that processor and spins until the kernel's limit
 * for real-time threads (sched(7), sched_rt_runtime_us) gives the sender a turn, 0.95 s later. Here
 * a wake is one write to an eventfd(2).
 */

#include <uv.h>

struct wake;

typedef void wake_cb(void *ctx);

/* `cb` on the loop's thread, once or more after each wake_send; several may become one. */
struct wake *wake_new(uv_loop_t *loop, wake_cb *cb, void *ctx);
/* Any thread, as long as wake_close was not called. */
void wake_send(struct wake *w);
/* The loop's thread; no callback after it.  The loop has to run once more; NULL is nothing. */
void wake_close(struct wake *w);

#endif
