#include "launch.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <slurm/slurm.h>

enum { NODE_NAME_MAX = 255, DIGITS_MAX = 10, PORTS_MAX = 4, PORT_DIGITS_MAX = 5, FIXED_WORDS = 14 };

/* Weak: a Slurm that lacks it can load the plugin all the same, and is told so. */
#pragma weak spank_prepend_task_argv

/*
 * slurmstepd's oci.conf, which it reads only for a step with --container. SPANK has no item for that, and such a
 * step is executed by the OCI runtime on this host, past every prepended word.
 */
extern void *const oci_conf __attribute__ ((weak));

struct task {
    uid_t uid;
    uint32_t job;
    uint32_t step;
    uint32_t rank;
    char node[NODE_NAME_MAX + 1];
};

bool burst_launch_supported (void)
{
    return spank_prepend_task_argv != NULL;
}

/* Reads what slurmstepd knows of the task. Returns 0, or -1 after naming the item that can't be had. */
static int read_task (spank_t spank, struct task *task)
{
    const char *item = "its job id";
    spank_err_t err = spank_get_item (spank, S_JOB_ID, &task->job);

    if (err != ESPANK_SUCCESS) {
        slurm_error ("k8s-burst: can't launch a task of an unknown job: no %s: %s", item, spank_strerror (err));
        return -1;
    }
    item = "uid";
    err = spank_get_item (spank, S_JOB_UID, &task->uid);
    if (err == ESPANK_SUCCESS) {
        item = "step id";
        err = spank_get_item (spank, S_JOB_STEPID, &task->step);
    }
    if (err == ESPANK_SUCCESS) {
        item = "task rank";
        err = spank_get_item (spank, S_TASK_GLOBAL_ID, &task->rank);
    }
    if (err == ESPANK_SUCCESS) {
        item = "SLURMD_NODENAME";
        err = spank_getenv (spank, item, task->node, sizeof task->node);
    }
    if (err == ESPANK_SUCCESS)
        return 0;
    slurm_error ("k8s-burst: job %" PRIu32 ": can't launch its task: slurmstepd does not tell %s: %s; "
                 "report this to your administrator",
                 task->job, item, spank_strerror (err));
    return -1;
}

/* Writes the launcher's word for a step. Returns 0, or -1 for a step that runs no task of a user. */
static int step_word (uint32_t step, char word[static DIGITS_MAX + 2])
{
    if (step == SLURM_BATCH_SCRIPT)
        snprintf (word, DIGITS_MAX + 2, "batch");
    else if (step == SLURM_INTERACTIVE_STEP)
        snprintf (word, DIGITS_MAX + 2, "interactive");
    else if (step <= SLURM_MAX_NORMAL_STEP_ID)
        snprintf (word, DIGITS_MAX + 2, "%" PRIu32, step);
    else
        return -1;
    return 0;
}

/* Returns 0 for a task that may be launched, else -1 after saying why not. */
static int may_launch (const struct task *task)
{
    if (!burst_launch_supported ()) {
        slurm_error ("k8s-burst: job %" PRIu32 ": this Slurm can't put a launcher before a task; gateways need "
                     "Slurm 23.11 or newer",
                     task->job);
        return -1;
    }
    if (task->uid == 0) {
        slurm_error ("k8s-burst: job %" PRIu32 ": root's jobs don't run in Kubernetes; submit it as an ordinary user",
                     task->job);
        return -1;
    }
    if (&oci_conf != NULL && oci_conf != NULL) {
        slurm_error ("k8s-burst: job %" PRIu32 ": --container can't be used in Kubernetes; use --k8s-burst-image",
                     task->job);
        return -1;
    }
    return 0;
}

/* Returns the port of 127.0.0.1 that a descriptor listens at, 0 for any other descriptor. */
static unsigned loopback_port (int fd)
{
    int listens = 0;
    socklen_t size = sizeof listens;
    struct sockaddr_in address = {0};

    if (getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens)
        return 0;
    size = sizeof address;
    if (getsockname (fd, (struct sockaddr *)&address, &size) != 0 || address.sin_family != AF_INET)
        return 0;
    return address.sin_addr.s_addr == htonl (INADDR_LOOPBACK) ? ntohs (address.sin_port) : 0;
}

/*
 * Finds the ports of 127.0.0.1 that slurmstepd listens at: its PMIx server's, which the task learns from its
 * environment. The launcher connects to these for the pod and to no other, and the user can't have made them: this
 * child of slurmstepd has its descriptors still, and has not run anything of the user's. Returns how many, at most
 * PORTS_MAX.
 */
static int listening_ports (char ports[static PORTS_MAX][PORT_DIGITS_MAX + 1])
{
    DIR *directory = opendir ("/proc/self/fd");
    struct dirent *entry;
    int count = 0;

    if (directory == NULL)
        return 0;
    while (count < PORTS_MAX && (entry = readdir (directory)) != NULL) {
        unsigned port = loopback_port ((int)strtol (entry->d_name, NULL, 10));

        if (port != 0)
            snprintf (ports[count++], PORT_DIGITS_MAX + 1, "%hu", (unsigned short)port);
    }
    closedir (directory);
    return count;
}

int burst_launch_prepend (spank_t spank, const struct burst_config *config)
{
    struct task task = {0};
    char ports[PORTS_MAX][PORT_DIGITS_MAX + 1];
    char job[DIGITS_MAX + 1], rank[DIGITS_MAX + 1], give_up_s[DIGITS_MAX + 1], step[DIGITS_MAX + 2];

    if (read_task (spank, &task) != 0 || may_launch (&task) != 0)
        return -1;
    if (step_word (task.step, step) != 0) {
        slurm_error ("k8s-burst: job %" PRIu32 ": step %#" PRIx32 " is of an unknown kind; report this to your "
                     "administrator",
                     task.job, task.step);
        return -1;
    }
    snprintf (job, sizeof job, "%" PRIu32, task.job);
    snprintf (rank, sizeof rank, "%" PRIu32, task.rank);
    snprintf (give_up_s, sizeof give_up_s, "%u", config->give_up_s);

    const char *words[FIXED_WORDS + 2 + (2 * PORTS_MAX) + 1] = {
        config->runner, "launch", "--socket", config->socket, "--give-up-s", give_up_s, "--job", job,
        "--step",       step,     "--task",   rank,           "--node",      task.node,
    };
    int count = FIXED_WORDS;

    if (config->commands != NULL) {
        words[count++] = "--commands";
        words[count++] = config->commands;
    }
    for (int port = 0, found = listening_ports (ports); port < found; port++) {
        words[count++] = "--port";
        words[count++] = ports[port];
    }
    words[count++] = "--";

    spank_err_t err = spank_prepend_task_argv (spank, count, words);
    if (err == ESPANK_SUCCESS)
        return 0;
    slurm_error ("k8s-burst: job %" PRIu32 ": can't put the launcher before its task: %s; report this to your "
                 "administrator",
                 task.job, spank_strerror (err));
    return -1;
}
