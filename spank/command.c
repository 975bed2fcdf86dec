#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The shortest beginning of --signal that getopt_long takes for it. */
static const char SHORTEST[] = "--sig";
static const char OPTION[] = "--signal";

size_t burst_command_line (char *buffer, size_t size, const char **words, size_t most)
{
    size_t length = 0, count = 0;
    int fd = open ("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    while (length < size) {
        ssize_t got = read (fd, buffer + length, size - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    close (fd);
    for (size_t start = 0; start < length && count < most;) {
        const char *end = memchr (buffer + start, '\0', length - start);
        if (end == NULL)
            break;
        words[count++] = buffer + start;
        start = (size_t)(end - buffer) + 1;
    }
    return count;
}

/* Returns the value that a word, or the one after it, gives to --signal; NULL where it is another option or none. */
static const char *signal_value (const char *word, const char *next)
{
    size_t length = strcspn (word, "=");

    if (length < sizeof SHORTEST - 1 || length > sizeof OPTION - 1 || strncmp (word, OPTION, length) != 0)
        return NULL;
    return word[length] == '=' ? word + length + 1 : next;
}

static void append (char *text, size_t size, size_t position, const char *value)
{
    static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:@";
    size_t length = strlen (text);

    if (value == NULL || *value == '\0' || value[strspn (value, LETTERS)] != '\0')
        return;
    int more = snprintf (text + length, size - length, "%s%zu=%s", length > 0 ? "," : "", position, value);
    if (more < 0 || (size_t)more >= size - length)
        text[length] = '\0';
}

const char *burst_command_signals (const char *preset, const char *const *words, size_t count, char *text, size_t size)
{
    text[0] = '\0';
    append (text, size, BURST_COMMAND_BYTES, preset);
    for (size_t i = 1; i < count; i++)
        append (text, size, count - 1 - i, signal_value (words[i], i + 1 < count ? words[i + 1] : NULL));
    return text;
}
