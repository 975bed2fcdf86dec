#include "launch.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <slurm/slurm.h>

enum { NODE_NAME_MAX = 255, DIGITS_MAX = 10 };

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

int burst_launch_prepend (spank_t spank, const struct burst_config *config)
{
    struct task task = {0};
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

    const char *words[] = {
        config->runner, "launch", "--socket", config->socket, "--give-up-s", give_up_s, "--job", job,
        "--step",       step,     "--task",   rank,           "--node",      task.node, "--",
    };
    spank_err_t err = spank_prepend_task_argv (spank, (int)(sizeof words / sizeof words[0]), words);
    if (err == ESPANK_SUCCESS)
        return 0;
    slurm_error ("k8s-burst: job %" PRIu32 ": can't put the launcher before its task: %s; report this to your "
                 "administrator",
                 task.job, spank_strerror (err));
    return -1;
}
