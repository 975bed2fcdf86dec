#include "carry.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char PREFIX[] = "K8S_BURST_VAR_";
static const char DIRECTORY[] = "SLURM_K8S_BURST_CWD";

/* Options of srun that the launchers of pods' tasks carry out. */
static const char *const IN_PODS[] = {
    "SLURM_K8S_BURST_TASK_PROLOG",
    "SLURM_K8S_BURST_TASK_EPILOG",
    "SLURM_K8S_BURST_STDOUT",
    "SLURM_K8S_BURST_STDERR",
};

/* Returns the first variable of the task that travels under another name, NULL where none is left. */
static const char *find_carried (spank_t spank)
{
    char **variables = NULL;

    if (spank_get_item (spank, S_JOB_ENV, &variables) != ESPANK_SUCCESS || variables == NULL)
        return NULL;
    for (; *variables != NULL; variables++)
        if (strncmp (*variables, PREFIX, sizeof PREFIX - 1) == 0 && strchr (*variables, '=') != NULL)
            return *variables;
    return NULL;
}

/* Gives one its name back: "K8S_BURST_VAR_NAME=value". Its place may be taken: ESPANK_ENV_EXISTS. */
static spank_err_t restore (spank_t spank, char *variable)
{
    char *value = strchr (variable, '=');
    const char *name = variable + sizeof PREFIX - 1;

    *value++ = '\0';
    /* The list may move with each change, so the old one goes first. */
    spank_err_t err = spank_unsetenv (spank, variable);
    if (err != ESPANK_SUCCESS)
        return err;
    return spank_setenv (spank, name, value, strcmp (name, "PATH") == 0);
}

void burst_carry_restore (spank_t spank)
{
    const char *carried = NULL;
    bool goes_on = true;

    while (goes_on && (carried = find_carried (spank)) != NULL) {
        char *copy = strdup (carried);
        spank_err_t err = copy != NULL ? restore (spank, copy) : ESPANK_ERROR;
        goes_on = err == ESPANK_SUCCESS || err == ESPANK_ENV_EXISTS;
        if (!goes_on)
            slurm_error ("k8s-burst: the environment of an srun in a pod can't be restored: %s", spank_strerror (err));
        free (copy);
    }
    spank_unsetenv (spank, DIRECTORY);
    for (size_t i = 0; i < sizeof IN_PODS / sizeof *IN_PODS; i++) {
        char path[1];
        spank_err_t err = spank_getenv (spank, IN_PODS[i], path, sizeof path);
        if (err == ESPANK_SUCCESS || err == ESPANK_NOSPACE)
            slurm_error (
                "k8s-burst: %s: what srun in a pod has for --task-prolog, --task-epilog and files for each task holds "
                "in pods only",
                IN_PODS[i]);
        spank_unsetenv (spank, IN_PODS[i]);
    }
}
