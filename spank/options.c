#include "options.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { OPTION_MODE, OPTION_IMAGE, OPTION_MAX_COST };

/* getopt's optional_argument, which SPANK hands on to getopt_long. */
enum { ARGUMENT_REQUIRED = 1, ARGUMENT_OPTIONAL = 2 };

/* Slurm makes this name of plugin_name and the option's name. */
static const char MODE_VARIABLE[] = "_SLURM_SPANK_OPTION_k8s_burst_k8s_burst";
static const char SIGNAL_VARIABLE[] = "K8S_BURST_SIGNAL";

static const char *const WORDS[] = {
    [BURST_MODE_UNSET] = "",
    [BURST_MODE_AUTO] = "auto",
    [BURST_MODE_NOW] = "now",
    [BURST_MODE_NEVER] = "never",
};

static struct burst_request request;
static bool registered;

static bool is_bare (const char *value)
{
    /* "(null)" is what Slurm's own environment variable says of a bare option. */
    return value == NULL || *value == '\0' || strcmp (value, "(null)") == 0;
}

static int take_mode (const char *value)
{
    if (is_bare (value)) {
        request.mode = BURST_MODE_AUTO;
        return 0;
    }
    for (enum burst_mode mode = BURST_MODE_AUTO; mode <= BURST_MODE_NEVER; mode++) {
        if (strcmp (value, WORDS[mode]) == 0) {
            request.mode = mode;
            return 0;
        }
    }
    slurm_error ("k8s-burst: --k8s-burst=%.64s is not known: use auto, now or never", value);
    return -1;
}

static int take_image (const char *value)
{
    if (!burst_image_fits (value)) {
        slurm_error (
            "k8s-burst: --k8s-burst-image=%.64s is no image in a registry: use [REGISTRY#]IMAGE[:TAG], without "
            "USER@, at most %d characters",
            value != NULL ? value : "", BURST_IMAGE_MAX);
        return -1;
    }
    memcpy (request.image, value, strlen (value) + 1);
    return 0;
}

/* Digits, and a point with digits after it: the site's currency is in the agent's settings. */
static int take_max_cost (const char *value)
{
    const char *text = value != NULL ? value : "";
    size_t whole = strspn (text, "0123456789");
    size_t fraction = text[whole] == '.' ? strspn (text + whole + 1, "0123456789") : 0;
    size_t length = whole + (text[whole] == '.' ? 1 + fraction : 0);
    bool fits = whole > 0 && whole <= BURST_AMOUNT_DIGITS && fraction <= BURST_AMOUNT_DIGITS && text[length] == '\0' &&
                (text[whole] == '\0' || fraction > 0);

    if (!fits) {
        slurm_error ("k8s-burst: --k8s-burst-max-cost=%.64s is no amount of money: use digits, as in 2.50", text);
        return -1;
    }
    memcpy (request.max_cost, text, length + 1);
    return 0;
}

/* Slurm's callback. remote: in slurmstepd, where the value has no say. */
static int take (int val, const char *value, int remote)
{
    if (remote)
        return 0;
    switch (val) {
    case OPTION_MODE:
        return take_mode (value);
    case OPTION_IMAGE:
        return take_image (value);
    default:
        return take_max_cost (value);
    }
}

/* SPANK takes char * but copies the strings. */
static struct spank_option OPTIONS[] = {
    {
        (char *)"k8s-burst",
        (char *)"[auto|now|never]",
        (char *)"let the job overflow into Kubernetes: when waiting is worse (auto, the default), at once (now), or "
                "never",
        ARGUMENT_OPTIONAL,
        OPTION_MODE,
        take,
    },
    {
        (char *)"k8s-burst-image",
        (char *)"image",
        (char *)"container image for the job in Kubernetes: [REGISTRY#]IMAGE[:TAG]",
        ARGUMENT_REQUIRED,
        OPTION_IMAGE,
        take,
    },
    {
        (char *)"k8s-burst-max-cost",
        (char *)"amount",
        (char *)"let the job overflow into Kubernetes only if it costs no more than this, in the site's currency",
        ARGUMENT_REQUIRED,
        OPTION_MAX_COST,
        take,
    },
};

int burst_options_register (spank_t spank)
{
    int rc = 0;

    if (registered)
        return 0;
    registered = true;
    for (size_t i = 0; i < sizeof OPTIONS / sizeof OPTIONS[0]; i++) {
        spank_err_t err = spank_option_register (spank, &OPTIONS[i]);
        if (err != ESPANK_SUCCESS) {
            slurm_error ("k8s-burst: can't register --%s: %s", OPTIONS[i].name, spank_strerror (err));
            rc = -1;
        }
    }
    return rc;
}

void burst_options_forget (void)
{
    memset (&request, 0, sizeof request);
    registered = false;
}

const struct burst_request *burst_options_request (void)
{
    return &request;
}

const char *burst_mode_word (enum burst_mode mode)
{
    return WORDS[mode];
}

void burst_options_publish (spank_t spank)
{
    const char *word = WORDS[request.mode];

    /* The environment reaches job_submit.lua for batch jobs, spank_job_env for all, even with --export=NONE. */
    if (setenv (MODE_VARIABLE, word, 1) != 0)
        slurm_error ("k8s-burst: can't put --k8s-burst=%s into the environment: %s", word, strerror (errno));
    spank_err_t err = spank_job_control_setenv (spank, MODE_VARIABLE, word, 1);
    if (err != ESPANK_SUCCESS)
        slurm_error ("k8s-burst: can't put --k8s-burst=%s into the job's environment: %s", word, spank_strerror (err));
}

void burst_options_publish_signal (spank_t spank)
{
    char text[BURST_SIGNALS_MAX];
    const char *words[BURST_COMMAND_WORDS];
    char *buffer = malloc (BURST_COMMAND_BYTES);

    if (buffer == NULL)
        return;
    size_t count = burst_command_line (buffer, BURST_COMMAND_BYTES, words, BURST_COMMAND_WORDS);
    burst_command_signals (getenv ("SBATCH_SIGNAL"), words, count, text, sizeof text);
    free (buffer);
    if (text[0] != '\0')
        spank_job_control_setenv (spank, SIGNAL_VARIABLE, text, 1);
}
