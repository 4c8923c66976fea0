#ifndef TESTS_STORESIM_WGL_H
#define TESTS_STORESIM_WGL_H

/* Is the history of one register linearizable?  The algorithm of Wing and Gong with Lowe's cache of
 * (set of linearized operations, state) pairs, as in Porcupine.  Pure.
 *
 * Values are numbers that are written at most once; 0 is "not there".  Times are positions in one
 * order of all calls and returns; no two are equal.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wgl_kind {
    WGL_READ,  /* found `value` */
    WGL_WRITE, /* of `value`; 0: a deletion */
    WGL_CAS,   /* `expect` was there and `value` was written, when `held`; else it was not there */
};

struct wgl_op {
    enum wgl_kind kind;
    uint64_t value, expect;
    bool held;
    uint64_t call, ret; /* ret UINT64_MAX: never returned, it may have happened or not */
};

enum wgl_result { WGL_OK, WGL_BAD, WGL_TOO_LONG };

/* ops in any order.  WGL_TOO_LONG: no answer within max_steps.  *ret_op (WGL_BAD): an operation
 * that could not be placed, in the attempt that came farthest. */
enum wgl_result wgl_check(const struct wgl_op *ops, size_t n, uint64_t initial, size_t max_steps,
                          size_t *ret_op);

#endif
