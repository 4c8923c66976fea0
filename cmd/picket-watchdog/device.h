#ifndef PICKET_WATCHDOG_DEVICE_H
#define PICKET_WATCHDOG_DEVICE_H

/* The watchdog device: /dev/watchdog*, the supervisor of `picket dev`, or none.
 *
 * /dev/watchdog also is the Xen hypervisor's watchdog: the kernel's driver xen_wdt.  No function
 * here allocates; a message in *err is set on failure.  Source: Linux,
 * Documentation/watchdog/watchdog-api.rst.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fence/wdog.h"

enum device_how { DEVICE_NONE, DEVICE_LINUX, DEVICE_DEV };

struct device {
    enum device_how how;
    char path[108];
    int fd; /* -1: closed */
    enum wdog_kind kind;
    bool nowayout;
    uint32_t timeout_ms; /* read back */
};

/* "none", "dev:PATH" or a path. */
int device_init(struct device *d, const char *spec, struct err *err) ERR_USED;
/* Open (which starts a Linux watchdog), set the timeout and read it back. */
int device_arm(struct device *d, uint32_t timeout_ms, struct err *err) ERR_USED;
int device_feed(struct device *d, struct err *err) ERR_USED;
/* Let it end the host as soon as it can. */
void device_hasten(struct device *d);
/* Stop it and close it; with nowayout it stays open, and has to be fed on. */
void device_disarm(struct device *d);

#endif
