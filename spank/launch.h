/*
 * The launcher in the place of a task, on a gateway.
 */
#ifndef BURST_LAUNCH_H
#define BURST_LAUNCH_H

#include <stdbool.h>

#include <slurm/spank.h>

#include "config.h"

/*
 * Prepends to the task's argv, whatever the user's options say:
 *
 *     RUNNER launch --socket PATH --give-up-s N --job ID --step batch|interactive|NUMBER --task RANK --node NODE
 *            [--commands DIR] --
 *
 * Only slurmstepd's own knowledge goes into it: SPANK items, and SLURMD_NODENAME, which slurmstepd overwrites with
 * its node's name just before slurm_spank_task_init. To be called from there.
 *
 * Returns 0. Returns -1 after saying why, to which job, and what to do; then the task must not be executed.
 */
int burst_launch_prepend (spank_t spank, const struct burst_config *config);

/* Returns whether this Slurm can prepend to a task's argv: 23.11 and newer. */
bool burst_launch_supported (void);

#endif /* BURST_LAUNCH_H */
