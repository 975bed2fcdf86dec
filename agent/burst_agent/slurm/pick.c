/* See pick.h. */
#include "pick.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* A pending job may name several partitions: "gpu,k8s-burst". */
static int names (const char *list, const char *name)
{
    size_t length = strlen (name);

    while (list) {
        if (!strncmp (list, name, length) && (list[length] == '\0' || list[length] == ','))
            return 1;
        list = strchr (list, ',');
        if (list)
            list++;
    }
    return 0;
}

int burst_is_ours (const slurm_job_info_t *job, const char *prefix, const char *partition)
{
    if (job->admin_comment && !strncmp (job->admin_comment, prefix, strlen (prefix)))
        return 1;
    return names (job->partition, partition);
}

/* Whether a name of a comma list, or an absent list, fits a shell pattern. */
static int fits (const char *list, const char *pattern)
{
    char name[256];

    if (!strcmp (pattern, "*"))
        return 1;
    while (list && *list) {
        size_t length = strcspn (list, ",");
        if (length < sizeof (name)) {
            memcpy (name, list, length);
            name[length] = '\0';
            if (!fnmatch (pattern, name, 0))
                return 1;
        }
        list += length + (list[length] == ',');
    }
    return 0;
}

int burst_may_be_flagged (const slurm_job_info_t *job, const struct burst_unflagged *also, uint32_t count)
{
    if ((job->job_state & JOB_STATE_BASE) != JOB_PENDING)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        if (fits (job->partition, also[i].partition) && fits (job->account, also[i].account) &&
            fits (job->qos, also[i].qos))
            return 1;
    return 0;
}

static int is_wanted (const slurm_job_info_t *job, const struct burst_wanted *wanted)
{
    return burst_is_ours (job, wanted->prefix, wanted->partition) ||
           burst_may_be_flagged (job, wanted->also, wanted->also_count);
}

int burst_pick_jobs (time_t since, const struct burst_wanted *wanted, struct burst_picked *picked)
{
    memset (picked, 0, sizeof (*picked));
    errno = 0;
    if (slurm_load_jobs (since, &picked->msg, SHOW_ALL | SHOW_LOCAL) != SLURM_SUCCESS)
        return errno ? errno : SLURM_UNEXPECTED_MSG_ERROR;
    for (uint32_t i = 0; i < picked->msg->record_count; i++)
        picked->count += is_wanted (&picked->msg->job_array[i], wanted);
    picked->jobs = calloc (picked->count + 1, sizeof (*picked->jobs));
    if (!picked->jobs) {
        burst_picked_free (picked);
        return ENOMEM;
    }
    picked->count = 0;
    for (uint32_t i = 0; i < picked->msg->record_count; i++)
        if (is_wanted (&picked->msg->job_array[i], wanted))
            picked->jobs[picked->count++] = &picked->msg->job_array[i];
    picked->last_update = picked->msg->last_update;
    return 0;
}

static int waits_for_nodes (const slurm_job_info_t *job, time_t now)
{
    return job->eligible_time <= now && (job->state_reason == WAIT_NO_REASON || job->state_reason == WAIT_PRIORITY ||
                                         job->state_reason == WAIT_RESOURCES);
}

int burst_queue (const struct burst_picked *picked, const char *partition, time_t now, struct burst_queue *queue)
{
    memset (queue, 0, sizeof (*queue));
    queue->priorities = calloc ((size_t)picked->msg->record_count + 1, sizeof (*queue->priorities));
    if (!queue->priorities)
        return ENOMEM;
    for (uint32_t i = 0; i < picked->msg->record_count; i++) {
        const slurm_job_info_t *job = &picked->msg->job_array[i];
        if (!names (job->partition, partition))
            continue;
        if ((job->job_state & JOB_STATE_BASE) == JOB_PENDING) {
            if (job->priority) {
                queue->priorities[queue->pending++] = job->priority;
                queue->waiting += waits_for_nodes (job, now);
            }
        } else if (job->start_time && job->start_time <= now) {
            queue->started_lately += job->start_time > now - 300;
            queue->started_in_hour += job->start_time > now - 3600;
        }
    }
    return 0;
}

void burst_queue_free (struct burst_queue *queue)
{
    free (queue->priorities);
    memset (queue, 0, sizeof (*queue));
}

void burst_picked_free (struct burst_picked *picked)
{
    free (picked->jobs);
    slurm_free_job_info_msg (picked->msg);
    memset (picked, 0, sizeof (*picked));
}
