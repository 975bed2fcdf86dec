/* See pick.h. */
#include "pick.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A pending job may name several partitions: "gpu,k8s-burst". */
static int names(const char *list, const char *name)
{
	size_t length = strlen(name);

	while (list) {
		if (!strncmp(list, name, length) && (list[length] == '\0' || list[length] == ','))
			return 1;
		list = strchr(list, ',');
		if (list)
			list++;
	}
	return 0;
}

int burst_is_ours(const slurm_job_info_t *job, const char *prefix, const char *partition)
{
	if (job->admin_comment && !strncmp(job->admin_comment, prefix, strlen(prefix)))
		return 1;
	return names(job->partition, partition);
}

int burst_pick_jobs(time_t since, const char *prefix, const char *partition, struct burst_picked *picked)
{
	memset(picked, 0, sizeof(*picked));
	errno = 0;
	if (slurm_load_jobs(since, &picked->msg, SHOW_ALL | SHOW_LOCAL) != SLURM_SUCCESS)
		return errno ? errno : SLURM_UNEXPECTED_MSG_ERROR;
	for (uint32_t i = 0; i < picked->msg->record_count; i++)
		picked->count += burst_is_ours(&picked->msg->job_array[i], prefix, partition);
	picked->jobs = calloc(picked->count + 1, sizeof(*picked->jobs));
	if (!picked->jobs) {
		burst_picked_free(picked);
		return ENOMEM;
	}
	picked->count = 0;
	for (uint32_t i = 0; i < picked->msg->record_count; i++)
		if (burst_is_ours(&picked->msg->job_array[i], prefix, partition))
			picked->jobs[picked->count++] = &picked->msg->job_array[i];
	picked->last_update = picked->msg->last_update;
	return 0;
}

void burst_picked_free(struct burst_picked *picked)
{
	free(picked->jobs);
	slurm_free_job_info_msg(picked->msg);
	memset(picked, 0, sizeof(*picked));
}
