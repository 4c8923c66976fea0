#ifndef NET_NW_FILES_H
#define NET_NW_FILES_H

/* Two files of nw_host: network.json (what is ours, what was refused) and network-journal.json
 * (a change that is not confirmed yet). Written whole, synced, renamed. Any thread. */

#include <jansson.h>

#include "base/err.h"

int nw_file_write(const char *dir, const char *name, const json_t *v, struct err *err) ERR_USED;
/* *ret is NULL when there is no such file; ERR_CORRUPT when it is no JSON. */
int nw_file_read(const char *dir, const char *name, json_t **ret, struct err *err) ERR_USED;
int nw_file_remove(const char *dir, const char *name, struct err *err) ERR_USED;

#endif
