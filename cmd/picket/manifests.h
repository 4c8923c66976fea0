#ifndef CMD_PICKET_MANIFESTS_H
#define CMD_PICKET_MANIFESTS_H

/* Manifests on the command line: read, checked, and every problem told with its place. */

#include "api/manifest.h"
#include "cmd/picket/cli.h"

#define FILES_MAX 256

struct manifests {
    struct manifest *m;
    const char *files[FILES_MAX];
    size_t n_files;
};

/* -f: false when there are too many. */
bool manifests_add(struct manifests *ms, const char *file);
/* Read all files.  With `check` validate every document and print all problems as
 * "FILE:LINE:COLUMN: error: KIND/NAME: FIELD: MESSAGE"; CLI_OK or CLI_ERROR. */
int manifests_read(struct cli *c, struct manifests *ms, bool check);
/* {"items": [...], "fieldManager": "picket", "dryRun": ...} for the apply endpoint. */
json_t *manifests_body(const struct manifests *ms, bool dry_run);
void manifests_done(struct manifests *ms);

#endif
