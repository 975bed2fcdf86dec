/*
 * The announcement of a submission to the agent.
 */
#ifndef BURST_ANNOUNCE_H
#define BURST_ANNOUNCE_H

#include "config.h"
#include "options.h"

/*
 * Starts the runner and waits for it until config->deadline_ms:
 *
 *     RUNNER announce --agent HOST:PORT --ca FILE --deadline-ms N --cluster NAME --mode MODE [--image I] -- WORDS…
 *
 * The runner prints the agent's answer to standard error. Whatever happens, the submission goes on: what the runner
 * can't say itself (it is missing, dies, or takes too long and is killed) is said here in one line.
 *
 * The caller's children, signals and files are left alone: only the runner is waited for, no handler is set, and the
 * runner starts in a process group of its own with default signals, /dev/null as input, standard error as output, and
 * no other file.
 */
void burst_announce (const struct burst_config *config, const struct burst_request *request);

#endif /* BURST_ANNOUNCE_H */
