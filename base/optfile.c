#include "base/optfile.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define OPTFILE_MAX 256 /* options */
#define OPTFILE_LINE 4096

struct optfile {
    char *args[2 * OPTFILE_MAX + 1];
    int n;
};

static char *trim(char *s)
{
    char *end = s + strlen(s);

    while (end > s && isspace((unsigned char)end[-1]) != 0) {
        *--end = 0;
    }
    while (isspace((unsigned char)*s) != 0) {
        s++;
    }
    return s;
}

static bool is_key(const char *s)
{
    return s[0] != 0 && s[0] != '-' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(s);
}

static int take_line(struct optfile *o, const char *file, unsigned number, char *line,
                     struct err *err)
{
    char *eq, *key, *value = NULL;

    line = trim(line);
    if (line[0] == 0 || line[0] == '#') {
        return 0;
    }
    eq = strchr(line, '=');
    if (eq != NULL) {
        *eq = 0;
        value = trim(eq + 1);
    }
    key = trim(line);
    if (!is_key(key) || str_eq(key, "config")) {
        return err_set(err, ERR_INVALID,
                       "%s:%u: \"%.64s\" is no key; want lines \"key = value\", the long options "
                       "without dashes",
                       file, number, key);
    }
    if (o->n + 2 > 2 * OPTFILE_MAX) {
        return err_set(err, ERR_INVALID, "%s:%u: more than %d options", file, number, OPTFILE_MAX);
    }
    o->args[o->n++] = value == NULL ? mem_printf("--%s", key) : mem_printf("--%s=%s", key, value);
    return 0;
}

static int read_file(struct optfile *o, const char *file, struct err *err)
{
    char line[OPTFILE_LINE];
    FILE *f = fopen(file, "re");
    unsigned number = 0;
    int rc = 0;

    if (f == NULL) {
        return err_native(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, "errno", errno, "open %s",
                          file);
    }
    while (rc == 0 && fgets(line, sizeof(line), f) != NULL) {
        number++;
        rc = strlen(line) + 1 == sizeof(line)
                 ? err_set(err, ERR_INVALID, "%s:%u: the line is too long", file, number)
                 : take_line(o, file, number, line, err);
    }
    if (rc == 0 && ferror(f) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "read %s", file);
    }
    (void)fclose(f);
    return rc;
}

/* The file's name, and how many arguments that takes; NULL when argv[i] is another one. */
static const char *config_at(int argc, char **argv, int i, int *ret_used)
{
    if (str_starts(argv[i], "--config=")) {
        *ret_used = 1;
        return argv[i] + strlen("--config=");
    }
    if (str_eq(argv[i], "--config") && i + 1 < argc) {
        *ret_used = 2;
        return argv[i + 1];
    }
    return NULL;
}

int optfile_expand(int *argc, char ***argv, struct err *err)
{
    struct optfile o = { .n = 0 };
    char **all;
    int n = 0, rest = 0, used, rc;

    all = mem_alloc(((size_t)*argc + 2 * OPTFILE_MAX + 2) * sizeof(*all));
    for (int i = 1; i < *argc; i += used) {
        const char *file = config_at(*argc, *argv, i, &used);

        if (file == NULL) {
            used = 1;
            (*argv)[1 + rest++] = (*argv)[i];
            continue;
        }
        rc = read_file(&o, file, err);
        if (rc != 0) {
            while (o.n > 0) {
                free(o.args[--o.n]);
            }
            free(all);
            return rc;
        }
    }
    all[n++] = (*argv)[0];
    for (int i = 0; i < o.n; i++) {
        all[n++] = o.args[i];
    }
    for (int i = 0; i < rest; i++) {
        all[n++] = (*argv)[1 + i];
    }
    *argc = n;
    *argv = all;
    return 0;
}
