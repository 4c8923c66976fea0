#ifndef CMD_PICKETD_FENCE_TEST_H
#define CMD_PICKETD_FENCE_TEST_H

/* Operations of operators on a host's fence devices that fence nobody (all POST below hosts/H). */

#include "cmd/picketd/rest.h"

/* hosts/H/fence-test {} -> who could fence it: every device of its levels is asked by every picketd
 * but its own for the power of its plugs, one after the other; nothing is switched.
 *
 *   {host, state, incarnation, levels: [{proves, devices: [{name, type, generation, problem,
 *     tested, executors: [{name, result, power, message, ms}]}]}], watchdog: {kind, counts, why}}
 */
void fence_test_go(struct rest *r);

/* hosts/H/power-on {} -> {devices: [{name, result, message}]}: switch a host on again that was
 * fenced (or never registered), by the devices of the level that fenced it. */
void fence_power_on_go(struct rest *r);

#endif
