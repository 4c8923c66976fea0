#include "cmd/picket/manifests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"

bool manifests_add(struct manifests *ms, const char *file)
{
    if (ms->n_files == FILES_MAX) {
        return false;
    }
    ms->files[ms->n_files++] = file;
    return true;
}

void manifests_done(struct manifests *ms)
{
    manifest_free(ms->m);
    ms->m = NULL;
}

static void place(const struct manifest *m, size_t doc, const char *path, char *dst, size_t size)
{
    const struct manifest_doc *d = manifest_doc(m, doc);

    if (!manifest_where(m, doc, path, dst, size)) {
        (void)snprintf(dst, size, "%s:%u", d->source, d->line);
    }
}

static void tell(struct cli *c, const struct manifest *m, size_t doc, const struct kind *k,
                 const struct problem *p)
{
    const json_t *obj = manifest_doc(m, doc)->obj;
    char where[512];
    char *text = mem_printf("%s/%s: %s%s%s", k->singular, obj_name(obj), p->path,
                            *p->path != 0 ? ": " : "", p->message);

    place(m, doc, p->path, where, sizeof(where));
    if (p->warning) {
        cli_warn(c, where, text); /* the server would say it again */
    } else {
        cli_say("%s: error: %s", where, text);
    }
    free(text);
}

/* How many errors one document has. */
static size_t check_doc(struct cli *c, const struct manifest *m, size_t doc, struct map *seen)
{
    const json_t *obj = manifest_doc(m, doc)->obj;
    struct problems ps = { 0 };
    const struct kind *k;
    struct err err = { 0 };
    char where[512], key[400];
    size_t errors = 0;

    place(m, doc, "", where, sizeof(where));
    if (obj_kind(obj, &k, &err) != 0) {
        place(m, doc, json_object_get(obj, "kind") != NULL ? "kind" : "", where, sizeof(where));
        cli_say("%s: error: %s", where, err.msg);
        return 1;
    }
    if (k->read_only) {
        cli_say("%s: error: %s/%s: a %s is made by the cluster itself and cannot be applied", where,
                k->singular, obj_name(obj), k->name);
        return 1;
    }
    obj_validate(k, obj, false, &ps);
    for (size_t i = 0; i < ps.n; i++) {
        tell(c, m, doc, k, &ps.items[i]);
        errors += ps.items[i].warning ? 0 : 1;
    }
    if (ps.more) {
        cli_say("%s: error: %s/%s has more problems; these are the first %zu", where, k->singular,
                obj_name(obj), ps.n);
    }
    problems_done(&ps);
    (void)snprintf(key, sizeof(key), "%s/%s", k->plural, obj_name(obj));
    if (*obj_name(obj) != 0 && map_put(seen, key, seen) != NULL) {
        cli_say("%s: error: %s/%s is there twice; one of the documents has to go", where,
                k->singular, obj_name(obj));
        errors++;
    }
    return errors;
}

static int check_all(struct cli *c, const struct manifest *m)
{
    struct map seen = { 0 };
    size_t errors = 0;

    for (size_t i = 0; i < manifest_count(m); i++) {
        errors += check_doc(c, m, i, &seen);
    }
    map_done(&seen);
    if (errors > 0) {
        cli_say("picket %s: %zu error%s in %zu document%s; nothing was sent", c->verb, errors,
                errors == 1 ? "" : "s", manifest_count(m), manifest_count(m) == 1 ? "" : "s");
        cli_say("  `picket explain KIND.spec` tells which fields there are.");
        return CLI_ERROR;
    }
    return CLI_OK;
}

int manifests_read(struct cli *c, struct manifests *ms, bool check)
{
    struct err err = { 0 };

    for (size_t i = 0; i < ms->n_files; i++) {
        if (manifest_read_path(ms->files[i], &ms->m, &err) != 0) {
            cli_say("picket %s: %s", c->verb, err.msg);
            return err.code == ERR_NOT_FOUND ? CLI_NOT_FOUND : CLI_ERROR;
        }
    }
    if (ms->m == NULL || manifest_count(ms->m) == 0) {
        cli_say("picket %s: there is no object in %s", c->verb,
                ms->n_files == 1 ? ms->files[0] : "these files");
        return CLI_ERROR;
    }
    return check ? check_all(c, ms->m) : CLI_OK;
}

json_t *manifests_body(const struct manifests *ms, bool dry_run)
{
    json_t *items = json_array();
    json_t *body;

    for (size_t i = 0; i < manifest_count(ms->m); i++) {
        (void)json_array_append(items, manifest_doc(ms->m, i)->obj);
    }
    body = json_pack("{s:o, s:s, s:b, s:b}", "items", items, "fieldManager", "picket", "dryRun",
                     dry_run, "prune", 0);
    CHECK(body != NULL);
    return body;
}
