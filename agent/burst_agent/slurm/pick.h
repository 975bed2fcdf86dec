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
int burst_is_ours (const slurm_job_info_t *job, const char *prefix, const char *partition);

/* Jobs that a rule of the site may flag: a shell pattern each for partition, account and QOS; "*" fits none, too. */
struct burst_unflagged {
    const char *partition;
    const char *account;
    const char *qos;
};

/* Whether a pending job fits one of them. */
int burst_may_be_flagged (const slurm_job_info_t *job, const struct burst_unflagged *also, uint32_t count);

/* What to pick: jobs that are ours, and such as may become ours. */
struct burst_wanted {
    const char *prefix;
    const char *partition;
    const struct burst_unflagged *also;
    uint32_t also_count;
};

/*
 * Loads all jobs and picks those wanted. Returns SLURM_NO_CHANGE_IN_DATA, picking nothing, where no job changed after
 * since. Free with burst_picked_free after success only.
 */
int burst_pick_jobs (time_t since, const struct burst_wanted *wanted, struct burst_picked *picked);

/* How one partition's queue moves, as far as slurmctld still knows. */
struct burst_queue {
    /* Priorities of its pending jobs that are not held, in no order; an array that pends counts once. */
    uint32_t *priorities;
    uint32_t pending;
    /* Those of them that wait for nothing but nodes, or of which slurmctld does not say yet why they wait. */
    uint32_t waiting;
    /* Jobs that started there in the last five minutes, for which slurmctld keeps ended jobs, and in the last hour. */
    uint32_t started_lately;
    uint32_t started_in_hour;
};

/* Looks at all loaded jobs. Returns 0 or ENOMEM. Free with burst_queue_free after success only. */
int burst_queue (const struct burst_picked *picked, const char *partition, time_t now, struct burst_queue *queue);

void burst_queue_free (struct burst_queue *queue);

void burst_picked_free (struct burst_picked *picked);

#endif
