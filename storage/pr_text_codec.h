#ifndef STORAGE_PR_TEXT_CODEC_H
#define STORAGE_PR_TEXT_CODEC_H

/* What sg_persist prints about the persistent reservations of a logical unit.  Memory belongs to
 * the arena of the caller.  Pure; any thread.  Source: sg_persist(8), sg3_utils 1.46; SPC-4 6.15.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

#define PRT_KEYS_MAX 4096
#define PRT_CONFLICT_STATUS 24 /* exit status: RESERVATION CONFLICT, nothing happened */

struct prt_keys {
    uint64_t *keys; /* one for each registered path of anybody */
    size_t n;
};

enum prt_type {
    PRT_NONE = 0,    /* no reservation */
    PRT_REGISTRANTS, /* only registrants may write */
    PRT_OTHER,       /* a type that lets in one host only */
};

struct prt_reservation {
    enum prt_type type;
    const char *text; /* "Write Exclusive, all registrants"; "": none */
};

/* ERR_CORRUPT: not such output, or cut off; whoever cannot see every key cannot say that one is
 * gone. */
int prt_keys_parse(const char *text, size_t len, struct arena *a, struct prt_keys *ret,
                   struct err *err) ERR_USED;
int prt_reservation_parse(const char *text, size_t len, struct arena *a,
                          struct prt_reservation *ret, struct err *err) ERR_USED;
/* *ret: the target can keep registrations through a loss of its power (PTPL_C). */
int prt_caps_parse(const char *text, size_t len, struct arena *a, bool *ret,
                   struct err *err) ERR_USED;
bool prt_keys_have(const struct prt_keys *k, uint64_t key);

#endif
