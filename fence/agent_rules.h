#ifndef FENCE_AGENT_RULES_H
#define FENCE_AGENT_RULES_H

/* What a FenceDevice may say to a fence agent, and when the agent's "off" is believed.
 *
 * Pure; any thread.  Source: fence-agents 4.12.1, /usr/share/fence/fencing.py.
 */

#include <stdbool.h>

#include "fence/dev.h"

/* The name of a fence agent, never a path: fence_ and [a-z0-9_]. */
bool agent_rules_program_ok(const char *name);

/* A parameter of its own (param.NAME).  Refused are those that choose the action (it is ours), run
 * a program or name one (whoever may write a FenceDevice may not run what he likes on every host),
 * write a file, or make an agent say "off" of what it cannot see (missing_as_off).
 *
 * Returns NULL when it is allowed, else why not. */
const char *agent_rules_param_refused(const char *name);

/* Exit status 2 of `status` means off, but it also is what shells and interpreters end with when
 * they cannot read their script.  The programs that are known to say "Status: OFF" as well have to
 * have said it.
 *
 * @output  the whole output of the program, NUL-terminated */
bool agent_rules_says_off(const char *program, int exit_status, const char *output);

#endif
