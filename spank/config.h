/*
 * What the line in plugstack.conf says.
 *
 * The line's arguments come with every hook, so nothing is kept between hooks: each parses its own line, and one
 * host may have two lines, one per role.
 */
#ifndef BURST_CONFIG_H
#define BURST_CONFIG_H

#include <stddef.h>

enum burst_role {
    BURST_ROLE_UNKNOWN, /* no role= that we know: whoever asks must take the careful road */
    BURST_ROLE_LOGIN,   /* where jobs are submitted, and ordinary compute nodes */
    BURST_ROLE_GATEWAY, /* where slurmd stands for virtual nodes */
};

/* Strings point into the line's arguments or are constants: they live as long as the plugin is loaded. */
struct burst_config {
    enum burst_role role;
    const char *agent;    /* login: HOST:PORT of the agent's TLS port */
    const char *ca;       /* login: file with the certificates that sign the agent's */
    const char *socket;   /* gateway: gatewayd's unix socket */
    const char *commands; /* gateway: directory of Slurm's commands; NULL: where they usually are */
    const char *runner;   /* k8s-burst-run */
    unsigned deadline_ms; /* login: how long a submission waits for the agent */
    unsigned give_up_s;   /* gateway: how long a launcher waits for its pod */
};

/*
 * Reads the arguments of one line into *config.
 *
 * Returns 0. Returns -1 when an argument is unknown, malformed, doubled, missing or of the other role, and then
 * error holds a sentence that names it. Even then config->role is set if the line has a proper role=, and all else
 * is at its default.
 */
int burst_config_parse (struct burst_config *config, int argc, char *const argv[], char *error, size_t size);

#endif /* BURST_CONFIG_H */
