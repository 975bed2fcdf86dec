#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PORT_MAX = 65535,
    PATH_LENGTH_MAX = 4095,
    SOCKET_LENGTH_MAX = 107, /* sun_path of a unix socket, without its NUL */
    HOST_LENGTH_MAX = 253,
};

enum kind { KIND_ROLE, KIND_ENDPOINT, KIND_PATH, KIND_NUMBER };

struct argument {
    const char *key;
    enum kind kind;
    bool login;   /* whether it has a meaning with role=login */
    bool gateway; /* whether it has one with role=gateway */
    bool required;
    size_t offset;  /* of its member in struct burst_config */
    unsigned least; /* KIND_NUMBER */
    unsigned most;  /* KIND_NUMBER: value; KIND_PATH: length */
};

/* Every argument there is. A deadline is at most 10 s: no submission shall hang on a typing error. */
static const struct argument ARGUMENTS[] = {
    {"role", KIND_ROLE, true, true, true, offsetof (struct burst_config, role), 0, 0},
    {"agent", KIND_ENDPOINT, true, false, true, offsetof (struct burst_config, agent), 0, 0},
    {"ca", KIND_PATH, true, false, true, offsetof (struct burst_config, ca), 0, PATH_LENGTH_MAX},
    {"deadline_ms", KIND_NUMBER, true, false, false, offsetof (struct burst_config, deadline_ms), 10, 10000},
    {"socket", KIND_PATH, false, true, false, offsetof (struct burst_config, socket), 0, SOCKET_LENGTH_MAX},
    {"commands", KIND_PATH, false, true, false, offsetof (struct burst_config, commands), 0, PATH_LENGTH_MAX},
    {"give_up_s", KIND_NUMBER, false, true, false, offsetof (struct burst_config, give_up_s), 1, 604800},
    {"runner", KIND_PATH, true, true, false, offsetof (struct burst_config, runner), 0, PATH_LENGTH_MAX},
};
enum { ARGUMENT_COUNT = sizeof ARGUMENTS / sizeof ARGUMENTS[0] };

static const struct burst_config DEFAULTS = {
    .role = BURST_ROLE_UNKNOWN,
    .agent = NULL,
    .ca = NULL,
    .commands = NULL,
    .socket = "/run/k8s-burst/gatewayd.sock",
    .runner = "/usr/libexec/k8s-burst/k8s-burst-run",
    .deadline_ms = 500,
    .give_up_s = 1800,
};

/* Returns the value of "key=value" if the word has this key, else NULL. */
static const char *value_of (const char *word, const char *key)
{
    size_t length = strlen (key);
    return strncmp (word, key, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

static enum burst_role role_of (const char *value)
{
    if (strcmp (value, "login") == 0)
        return BURST_ROLE_LOGIN;
    if (strcmp (value, "gateway") == 0)
        return BURST_ROLE_GATEWAY;
    return BURST_ROLE_UNKNOWN;
}

static bool number_of (const char *text, unsigned least, unsigned most, unsigned *number)
{
    char *end = NULL;
    if (!isdigit ((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long value = strtoul (text, &end, 10);
    if (errno != 0 || *end != '\0' || value < least || value > most)
        return false;
    *number = (unsigned)value;
    return true;
}

/* HOST:PORT, where HOST is a name, an IPv4 address or an IPv6 address in brackets. */
static bool is_endpoint (const char *text)
{
    unsigned port = 0;
    const char *colon = strrchr (text, ':');
    if (colon == NULL || colon == text || colon - text > HOST_LENGTH_MAX || !number_of (colon + 1, 1, PORT_MAX, &port))
        return false;
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    const char *host = bracketed ? text + 1 : text;
    const char *end = bracketed ? colon - 1 : colon;
    if (host == end)
        return false;
    for (const char *c = host; c < end; c++) {
        bool fits = bracketed ? isxdigit ((unsigned char)*c) || strchr (":.", *c) != NULL
                              : isalnum ((unsigned char)*c) || strchr (".-", *c) != NULL;
        if (!fits)
            return false;
    }
    return true;
}

/* An absolute path: the runner is started for the user, so the user's PATH must have no say. */
static bool is_path (const char *text, unsigned most)
{
    return text[0] == '/' && text[1] != '\0' && strlen (text) <= most;
}

/* Writes the value into its member of config. Returns 0, or -1 with a sentence in error. */
static int take (struct burst_config *config, const struct argument *argument, const char *value, char *error,
                 size_t size)
{
    char *member = (char *)config + argument->offset;

    switch (argument->kind) {
    case KIND_ROLE:
        if (role_of (value) != BURST_ROLE_UNKNOWN)
            return 0; /* the first pass has set it */
        snprintf (error, size, "role=%.64s: must be login or gateway", value);
        return -1;
    case KIND_ENDPOINT:
        if (!is_endpoint (value)) {
            snprintf (error, size, "%s=%.64s: must be HOST:PORT", argument->key, value);
            return -1;
        }
        break;
    case KIND_PATH:
        if (!is_path (value, argument->most)) {
            snprintf (error, size, "%s=%.64s: must be an absolute path of at most %u bytes", argument->key, value,
                      argument->most);
            return -1;
        }
        break;
    case KIND_NUMBER:
        if (number_of (value, argument->least, argument->most, (unsigned *)(void *)member))
            return 0;
        snprintf (error, size, "%s=%.64s: must be a number from %u to %u", argument->key, value, argument->least,
                  argument->most);
        return -1;
    }
    *(const char **)(void *)member = value;
    return 0;
}

/* Whether an argument has a meaning in a line of this role; all have in one whose role is not known. */
static bool belongs (const struct argument *argument, enum burst_role role)
{
    return role == BURST_ROLE_UNKNOWN || (role == BURST_ROLE_LOGIN ? argument->login : argument->gateway);
}

static int take_word (struct burst_config *config, const char *word, bool seen[static ARGUMENT_COUNT], char *error,
                      size_t size)
{
    for (unsigned i = 0; i < ARGUMENT_COUNT; i++) {
        const struct argument *argument = &ARGUMENTS[i];
        const char *value = value_of (word, argument->key);
        if (value == NULL)
            continue;
        if (seen[i]) {
            snprintf (error, size, "%s: given twice", argument->key);
            return -1;
        }
        seen[i] = true;
        if (!belongs (argument, config->role)) {
            snprintf (error, size, "%s: has no meaning with role=%s", argument->key,
                      config->role == BURST_ROLE_LOGIN ? "login" : "gateway");
            return -1;
        }
        return take (config, argument, value, error, size);
    }
    snprintf (error, size, "%.64s: unknown argument", word);
    return -1;
}

int burst_config_parse (struct burst_config *config, int argc, char *const argv[], char *error, size_t size)
{
    struct burst_config parsed = DEFAULTS;
    bool seen[ARGUMENT_COUNT] = {false};

    /* The role first, wherever it stands: it says which arguments have a meaning. */
    for (int i = 0; i < argc && parsed.role == BURST_ROLE_UNKNOWN; i++) {
        const char *value = value_of (argv[i], "role");
        if (value != NULL)
            parsed.role = role_of (value);
    }
    *config = DEFAULTS;
    config->role = parsed.role;
    for (int i = 0; i < argc; i++)
        if (take_word (&parsed, argv[i], seen, error, size) != 0)
            return -1;
    for (unsigned i = 0; i < ARGUMENT_COUNT; i++) {
        if (ARGUMENTS[i].required && belongs (&ARGUMENTS[i], parsed.role) && !seen[i]) {
            snprintf (error, size, "%s=: missing", ARGUMENTS[i].key);
            return -1;
        }
    }
    *config = parsed;
    return 0;
}
