#ifndef PICKET_PDU_H
#define PICKET_PDU_H

/* picket-pdu: a small switched rack PDU that speaks SNMP as APC's do, for `picket dev` and for
 * tests.
 *
 * Outlets are switched by a supervisor over a unix stream socket (--control), or only remembered.
 * One thread; a failure mode per outlet shows what real PDUs do on bad days.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PDU_MAX_OUTLETS 48U
#define PDU_MAX_COMMUNITIES 8U

enum pdu_fail {
    PDU_OK = 0,
    PDU_LIE,    /* says off, and power stays on */
    PDU_STUCK,  /* takes the command, and nothing changes */
    PDU_SLOW,   /* switches slow_ms later */
    PDU_REFUSE, /* answers every command with an error */
    PDU_SILENT, /* answers nothing that is about this outlet */
};

enum pdu_power { PDU_POWER_UNKNOWN = 0, PDU_POWER_ON = 1, PDU_POWER_OFF = 2 }; /* as in the MIB */

struct pdu_outlet {
    char name[64];
    enum pdu_fail fail;
    uint64_t slow_ms;
    bool on;             /* without --control */
    bool said_off;       /* what a lying outlet says */
    uint64_t pending_ms; /* a slow command: when; 0: none */
    int pending;         /* 1 on, 2 off, 3 reboot */
};

struct pdu {
    struct pdu_outlet outlets[PDU_MAX_OUTLETS];
    size_t n_outlets;
    const char *control; /* NULL: keep the state here */
    char communities[PDU_MAX_COMMUNITIES][64];
    size_t n_communities;
    bool any_community;
    const char *v3_file; /* "NAME SHA|MD5 AUTHPASS [AES|DES PRIVPASS]" per line, or NULL */
    const char *listen;  /* IP:PORT */
    bool rogue;          /* an impostor: answers v3 messages that it cannot verify */
};

/* --- outlets.c --- */
enum pdu_power pdu_outlet_power(struct pdu *p, size_t i);
/* command 1 on, 2 off, 3 reboot; false: refused. */
bool pdu_outlet_command(struct pdu *p, size_t i, long command, uint64_t now_ms);
/* Carry out what is due; the time of the next one, 0: none. */
uint64_t pdu_outlets_due(struct pdu *p, uint64_t now_ms);

/* --- agent.c: blocks until `stop` is set by a signal --- */
int pdu_agent_run(struct pdu *p, const volatile int *stop, struct err *err) ERR_USED;

#endif
