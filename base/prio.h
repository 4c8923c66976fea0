#ifndef BASE_PRIO_H
#define BASE_PRIO_H

/* Priorities of the processes that a lease depends on: an overloaded host shall not lose it for
 * want of a turn.
 *
 * Both need root (CAP_SYS_NICE).  0, or ERR_DENIED or ERR_SYS: nothing was changed, and whoever
 * asked goes on without, loudly.
 */

#include <stdbool.h>

#include "base/err.h"

/* The calling process, before it makes threads: nice -10.  `keep`: its children and threads keep
 * it, otherwise they are ordinary ones (guests and what they need must not be preferred). */
int prio_service(bool keep, struct err *err) ERR_USED;
/* All processes of the calling one's session together, where the kernel schedules sessions as
 * groups (autogroup): nice values count only within one.  0 also where it does not. */
int prio_session(struct err *err) ERR_USED;
/* The calling thread: round robin, above everything that is not real-time; its children are
 * ordinary.  For threads that never do much. */
int prio_realtime(struct err *err) ERR_USED;

#endif
