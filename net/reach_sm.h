#ifndef NET_REACH_SM_H
#define NET_REACH_SM_H

/* A NetworkCheck on one host: from rounds of questions to what the host says.
 *
 * A round passes when at least `threshold` targets answered, fails when so many cannot have, and
 * says nothing when it depends on targets that could not be asked ("I could not look" is not "no
 * answer").  What the host says changes after `failures` failed or `recoveries` passed rounds in a
 * row; only the very first word comes at once when it is a good one.  Pure.
 */

#include <stdbool.h>
#include <stddef.h>

#define REACH_TARGETS_MAX 16U

enum reach_state { REACH_UNKNOWN = 0, REACH_PASSING, REACH_FAILING };
enum reach_answer { REACH_NOT_ASKED = 0, REACH_ANSWERED, REACH_SILENT };

struct reach_rule {
    size_t n_targets; /* at most REACH_TARGETS_MAX */
    unsigned threshold;
    unsigned failures, recoveries; /* at least 1 */
};

/* In a row: */
struct reach_count {
    enum reach_state state;
    unsigned passed, failed, blind;
};

/* A zeroed one knows nothing. */
struct reach {
    struct reach_count all;
    struct reach_count targets[REACH_TARGETS_MAX]; /* each on its own, for the message */
};

/* One round is over; true when what it says is another thing now. */
bool reach_round(struct reach *r, const struct reach_rule *rule, const enum reach_answer *answers);
/* Other targets or numbers: counting begins anew, the last word holds until the next. */
void reach_restart(struct reach *r);

const char *reach_state_name(enum reach_state s); /* "Unknown", "Passing", "Failing" */
enum reach_state reach_state_parse(const char *s);

#endif
