#ifndef FENCE_TLS_PIN_H
#define FENCE_TLS_PIN_H

/* A management card is known by the SHA-256 fingerprint of its certificate.
 *
 * fence_redfish can check a certificate against authorities only, which cards' own ones do not
 * have. So it is given a relay on loopback: each of its connections is answered with a throw-away
 * certificate, and goes on to the card only after the card has shown the pinned one.  Nothing that
 * the agent says, its password first of all, reaches anybody else.
 *
 * Blocking, with processes of its own; for picket-fence only.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define TLS_PIN_BYTES 32U

/* 64 hexadecimal digits, with or without colons, upper or lower case.  ERR_INVALID. */
int tls_pin_parse(const char *text, uint8_t ret[TLS_PIN_BYTES], struct err *err) ERR_USED;

/* Connect once and compare.  ERR_REFUSED: another certificate (both fingerprints are in the
 * message); ERR_UNREACHABLE, ERR_TIMEOUT, ERR_SYS.  `address` is "IP:PORT" or "[IP6]:PORT". */
int tls_pin_check(const char *address, const uint8_t pin[TLS_PIN_BYTES], uint64_t timeout_ms,
                  struct err *err) ERR_USED;

struct tls_pin {
    pid_t pid;     /* of the relay; it ends with the process that started it, or by tls_pin_stop */
    uint16_t port; /* on 127.0.0.1 */
};

int tls_pin_start(const char *address, const uint8_t pin[TLS_PIN_BYTES], struct tls_pin *ret,
                  struct err *err) ERR_USED;
void tls_pin_stop(struct tls_pin *p);

#endif
