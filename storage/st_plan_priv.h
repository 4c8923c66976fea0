#ifndef STORAGE_ST_PLAN_PRIV_H
#define STORAGE_ST_PLAN_PRIV_H

/* For the planners of this folder only. */

#include "storage/st_plan.h"

void st_end(struct st_plan *p, enum st_state state, const char *reason, const char *message);
struct st_step *st_add(struct st_plan *p, enum st_step_kind kind, const char *why);

#endif
