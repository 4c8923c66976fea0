/* The tree of places beside a value. */

#include "api/manifest_tree.h"
#include "base/obj.h"

#include <stdlib.h>
#include <string.h>

void mark_done(struct mark *m)
{
    for (size_t i = 0; i < m->n_kids; i++) {
        mark_done(&m->kids[i]);
    }
    free(m->kids);
    free(m->key);
    memset(m, 0, sizeof(*m));
}

struct mark *mark_add(struct mark *m, const char *key, unsigned line, unsigned column)
{
    struct mark *kid;

    if (m->n_kids == m->cap) {
        m->cap = m->cap == 0 ? 4 : 2 * m->cap;
        m->kids = mem_realloc(m->kids, m->cap * sizeof(*m->kids));
    }
    kid = &m->kids[m->n_kids++];
    memset(kid, 0, sizeof(*kid));
    kid->key = mem_strdup(key);
    kid->line = line;
    kid->column = column;
    return kid;
}
