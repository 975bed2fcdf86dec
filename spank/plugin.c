/*
 * The SPANK plugin's hooks. Each only routes by context and role; the work is in options, announce and launch.
 *
 * What each does, and the rule for what happens when it can't:
 *
 *   hook           context            role      does                              on failure
 *   init           sbatch salloc srun both      registers the options             says it; bad arguments: returns -1
 *   init           slurmstepd         both      registers the options             bad arguments: gateway -1, login 0
 *   init           slurmd             both      checks the line and Slurm         returns -1
 *   init_post_opt  sbatch             both      publishes what --signal was       returns 0
 *   init_post_opt  sbatch salloc srun both      publishes the mode                says it; returns 0
 *                                     login     announces, once per submission    says it; returns 0
 *   init_post_opt  slurmstepd         both      nothing                           returns 0
 *   task_init      slurmstepd         gateway   puts the launcher before the task ends the task
 *                                     login     restores what a pod's srun carries says it; returns 0
 *   exit           all                both      forgets the options               can't fail
 *
 * What Slurm makes of a return value, and only of a plugin that plugstack.conf calls `required` (of an `optional` one
 * it ignores it). Up to 24.11 only negative values count, from 25.05 any but 0: so failures are -1.
 *
 *   init           sbatch salloc srun  the command ends: nothing is submitted
 *   init           slurmstepd          the step is not started, the node is drained, a batch job is requeued
 *   init           slurmd              slurmd does not start
 *   init_post_opt  sbatch salloc srun  the command ends: nothing is submitted
 *   init_post_opt  slurmstepd          as init
 *   task_init      slurmstepd          the task ends with exit code 1
 *
 * Hence the rule. A dead agent never fails a submission nor drains a node: nothing that depends on it returns an
 * error. What the user typed wrong is refused by the option's callback, before anything else. A gateway whose line is
 * wrong is the node's fault: its slurmd does not start, and if the line is broken later, Slurm drains the node and
 * requeues the job. The extern step is spared that, as it runs no task and its failure would hold the job.
 *
 * A script must never run on the gateway itself. So where the launcher can't be put before a task, the task is ended
 * here, as slurmstepd would: that holds even where the gateway's line says `optional`. That the plugin is loaded at
 * all only `required` can hold.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include <slurm/slurm.h>
#include <slurm/spank.h>

#include "announce.h"
#include "carry.h"
#include "config.h"
#include "launch.h"
#include "options.h"

SPANK_PLUGIN (k8s_burst, 1)

static bool announced;

static bool submits (void)
{
    return spank_context () == S_CTX_ALLOCATOR || spank_context () == S_CTX_LOCAL;
}

/* Reads the line's arguments. Returns 0, or -1 after naming the one that is wrong. */
static int read_config (struct burst_config *config, int argc, char *argv[])
{
    char error[512];

    if (burst_config_parse (config, argc, argv, error, sizeof error) == 0)
        return 0;
    slurm_error ("k8s-burst: plugstack.conf: %s", error);
    return -1;
}

/* Whether this is a step that runs no task. */
static bool is_extern (spank_t spank)
{
    uint32_t step = 0;
    return spank_get_item (spank, S_JOB_STEPID, &step) == ESPANK_SUCCESS && step == SLURM_EXTERN_CONT;
}

static int check_gateway (const struct burst_config *config)
{
    if (config->role != BURST_ROLE_GATEWAY || burst_launch_supported ())
        return 0;
    slurm_error ("k8s-burst: this Slurm can't put a launcher before a task; gateways need Slurm 23.11 or newer");
    return -1;
}

int slurm_spank_init (spank_t spank, int argc, char *argv[])
{
    struct burst_config config;

    /* Before the arguments: a wrong line must not make sbatch refuse a script with #SBATCH --k8s-burst. */
    if (submits () || spank_context () == S_CTX_REMOTE)
        burst_options_register (spank);
    int rc = read_config (&config, argc, argv);
    switch (spank_context ()) {
    case S_CTX_REMOTE:
        return config.role == BURST_ROLE_LOGIN || is_extern (spank) ? 0 : rc;
    case S_CTX_SLURMD:
        return rc == 0 ? check_gateway (&config) : rc;
    default:
        return rc;
    }
}

int slurm_spank_init_post_opt (spank_t spank, int argc, char *argv[])
{
    struct burst_config config;
    const struct burst_request *request = burst_options_request ();

    if (!submits ())
        return 0;
    /* Whatever the mode: a rule of the site may flag the job later. */
    if (spank_context () == S_CTX_ALLOCATOR)
        burst_options_publish_signal (spank);
    if (request->mode == BURST_MODE_UNSET)
        return 0;
    burst_options_publish (spank);
    /* srun inside an allocation makes a step: nothing is submitted. A submission has one announcement, also when a
     * heterogeneous job brings this hook once per component. */
    if (request->mode == BURST_MODE_NEVER || announced ||
        (spank_context () == S_CTX_LOCAL && getenv ("SLURM_JOB_ID") != NULL))
        return 0;
    if (read_config (&config, argc, argv) != 0 || config.role != BURST_ROLE_LOGIN)
        return 0;
    announced = true;
    burst_announce (&config, request);
    return 0;
}

int slurm_spank_task_init (spank_t spank, int argc, char *argv[])
{
    struct burst_config config;

    if (spank_context () != S_CTX_REMOTE)
        return 0;
    int rc = read_config (&config, argc, argv);
    if (config.role == BURST_ROLE_LOGIN) {
        burst_carry_restore (spank);
        return 0;
    }
    if (rc == 0)
        rc = burst_launch_prepend (spank, &config);
    if (rc != 0)
        _exit (EXIT_FAILURE);
    return 0;
}

int slurm_spank_exit (spank_t spank, int argc, char *argv[])
{
    (void)spank;
    (void)argc;
    (void)argv;
    burst_options_forget ();
    announced = false;
    return 0;
}
