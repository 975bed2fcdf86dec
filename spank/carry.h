/*
 * The environment of a task that an srun in a job's pod has started on an ordinary node.
 *
 * Such an srun runs on the gateway, with the gateway's PATH: the caller's own, and all else that says which code a
 * program loads, travels as K8S_BURST_VAR_NAME (runner/internal/carry). In pods the launcher gives the names back;
 * here this does.
 */
#ifndef BURST_CARRY_H
#define BURST_CARRY_H

#include <slurm/spank.h>

/*
 * Gives the names back, in task_init: before a site's TaskProlog, and before slurmstepd looks for the program in PATH.
 * What slurmstepd has set under such a name stays, PATH excepted. A failure is said and leaves the variable as it came.
 */
void burst_carry_restore (spank_t spank);

#endif /* BURST_CARRY_H */
