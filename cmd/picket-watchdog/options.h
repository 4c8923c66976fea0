#ifndef PICKET_WATCHDOG_OPTIONS_H
#define PICKET_WATCHDOG_OPTIONS_H

/* The command line of picket-watchdog, and what is read once at start.  May allocate. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct options {
    const char *socket, *state, *device, *boot_id_file;
    uint64_t timeout_ms;
};

/* Sets what was given; ERR_INVALID says what is wrong, or how to use it. */
int options_parse(int argc, char **argv, struct options *o, struct err *err) ERR_USED;

/* One line of a file. */
int options_read_boot_id(const char *path, char *dst, size_t size, struct err *err) ERR_USED;

#endif
