/*
 * The options that users type, and what they typed.
 *
 *     --k8s-burst[=auto|now|never]     bare means auto
 *     --k8s-burst-image=IMAGE          Enroot's notation, [REGISTRY#]IMAGE[:TAG]
 *     --k8s-burst-max-cost=AMOUNT      digits, and a point with digits after it
 *
 * Slurm hands options to a callback that takes no context, so what was typed is kept here, one for the process.
 */
#ifndef BURST_OPTIONS_H
#define BURST_OPTIONS_H

#include <slurm/spank.h>

#include "image.h"

enum { BURST_AMOUNT_DIGITS = 9 };

enum burst_mode { BURST_MODE_UNSET, BURST_MODE_AUTO, BURST_MODE_NOW, BURST_MODE_NEVER };

struct burst_request {
    enum burst_mode mode;
    char image[BURST_IMAGE_MAX + 1];              /* empty: the site's default image */
    char max_cost[(2 * BURST_AMOUNT_DIGITS) + 2]; /* empty: no limit */
};

/*
 * Registers the options, once in a process however many lines plugstack.conf has; to be called from slurm_spank_init.
 *
 * In slurmstepd they are registered only so that an option that comes along is no error; its value is not looked at
 * there. Returns 0, or -1 after saying which option Slurm refused.
 */
int burst_options_register (spank_t spank);

/* Forgets what was typed and that the options are registered; to be called from slurm_spank_exit. */
void burst_options_forget (void);

/* Returns what was typed so far: never NULL, valid until it is forgotten. */
const struct burst_request *burst_options_request (void);

/* Returns the word for a mode as users type it; empty for BURST_MODE_UNSET. */
const char *burst_mode_word (enum burst_mode mode);

/*
 * Puts the mode where job_submit.lua looks for it as auto, now or never, whichever way it was typed: Slurm itself
 * writes "" or "(null)" for a bare --k8s-burst. To be called from slurm_spank_init_post_opt, where the option was
 * given. A failure is said and leaves Slurm's own spelling, which job_submit.lua takes as well.
 */
void burst_options_publish (spank_t spank);

/*
 * Puts what may be the submission's --signal where job_submit.lua looks for it: slurmctld tells nobody what it was. To
 * be called from slurm_spank_init_post_opt of sbatch. A failure leaves what the script itself says.
 */
void burst_options_publish_signal (spank_t spank);

#endif /* BURST_OPTIONS_H */
