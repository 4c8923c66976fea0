#include "api/kind.h"

#include "api/kinds.h"
#include "base/obj.h"
#include "base/str.h"

#include <string.h>
#include <strings.h>

static const struct kind *const kinds[] = {
    &kind_cluster,
    &kind_host,
    &kind_fence_device,
    &kind_fencing,
    &kind_fence_confirmation,
    &kind_lock,
    &kind_secret,
    &kind_iscsi_target,
    &kind_lun,
    &kind_multipath_policy,
    &kind_volume_group,
    &kind_volume,
    &kind_shared_filesystem,
    &kind_replicated_volume,
    &kind_iscsi_export,
    &kind_virtual_ip,
    &kind_bond,
    &kind_bridge,
    &kind_vlan,
    &kind_virtual_machine,
    &kind_placement_rule,
    &kind_migration,
    &kind_network_check,
    &kind_role,
    &kind_role_binding,
};

size_t kind_count(void)
{
    return ARRAY_LEN(kinds);
}

const struct kind *kind_at(size_t i)
{
    CHECK(i < ARRAY_LEN(kinds));
    return kinds[i];
}

static bool kind_is_called(const struct kind *k, const char *name)
{
    if (strcasecmp(name, k->name) == 0 || strcasecmp(name, k->plural) == 0 ||
        strcasecmp(name, k->singular) == 0) {
        return true;
    }
    for (size_t i = 0; k->short_names[i] != NULL; i++) {
        if (strcasecmp(name, k->short_names[i]) == 0) {
            return true;
        }
    }
    return false;
}

const struct kind *kind_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kind_is_called(kinds[i], name)) {
            return kinds[i];
        }
    }
    return NULL;
}

const struct kind *kind_by_plural(const char *plural)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(plural, kinds[i]->plural)) {
            return kinds[i];
        }
    }
    return NULL;
}

const struct field *field_find(const struct field *fields, const char *name)
{
    for (const struct field *f = fields; f != NULL && f->name != NULL; f++) {
        if (str_eq(f->name, name)) {
            return f;
        }
    }
    return NULL;
}

const struct field *field_list_key(const struct field *list)
{
    if (list->type != F_LIST || list->fields[0].type != F_OBJECT) {
        return NULL;
    }
    for (const struct field *f = list->fields[0].fields; f->name != NULL; f++) {
        if ((f->flags & FF_LIST_KEY) != 0) {
            return f;
        }
    }
    return NULL;
}

#define SUGGEST_MAX 48

/* Optimal string alignment distance without regard to case: insert, delete, replace, swap
 * neighbours. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][SUGGEST_MAX + 1];
    size_t na = strlen(a);
    size_t nb = strlen(b);
    size_t *prev2 = rows[0];
    size_t *prev = rows[1];
    size_t *cur = rows[2];

    memset(rows, 0, sizeof(rows));
    for (size_t k = 0; k <= nb; k++) {
        prev[k] = k;
    }
    for (size_t i = 1; i <= na; i++) {
        size_t *t = prev2;

        cur[0] = i;
        for (size_t k = 1; k <= nb; k++) {
            bool same = strncasecmp(&a[i - 1], &b[k - 1], 1) == 0;
            size_t best = prev[k - 1] + (same ? 0U : 1U);

            best = prev[k] + 1 < best ? prev[k] + 1 : best;
            best = cur[k - 1] + 1 < best ? cur[k - 1] + 1 : best;
            if (i > 1 && k > 1 && strncasecmp(&a[i - 1], &b[k - 2], 1) == 0 &&
                strncasecmp(&a[i - 2], &b[k - 1], 1) == 0 && prev2[k - 2] + 1 < best) {
                best = prev2[k - 2] + 1;
            }
            cur[k] = best;
        }
        prev2 = prev;
        prev = cur;
        cur = t;
    }
    return prev[nb];
}

const char *word_suggest(const char *word, const char *(*next)(const void *ctx, size_t i),
                         const void *ctx)
{
    const char *best = NULL;
    size_t best_distance = 0;
    size_t len = strlen(word);

    for (size_t i = 0; len <= SUGGEST_MAX; i++) {
        const char *c = next(ctx, i);
        size_t d, limit;

        if (c == NULL) {
            break;
        }
        if (strlen(c) > SUGGEST_MAX) {
            continue;
        }
        d = edit_distance(word, c);
        limit = len < 4 ? 1 : 2;
        if (d <= limit && d < strlen(c) && (best == NULL || d < best_distance)) {
            best = c;
            best_distance = d;
        }
    }
    return best;
}

static const char *next_word(const void *ctx, size_t i)
{
    const char *const *const *words = ctx;

    return (*words)[i];
}

const char *word_suggest_in(const char *word, const char *const *words)
{
    return word_suggest(word, next_word, &words);
}
