/*
 * Loads the built plugin as Slurm does and calls its hooks in one context, outside Python: for the loader's view (weak
 * symbols of an old Slurm, exported names) and for the leak checker, which CPython's own allocations would drown.
 *
 *     host PLUGIN allocator|remote|slurmd [OPTION=VALUE] -- ARGUMENTS…
 *     host PLUGIN many [OPTION=VALUE] -- ARGUMENTS…    as allocator; arguments called surplus only lengthen the command
 * line host PLUGIN identify
 *
 * Prints what was logged and, in slurmstepd's context, the task's argv; ends with the sum of the hooks' failures.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_spank.h"

static spank_f *hook (void *plugin, const char *name)
{
    union {
        void *object;
        spank_f *function;
    } symbol = {dlsym (plugin, name)};
    if (symbol.object == NULL)
        exit (99);
    return symbol.function;
}

/* Prints what Slurm's plugin loader looks at. */
static int identify (void *plugin)
{
    const char *name = dlsym (plugin, "plugin_name"), *type = dlsym (plugin, "plugin_type");
    const unsigned *version = dlsym (plugin, "plugin_version"), *spank = dlsym (plugin, "spank_plugin_version");

    if (name == NULL || type == NULL || version == NULL || spank == NULL)
        return 96;
    printf ("%s %s %#x %u\n", name, type, *version, *spank);
    return 0;
}

static int run (void *plugin, enum spank_context context, char *option, int argc, char **argv)
{
    int failures = fake_call (hook (plugin, "slurm_spank_init"), FAKE_INIT, argc, argv) != 0;

    if (option != NULL) {
        char *value = strchr (option, '=');
        if (value != NULL)
            *value++ = '\0';
        failures += fake_option (option, value, 0) != 0;
        fake_export_options ();
    }
    if (context != S_CTX_SLURMD)
        failures += fake_call (hook (plugin, "slurm_spank_init_post_opt"), FAKE_INIT_POST_OPT, argc, argv) != 0;
    if (context == S_CTX_REMOTE)
        failures += fake_call (hook (plugin, "slurm_spank_task_init"), FAKE_TASK_INIT, argc, argv) != 0;
    failures += fake_call (hook (plugin, "slurm_spank_exit"), FAKE_EXIT, argc, argv) != 0;
    return failures;
}

int main (int argc, char **argv)
{
    int words = 3;
    enum spank_context context = S_CTX_ALLOCATOR;

    if (argc < 3)
        return 98;
    setvbuf (stdout, NULL, _IONBF, 0);
    if (strcmp (argv[2], "remote") == 0)
        context = S_CTX_REMOTE;
    else if (strcmp (argv[2], "slurmd") == 0)
        context = S_CTX_SLURMD;
    void *plugin = dlopen (argv[1], RTLD_LAZY);
    if (plugin == NULL) {
        fprintf (stderr, "%s\n", dlerror ());
        return 97;
    }
    if (strcmp (argv[2], "identify") == 0)
        return identify (plugin);
    if (argc < 4)
        return 98;
    char *option = strcmp (argv[words], "--") != 0 ? argv[words++] : NULL;
    fake_reset (context);
    if (context == S_CTX_REMOTE) {
        fake_job (42, 0, 1000, 3);
        fake_step_env ("SLURMD_NODENAME", "k8s-1");
    }
    while (strcmp (argv[2], "many") == 0 && strcmp (argv[argc - 1], "surplus") == 0)
        argc--;
    int failures = run (plugin, context, option, argc - words - 1, argv + words + 1);
    printf ("%s", fake_log ());
    for (int i = 0; context == S_CTX_REMOTE && i < fake_argc (); i++)
        printf ("%s%c", fake_arg (i), i + 1 < fake_argc () ? ' ' : '\n');
    fake_reset (context);
    dlclose (plugin);
    return failures;
}
