/*
 * A small SPANK for one plugin: what Slurm 24.11 does for the calls that the plugin makes, each in the contexts and
 * phases in which Slurm allows it. The plugin's hooks are called through it, so that it knows the phase.
 *
 * The log survives in a forked child's parent: it is in shared memory.
 */
#ifndef FAKE_SPANK_H
#define FAKE_SPANK_H

#include <stdbool.h>
#include <stdint.h>

#include <slurm/spank.h>

enum fake_phase { FAKE_INIT, FAKE_INIT_POST_OPT, FAKE_TASK_INIT, FAKE_EXIT };

/* Forgets everything and enters a context, without a job, options, log and argv. */
void fake_reset (enum spank_context context);

/* Gives slurmstepd a job with one task, of argv true. Without it, a remote context has no job. */
void fake_job (uint32_t job_id, uint32_t step_id, uint32_t uid, uint32_t rank);

/* Makes spank_get_item fail for this item. */
void fake_lose_item (int item);

/* Sets or, with a NULL value, unsets a variable in the environment of the job's step. */
void fake_step_env (const char *name, const char *value);

/* A variable of the step; NULL where it has none. */
const char *fake_step_value (const char *name);

/* Makes spank_option_register and spank_job_control_setenv fail. */
void fake_refuse (bool refused);

/* Says that slurmstepd has read oci.conf for this step. */
void fake_oci (bool read);

/* Calls a hook with a plugstack line's arguments, in its phase. */
int fake_call (spank_f *hook, enum fake_phase phase, int argc, char **argv);

/* Hands an option over as sbatch does; remote: as slurmstepd does. Returns the callback's answer, or -2 for one that
 * was not registered. */
int fake_option (const char *name, const char *value, int remote);

/* Does what Slurm does before init_post_opt: writes the options found to the environment and the job control one. */
void fake_export_options (void);

/* How often an option of this name was registered; its has_arg, or -1. */
int fake_registered (const char *name);
int fake_has_arg (const char *name);

/* A variable of the job control environment (spank_job_env), or NULL. */
const char *fake_job_control (const char *name);

/* Everything logged, a line each, with its level in front: "error: ", "spank_log: ". */
const char *fake_log (void);

/* The task's argv. */
int fake_argc (void);
const char *fake_arg (int index);

#endif /* FAKE_SPANK_H */
