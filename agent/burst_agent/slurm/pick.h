/*
 * The few jobs that concern the agent, out of all that slurmctld knows. The list of all jobs stays in C: at a hundred
 * thousand jobs it is hundreds of megabytes, of which Python gets pointers to the picked records only.
 */
#ifndef BURST_PICK_H
#define BURST_PICK_H

#include "controller.h"

struct burst_picked {
	/* Picked records; they point into msg and live as long as it. */
	slurm_job_info_t **jobs;
	uint32_t count;
	/* When slurmctld made the list: pass it as since the next time. */
	time_t last_update;
	job_info_msg_t *msg;
};

/* Whether a job is one of ours: its admin_comment begins with prefix, or its partition list names partition. */
int burst_is_ours(const slurm_job_info_t *job, const char *prefix, const char *partition);

/*
 * Loads all jobs and picks ours. Returns SLURM_NO_CHANGE_IN_DATA, picking nothing, where no job changed after since.
 * Free with burst_picked_free after success only.
 */
int burst_pick_jobs(time_t since, const char *prefix, const char *partition, struct burst_picked *picked);

void burst_picked_free(struct burst_picked *picked);

#endif
