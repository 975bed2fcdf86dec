/* See controller.h. */
#include "controller.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/*
 * libslurm exports its table of reasons, but slurm.h does not declare it: under this name from 24.05 on, under the
 * other before. Weak, so that a libslurm without it still loads.
 */
extern const char *slurm_job_state_reason_string (enum job_state_reason reason) __attribute__ ((weak));
extern char *slurm_job_reason_string (enum job_state_reason reason) __attribute__ ((weak));

/* libslurm's calls answer 0, -1 with errno, or (slurm_update_job2) the code itself. */
static int code_of (int rc)
{
    if (rc == SLURM_SUCCESS)
        return 0;
    if (rc > 0)
        return rc;
    return errno ? errno : SLURM_UNEXPECTED_MSG_ERROR;
}

void burst_init (const char *conf)
{
    slurm_init (conf);
}

const char *burst_strerror (int code)
{
    return slurm_strerror (code);
}

const char *burst_reason (const slurm_job_info_t *job)
{
    if (slurm_job_state_reason_string)
        return slurm_job_state_reason_string (job->state_reason);
    if (slurm_job_reason_string)
        return slurm_job_reason_string (job->state_reason);
    return NULL;
}

uint32_t burst_job_id (const slurm_job_info_t *job)
{
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 11, 0)
    return job->step_id.job_id;
#else
    return job->job_id;
#endif
}

/* How libslurm's calls take a job's id. */
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 5, 0)
static slurm_step_id_t named (uint32_t job_id)
{
    slurm_step_id_t id = SLURM_STEP_ID_INITIALIZER;

    id.job_id = job_id;
    return id;
}
#else
static uint32_t named (uint32_t job_id)
{
    return job_id;
}
#endif

int burst_load_job (uint32_t job_id, job_info_msg_t **msg)
{
    *msg = NULL;
    errno = 0;
    return code_of (slurm_load_job (msg, named (job_id), SHOW_ALL | SHOW_DETAIL | SHOW_LOCAL));
}

int burst_load_allocation (uint32_t job_id, resource_allocation_response_msg_t **msg)
{
    *msg = NULL;
    errno = 0;
    return code_of (slurm_allocation_lookup (named (job_id), msg));
}

int burst_node_use (const node_info_t *node, struct burst_node_use *use)
{
    memset (use, 0, sizeof (*use));
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
    use->cpus = node->alloc_cpus;
    use->memory_mib = node->alloc_memory;
    return 0;
#else
    errno = 0;
    int rc =
        slurm_get_select_nodeinfo (node->select_nodeinfo, SELECT_NODEDATA_SUBCNT, NODE_STATE_ALLOCATED, &use->cpus);
    if (rc == SLURM_SUCCESS)
        rc = slurm_get_select_nodeinfo (node->select_nodeinfo, SELECT_NODEDATA_MEM_ALLOC, NODE_STATE_ALLOCATED,
                                        &use->memory_mib);
    return code_of (rc);
#endif
}

/* Fills a description that slurmctld only reads; libslurm's type has no const. */
static void describe (const struct burst_change *change, char *task_id, size_t size, job_desc_msg_t *desc)
{
    slurm_init_job_desc_msg (desc);
    desc->admin_comment = (char *)change->admin_comment;
    desc->partition = (char *)change->partition;
    desc->req_nodes = (char *)change->req_nodes;
    desc->exc_nodes = (char *)change->exc_nodes;
    desc->min_nodes = change->min_nodes;
    desc->max_nodes = change->max_nodes;
    if (change->task != NO_VAL) {
        snprintf (task_id, size, "%u_%u", change->job_id, change->task);
        desc->job_id_str = task_id;
        return;
    }
    /* By number, an array's id names its one record of tasks not split off yet; as a string, all of its tasks. */
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 11, 0)
    desc->step_id.job_id = change->job_id;
#else
    desc->job_id = change->job_id;
#endif
}

int burst_update_job (const struct burst_change *change, char *text, size_t size)
{
    char task_id[32];
    job_desc_msg_t desc;
    job_array_resp_msg_t *resp = NULL;

    text[0] = '\0';
    describe (change, task_id, sizeof (task_id), &desc);
    errno = 0;
    int code = code_of (slurm_update_job2 (&desc, &resp));
    for (uint32_t i = 0; !code && resp && i < resp->job_array_count; i++) {
        code = resp->error_code[i];
        if (code && resp->err_msg && resp->err_msg[i])
            snprintf (text, size, "%s", resp->err_msg[i]);
    }
    if (resp)
        slurm_free_job_array_resp (resp);
    return code;
}

int burst_requeue (uint32_t job_id)
{
    errno = 0;
    return code_of (slurm_requeue (named (job_id), JOB_RUNNING));
}

int burst_kill (const char *id)
{
    errno = 0;
    return code_of (slurm_kill_job2 (id, SIGKILL, 0, NULL));
}

/* slurmctld takes this return code of a job for OUT_OF_MEMORY; the name, SIG_OOM, is in none of Slurm's public headers.
 */
#define OUT_OF_MEMORY_CODE 253

/* As the batch script's own exit code 1 would: slurmctld has no state for the loss of a node that still answers. */
#define FAILED_CODE (1 << 8)

static int complete (uint32_t job_id, uint32_t return_code)
{
    errno = 0;
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 11, 0)
    slurm_step_id_t job = {.job_id = job_id, .step_het_comp = NO_VAL, .step_id = NO_VAL};
    return code_of (slurm_complete_job (&job, return_code));
#else
    return code_of (slurm_complete_job (job_id, return_code));
#endif
}

int burst_complete_out_of_memory (uint32_t job_id)
{
    return complete (job_id, OUT_OF_MEMORY_CODE);
}

int burst_fail (uint32_t job_id)
{
    return complete (job_id, FAILED_CODE);
}
