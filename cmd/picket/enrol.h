#ifndef CMD_PICKET_ENROL_H
#define CMD_PICKET_ENROL_H

/* What `picket init` and `picket join` share: the files of a host's identity and configuration.
 *
 *   DIR/tls/ca.crt agent.crt agent.key             every host
 *   DIR/tls/ca.key seal.key voter.crt voter.key    voters
 *   DIR/picketd.conf                               voters
 *   DIR/agent.conf                                 every host
 */

#include "cmd/picket/cli.h"

struct enrol {
    const char *dir;  /* /etc/picket */
    const char *data; /* /var/lib/picket */
    const char *name; /* of the host */
    const char *ip;   /* of the host; one for each link, separated by commas */
    uint64_t api_port, peer_port;
    uint64_t lifetime_s; /* of certificates; 0: default */
    bool lab;
};

#define ENROL_DEFAULTS                                                                             \
    {                                                                                              \
        .dir = "/etc/picket", .data = "/var/lib/picket", .api_port = 7443, .peer_port = 7640       \
    }

/* getopt_long entries for the fields; values 1 to 8. */
#define ENROL_OPTIONS                                                                              \
    { "name", required_argument, NULL, 1 }, { "address", required_argument, NULL, 2 },             \
        { "dir", required_argument, NULL, 3 }, { "data", required_argument, NULL, 4 },             \
        { "api-port", required_argument, NULL, 5 }, { "peer-port", required_argument, NULL, 6 },   \
        { "cert-lifetime", required_argument, NULL, 8 },                                           \
    {                                                                                              \
        "lab", no_argument, NULL, 7                                                                \
    }

/* One option; false after a message. */
bool enrol_option(struct cli *c, struct enrol *e, int o);
/* Is everything given?  CLI_OK, or an exit code after a message. */
int enrol_check(struct cli *c, const struct enrol *e);

/* DIR and DIR/tls, made if missing. */
int enrol_dirs(const struct enrol *e, struct err *err) ERR_USED;
/* DIR/REL; the caller frees. */
char *enrol_path(const struct enrol *e, const char *rel);
/* "IP:PORT" for each of the host's addresses with `sep` between them; the caller frees. */
char *enrol_addresses(const struct enrol *e, uint64_t port, char sep);
/* A file that must not exist. */
int enrol_write(const struct enrol *e, const char *rel, unsigned mode, const char *text,
                struct err *err) ERR_USED;
/* picketd.conf (bootstrap: this is the first voter) and agent.conf. */
int enrol_write_picketd(const struct enrol *e, const char *cluster, uint64_t id, bool bootstrap,
                        struct err *err) ERR_USED;
int enrol_write_agent(const struct enrol *e, const char *endpoints, struct err *err) ERR_USED;

#endif
