/*
 * What the agent asks of slurmctld, over the public API of libslurm (slurm/slurm.h), for any Slurm from 23.11 on.
 * Differences between versions are settled here and in controller.c by SLURM_VERSION_NUMBER, so that Python sees one
 * API.
 *
 * Every function that talks to slurmctld returns 0 or a positive code: Slurm's (slurm_errno.h) or errno's. It blocks
 * for as long as libslurm retries, so callers run it in a process that can be killed. libslurm ends the process on
 * fatal errors. burst_init comes first.
 */
#ifndef BURST_CONTROLLER_H
#define BURST_CONTROLLER_H

#include <stdint.h>
#include <time.h>

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

#if SLURM_VERSION_NUMBER < SLURM_VERSION_NUM(23, 11, 0)
#error "k8s-burst needs Slurm 23.11 or later"
#endif

/* Reads slurm.conf (NULL: the site's own) and loads libslurm's plugins. */
void burst_init (const char *conf);

/* Slurm's sentence for a code, static. */
const char *burst_strerror (int code);

/* Slurm's word for why a job pends, static; NULL where this libslurm does not export it. */
const char *burst_reason (const slurm_job_info_t *job);

uint32_t burst_job_id (const slurm_job_info_t *job);

/* Loads the records of one job id: for the id of an array, all of the array's. Free with slurm_free_job_info_msg. */
int burst_load_job (uint32_t job_id, job_info_msg_t **msg);

/* Loads what a running job has. Free with slurm_free_resource_allocation_response_msg. */
int burst_load_allocation (uint32_t job_id, resource_allocation_response_msg_t **msg);

/* What is allocated on a node. */
struct burst_node_use {
    uint16_t cpus;
    uint64_t memory_mib;
};

int burst_node_use (const node_info_t *node, struct burst_node_use *use);

/* One change of a pending job. */
struct burst_change {
    /* The record to change; where task is not NO_VAL, the id of its array. */
    uint32_t job_id;
    uint32_t task;
    /* NULL and NO_VAL leave a field as it is. */
    const char *admin_comment;
    const char *partition;
    const char *req_nodes;
    const char *exc_nodes;
    uint32_t min_nodes;
    uint32_t max_nodes;
};

/*
 * Sends one update. An array answers by task: the first failure is the result.
 * text receives slurmctld's own words, "" where it gave none, cut to size.
 */
int burst_update_job (const struct burst_change *change, char *text, size_t size);

/* Requeues a job that runs; one that does not run is left alone, and is success. */
int burst_requeue (uint32_t job_id);

/* Ends what scancel would end for this id: the id of an array means all of it, so name a task as ARRAY_INDEX. */
int burst_kill (const char *id);

/* Ends a running job as OUT_OF_MEMORY, as slurmstepd's own report of an oom_kill would. */
int burst_complete_out_of_memory (uint32_t job_id);

/* Ends a running job, and its processes, as FAILED. */
int burst_fail (uint32_t job_id);

#endif
