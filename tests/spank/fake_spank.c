#include "fake_spank.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

#include <slurm/slurm.h>

enum { LOG_SIZE = 65536, OPTIONS_MAX = 8, ENV_MAX = 32, ARGV_MAX = 64, ITEMS_MAX = 64 };

struct variable {
    char *name;
    char *value;
};

struct option {
    struct spank_option told;
    bool found;
    char *value;
};

struct spank_handle {
    enum fake_phase phase;
};

static struct {
    enum spank_context context;
    bool has_job;
    uint32_t job_id, step_id, uid, rank;
    bool lost[ITEMS_MAX];
    bool refused;
    struct option options[OPTIONS_MAX];
    int option_count;
    struct variable step_env[ENV_MAX], job_control[ENV_MAX];
    char *environment[ENV_MAX + 1];
    char *argv[ARGV_MAX];
    int argc;
    struct spank_handle handle;
} fake;

static char *log_text;

#ifndef FAKE_OLD_SLURM
slurm_conf_t slurm_conf = {.cluster_name = (char *)"testing"};
void *oci_conf;
#endif

/* ---- what tests say ---- */

static void clear_variables (struct variable *variables)
{
    for (int i = 0; i < ENV_MAX; i++) {
        free (variables[i].name);
        free (variables[i].value);
    }
}

static struct variable *find_variable (struct variable *variables, const char *name)
{
    for (int i = 0; i < ENV_MAX; i++)
        if (variables[i].name != NULL && strcmp (variables[i].name, name) == 0)
            return &variables[i];
    return NULL;
}

static void set_variable (struct variable *variables, const char *name, const char *value)
{
    struct variable *variable = find_variable (variables, name);
    for (int i = 0; variable == NULL && i < ENV_MAX; i++)
        if (variables[i].name == NULL)
            variable = &variables[i];
    if (variable == NULL)
        abort ();
    if (variable->name == NULL)
        variable->name = strdup (name);
    free (variable->value);
    variable->value = value != NULL ? strdup (value) : NULL;
}

void fake_reset (enum spank_context context)
{
    for (int i = 0; i < fake.argc; i++)
        free (fake.argv[i]);
    for (int i = 0; i < fake.option_count; i++)
        free (fake.options[i].value);
    clear_variables (fake.step_env);
    for (int i = 0; i <= ENV_MAX; i++)
        free (fake.environment[i]);
    clear_variables (fake.job_control);
    memset (&fake, 0, sizeof fake);
    fake.context = context;
    if (log_text == NULL)
        log_text = mmap (NULL, LOG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (log_text == MAP_FAILED)
        abort ();
    log_text[0] = '\0';
    fake_oci (false);
}

void fake_job (uint32_t job_id, uint32_t step_id, uint32_t uid, uint32_t rank)
{
    fake.has_job = true;
    fake.job_id = job_id;
    fake.step_id = step_id;
    fake.uid = uid;
    fake.rank = rank;
    fake.argv[0] = strdup ("true");
    fake.argc = 1;
}

void fake_lose_item (int item)
{
    fake.lost[item] = true;
}

void fake_step_env (const char *name, const char *value)
{
    set_variable (fake.step_env, name, value);
}

void fake_refuse (bool refused)
{
    fake.refused = refused;
}

void fake_oci (bool read)
{
#ifdef FAKE_OLD_SLURM
    (void)read;
#else
    oci_conf = read ? &fake : NULL;
#endif
}

int fake_call (spank_f *hook, enum fake_phase phase, int argc, char **argv)
{
    fake.handle.phase = phase;
    return hook (&fake.handle, argc, argv);
}

static struct option *find_option (const char *name)
{
    for (int i = 0; i < fake.option_count; i++)
        if (strcmp (fake.options[i].told.name, name) == 0)
            return &fake.options[i];
    return NULL;
}

int fake_option (const char *name, const char *value, int remote)
{
    struct option *option = find_option (name);
    if (option == NULL)
        return -2;
    int rc = option->told.cb (option->told.val, value, remote);
    if (rc != 0)
        return rc;
    free (option->value);
    option->value = value != NULL ? strdup (value) : NULL;
    option->found = true;
    return 0;
}

void fake_export_options (void)
{
    for (int i = 0; i < fake.option_count; i++) {
        struct option *option = &fake.options[i];
        char name[256];
        if (!option->found)
            continue;
        snprintf (name, sizeof name, "_SLURM_SPANK_OPTION_k8s_burst_%s", option->told.name);
        for (char *c = name; *c != '\0'; c++)
            if (*c == '-')
                *c = '_';
        setenv (name, option->value != NULL ? option->value : "", 1);
        set_variable (fake.job_control, name, option->value != NULL ? option->value : "(null)");
    }
}

int fake_registered (const char *name)
{
    int count = 0;
    for (int i = 0; i < fake.option_count; i++)
        count += strcmp (fake.options[i].told.name, name) == 0;
    return count;
}

int fake_has_arg (const char *name)
{
    struct option *option = find_option (name);
    return option != NULL ? option->told.has_arg : -1;
}

const char *fake_job_control (const char *name)
{
    struct variable *variable = find_variable (fake.job_control, name);
    return variable != NULL ? variable->value : NULL;
}

const char *fake_log (void)
{
    return log_text;
}

int fake_argc (void)
{
    return fake.argc;
}

const char *fake_arg (int index)
{
    return fake.argv[index];
}

/* ---- what Slurm offers ---- */

static void log_line (const char *level, const char *format, va_list words) __attribute__ ((format (printf, 2, 0)));

static void log_line (const char *level, const char *format, va_list words)
{
    size_t used = strlen (log_text);
    used += (size_t)snprintf (log_text + used, LOG_SIZE - used, "%s: ", level);
    used += (size_t)vsnprintf (log_text + used, LOG_SIZE - used, format, words);
    snprintf (log_text + used, LOG_SIZE - used, "\n");
}

void slurm_error (const char *format, ...)
{
    va_list words;
    va_start (words, format);
    log_line ("error", format, words);
    va_end (words);
}

void slurm_spank_log (const char *format, ...)
{
    va_list words;
    va_start (words, format);
    log_line ("spank_log", format, words);
    va_end (words);
}

const char *spank_strerror (spank_err_t err)
{
    return err == ESPANK_ENV_NOEXIST ? "Environment variable doesn't exist" : "Generic SPANK error";
}

spank_context_t spank_context (void)
{
    return fake.context;
}

spank_err_t spank_option_register (spank_t spank, struct spank_option *opt)
{
    if (spank->phase != FAKE_INIT || opt == NULL || opt->name == NULL || opt->usage == NULL)
        return ESPANK_BAD_ARG;
    if (fake.refused || fake.option_count == OPTIONS_MAX)
        return ESPANK_ERROR;
    fake.options[fake.option_count++].told = *opt;
    return ESPANK_SUCCESS;
}

static void clear_environment (void)
{
    for (int i = 0; i <= ENV_MAX; i++) {
        free (fake.environment[i]);
        fake.environment[i] = NULL;
    }
}

/* The step's variables as slurmstepd has them; made anew, elsewhere, at each change. */
static char **environment (void)
{
    int count = 0;

    clear_environment ();
    for (int i = 0; i < ENV_MAX; i++) {
        const struct variable *variable = &fake.step_env[i];
        if (variable->name == NULL || variable->value == NULL)
            continue;
        size_t size = strlen (variable->name) + strlen (variable->value) + 2;
        fake.environment[count] = malloc (size);
        snprintf (fake.environment[count++], size, "%s=%s", variable->name, variable->value);
    }
    return fake.environment;
}

spank_err_t spank_setenv (spank_t spank, const char *name, const char *value, int overwrite)
{
    (void)spank;
    if (fake.context != S_CTX_REMOTE)
        return ESPANK_NOT_REMOTE;
    if (fake.refused || name == NULL || value == NULL)
        return ESPANK_BAD_ARG;
    struct variable *variable = find_variable (fake.step_env, name);
    if (variable != NULL && variable->value != NULL && !overwrite)
        return ESPANK_ENV_EXISTS;
    clear_environment ();
    set_variable (fake.step_env, name, value);
    return ESPANK_SUCCESS;
}

spank_err_t spank_unsetenv (spank_t spank, const char *name)
{
    (void)spank;
    if (fake.context != S_CTX_REMOTE)
        return ESPANK_NOT_REMOTE;
    if (fake.refused || name == NULL)
        return ESPANK_BAD_ARG;
    clear_environment ();
    if (find_variable (fake.step_env, name) != NULL)
        set_variable (fake.step_env, name, NULL);
    return ESPANK_SUCCESS;
}

const char *fake_step_value (const char *name)
{
    struct variable *variable = find_variable (fake.step_env, name);
    return variable != NULL ? variable->value : NULL;
}

spank_err_t spank_get_item (spank_t spank, spank_item_t item, ...)
{
    spank_err_t rc = ESPANK_SUCCESS;
    va_list out;

    if (fake.context != S_CTX_REMOTE)
        return ESPANK_NOT_REMOTE;
    if (!fake.has_job || fake.lost[item])
        return ESPANK_NOT_AVAIL;
    va_start (out, item);
    switch (item) {
    case S_JOB_UID:
        *va_arg (out, uid_t *) = fake.uid;
        break;
    case S_JOB_ID:
        *va_arg (out, uint32_t *) = fake.job_id;
        break;
    case S_JOB_STEPID:
        *va_arg (out, uint32_t *) = fake.step_id;
        break;
    case S_TASK_GLOBAL_ID:
        if (spank->phase == FAKE_TASK_INIT)
            *va_arg (out, uint32_t *) = fake.rank;
        else
            rc = ESPANK_NOT_TASK;
        break;
    case S_JOB_ENV:
        *va_arg (out, char ***) = environment ();
        break;
    default:
        rc = ESPANK_BAD_ARG;
    }
    va_end (out);
    return rc;
}

spank_err_t spank_getenv (spank_t spank, const char *var, char *buf, int len)
{
    (void)spank;
    if (fake.context != S_CTX_REMOTE)
        return ESPANK_NOT_REMOTE;
    struct variable *variable = find_variable (fake.step_env, var);
    if (variable == NULL || variable->value == NULL)
        return ESPANK_ENV_NOEXIST;
    int length = snprintf (buf, (size_t)len, "%s", variable->value);
    return length >= len ? ESPANK_NOSPACE : ESPANK_SUCCESS;
}

spank_err_t spank_job_control_setenv (spank_t spank, const char *name, const char *value, int overwrite)
{
    (void)spank;
    if (fake.context == S_CTX_REMOTE)
        return ESPANK_NOT_LOCAL;
    if (fake.refused || name == NULL || value == NULL)
        return ESPANK_BAD_ARG;
    if (overwrite || find_variable (fake.job_control, name) == NULL)
        set_variable (fake.job_control, name, value);
    return ESPANK_SUCCESS;
}

#ifndef FAKE_OLD_SLURM
spank_err_t spank_prepend_task_argv (spank_t spank, int argc, const char *argv[])
{
    if (argv == NULL)
        return ESPANK_BAD_ARG;
    if (spank->phase != FAKE_TASK_INIT || !fake.has_job || fake.refused)
        return ESPANK_NOT_TASK;
    if (fake.argc + argc > ARGV_MAX)
        return ESPANK_NOSPACE;
    memmove (fake.argv + argc, fake.argv, (size_t)fake.argc * sizeof fake.argv[0]);
    for (int i = 0; i < argc; i++)
        fake.argv[i] = strdup (argv[i]);
    fake.argc += argc;
    return ESPANK_SUCCESS;
}
#endif
