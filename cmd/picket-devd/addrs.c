#include "cmd/picket-devd/dev.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/obj.h"

int addrs_write_all(struct dev *d, struct err *err)
{
    struct addrs_host hosts[DEV_HOSTS_MAX];
    struct addrs_world w = { .hosts = hosts, .port = d->port, .addrs = &d->addrs };
    char path[DEV_PATH_MAX];
    int rc = 0;

    for (size_t i = 0; i < d->n_hosts; i++) {
        hosts[i] = (struct addrs_host){ d->hosts[i].name, d->hosts[i].number };
    }
    w.n_hosts = d->n_hosts;
    for (size_t i = 0; rc == 0 && i < d->n_hosts; i++) {
        struct buf text = { 0 };

        buf_add_str(&text, "# Written by picket-devd: where this host finds what it knows.\n");
        addrs_render(&w, d->hosts[i].number, &text);
        host_path(&d->hosts[i], path, "addrmap");
        rc = dev_write_file(path, text.data, text.len, err);
        buf_done(&text);
    }
    return rc;
}

int addrs_load(struct dev *d, struct err *err)
{
    char path[DEV_PATH_MAX];
    json_error_t why;

    dev_path(d, path, "learned.json");
    if (access(path, F_OK) != 0) {
        return 0;
    }
    d->addrs.learned = json_load_file(path, 0, &why);
    if (!json_is_object(d->addrs.learned)) {
        return err_set(err, ERR_CORRUPT,
                       "%s:%d: %s; delete the file, it is learned again from the API", path,
                       why.line, why.text);
    }
    return 0;
}

int addrs_save(struct dev *d, struct err *err)
{
    char path[DEV_PATH_MAX];
    char *text;
    int rc;

    if (d->addrs.learned == NULL) {
        return 0;
    }
    text = json_dumps(d->addrs.learned, JSON_INDENT(1));
    CHECK(text != NULL);
    dev_path(d, path, "learned.json");
    rc = dev_write_file(path, text, strlen(text), err);
    free(text);
    return rc;
}
