/*
 * This process' own command line, as the user typed it: SPANK tells plugins only of their own options.
 */
#ifndef BURST_COMMAND_H
#define BURST_COMMAND_H

#include <stddef.h>

enum {
    BURST_COMMAND_WORDS = 256, /* enough to recognise it in a log, and for its options */
    BURST_COMMAND_BYTES = 16384,
    BURST_SIGNALS_MAX = 256,
};

/* Splits the command line, kept in buffer, into words. Returns how many; what does not fit is left out. */
size_t burst_command_line (char *buffer, size_t size, const char **words, size_t most);

/*
 * Writes what may be values of --signal, the one that wins last, as POSITION=VALUE and separated by commas. POSITION
 * counts words from the end of the command line, the last word being 0: whoever knows how many of them are the script
 * and its arguments knows which are options. `preset`, of SBATCH_SIGNAL, may be NULL; it comes first.
 *
 * Only what Slurm would take is written: letters, digits, ':' and '@'. Returns text, which is empty for none.
 */
const char *burst_command_signals (const char *preset, const char *const *words, size_t count, char *text, size_t size);

#endif /* BURST_COMMAND_H */
