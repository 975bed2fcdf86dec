/*
 * Whether a word names an image in a registry: [docker://][REGISTRY#]IMAGE[:TAG][@sha256:DIGEST], Enroot's notation, or
 * REGISTRY/IMAGE. The rule is the agent's (agent/burst_agent/images.py) and job_submit.lua's; tests/images.json holds
 * all three to the same answers.
 */
#ifndef BURST_IMAGE_H
#define BURST_IMAGE_H

#include <stdbool.h>

/* Longest reference: it has to fit into admin_comment. */
enum { BURST_IMAGE_MAX = 255 };

/* Returns whether it does. NULL does not. */
bool burst_image_fits (const char *text);

#endif /* BURST_IMAGE_H */
