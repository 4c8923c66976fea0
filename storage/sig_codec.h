#ifndef STORAGE_SIG_CODEC_H
#define STORAGE_SIG_CODEC_H

/* Is a device provably empty? Only when wipefs finds no signature, its first and last MiB read as
 * zeroes, and both looks succeeded. Everything else is "there is something" or "unknown", and
 * neither is ever written to. Memory belongs to the arena of the caller. Pure; any thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

#define SIG_EDGE_BYTES (1024U * 1024U) /* read at each end */

enum sig_blank { SIG_UNKNOWN = 0, SIG_EMPTY, SIG_LVM, SIG_FOREIGN };
const char *sig_blank_name(enum sig_blank b); /* "Unknown", "Empty", "Lvm", "Foreign" */

struct sig_verdict {
    enum sig_blank blank;
    const char *what; /* "ext4 (label root) at 1080", "data at 512"; "" when empty */
};

/* What `wipefs -J DEVICE` printed (status 0). Empty here means: no known signature. SIG_LVM: a
 * physical volume and nothing else. ERR_CORRUPT: not such output; then nothing is known. */
int sig_parse_wipefs(const char *text, size_t len, struct arena *a, struct sig_verdict *ret,
                     struct err *err) ERR_USED;

/* Offset of the first byte that is not zero, or `len`. */
size_t sig_first_data(const void *data, size_t len);

/* Both looks together. `sigs` may be NULL: could not look. An offset is that of the first data in
 * the first and last MiB, UINT64_MAX when all of it is zero; edges_read false: could not read. */
struct sig_verdict sig_verdict_of(struct arena *a, const struct sig_verdict *sigs, bool edges_read,
                                  uint64_t data_at);

#endif
