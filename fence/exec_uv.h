#ifndef FENCE_EXEC_UV_H
#define FENCE_EXEC_UV_H

/* Run one device operation as a child process, from a libuv loop.
 *
 * The child gets the operation on stdin, its output is limited, and it is killed at its hard
 * timeout. Anything that is not a well-formed answer with the exit status that belongs to it is
 * Unknown. Loop thread only.  The callback comes exactly once per started operation, never before
 * fence_exec_start has returned, and after the child is gone; the handle is freed after the
 * callback.
 */

#include <uv.h>

#include "base/err.h"
#include "fence/dev.h"

struct fence_exec;

/* `ans` is valid during the call. */
typedef void fence_exec_cb(void *ctx, const struct fence_answer *ans);

/* @path        picket-fence
 * @op          copied and wiped after it was written
 * @hard_ms     after it the child is killed; 0: op->timeout_ms + 2 s
 *
 * ERR_SYS when the child could not be started: then nothing happened, and the callback never comes.
 */
int fence_exec_start(uv_loop_t *loop, const char *path, const struct fence_op *op, uint64_t hard_ms,
                     fence_exec_cb *cb, void *ctx, struct fence_exec **ret,
                     struct err *err) ERR_USED;

/* The executor's lease was renewed: switching packets may leave until then. */
void fence_exec_extend(struct fence_exec *x, uint64_t deadline_boottime_ms);

/* Kill the child now; the callback comes as always (with Unknown, unless the answer was there). */
void fence_exec_cancel(struct fence_exec *x);

#endif
