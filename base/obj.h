#ifndef BASE_OBJ_H
#define BASE_OBJ_H

/* Checks that stay on in production, and magic numbers for pointers that cross a `void *`.
 *
 * CHECK is for our own mistakes only: never for input, disks, peers, devices or hypervisors.
 * A failed check prints where it failed and aborts; tests replace check_fail (see obj_test.h).
 */

#include <stddef.h>

/* Report the failed expression and abort.  Thread-safe; never returns. */
void check_fail(const char *expr, const char *func, const char *file, int line)
    __attribute__((noreturn));

/* Call `fn` instead of aborting (it must not return normally: longjmp).  For tests only. */
void check_set_handler(void (*fn)(const char *expr, const char *file, int line));

#define CHECK(e)                                                                                   \
    do {                                                                                           \
        if (!(e)) {                                                                                \
            check_fail(#e, __func__, __FILE__, __LINE__);                                          \
        }                                                                                          \
    } while (0)

#define CHECK_UNREACHABLE() check_fail("unreachable", __func__, __FILE__, __LINE__)

#define OBJ_CHECK(o, m)                                                                            \
    do {                                                                                           \
        CHECK((o) != NULL);                                                                        \
        CHECK((o)->magic == (m));                                                                  \
    } while (0)

/* For a `void *` that comes back from a callback. */
#define OBJ_FROM(o, ptr, m)                                                                        \
    do {                                                                                           \
        (o) = (ptr);                                                                               \
        OBJ_CHECK(o, m);                                                                           \
    } while (0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The object that contains `ptr` as its `member`. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Allocation of small, fixed-size things: they abort on out-of-memory, since an untested error
 * branch is worse than a restart.  Anything proportional to input is bounded before it is
 * allocated.  The result is owned by the caller and released with free(). */
void *mem_alloc(size_t size);               /* zeroed */
void *mem_realloc(void *p, size_t size);    /* new bytes are not zeroed */
char *mem_strdup(const char *s);            /* s may be NULL: returns NULL */
char *mem_strndup(const char *s, size_t n); /* n bytes, NUL added */
void *mem_dup(const void *p, size_t n);     /* n may be 0: returns a 1-byte block */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define OBJ_NEW(type) ((type *)mem_alloc(sizeof(type)))

#endif
