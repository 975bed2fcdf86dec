#include "image.h"

#include <stddef.h>
#include <string.h>

#define DIGITS "0123456789"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define LETTERS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

enum { PORT_DIGITS = 5, TAG_MAX = 128, DIGEST_DIGITS = 64 };

/* One part of a path: small letters and digits, and between them ".", "_", "__" or dashes. */
static bool is_component (const char *text)
{
    size_t at = strspn (text, LOWER DIGITS);

    if (at == 0)
        return false;
    while (text[at] != '\0') {
        size_t dots = strspn (text + at, "."), bars = strspn (text + at, "_"), dashes = strspn (text + at, "-");
        size_t between = dots + bars + dashes;
        size_t more = strspn (text + at + between, LOWER DIGITS);

        if (dots > 1 || bars > 2 || between == 0 || more == 0)
            return false;
        at += between + more;
    }
    return true;
}

static bool is_path (char *text)
{
    for (char *slash = strchr (text, '/'); slash != NULL; slash = strchr (text, '/')) {
        *slash = '\0';
        bool fits = is_component (text);
        *slash = '/';
        if (!fits)
            return false;
        text = slash + 1;
    }
    return is_component (text);
}

static bool is_host (const char *text)
{
    size_t length = strspn (text, LETTERS DIGITS ".-");
    const char *rest = text + length;

    if (length == 0 || strchr (".-", text[0]) != NULL)
        return false;
    if (*rest == ':') {
        size_t digits = strspn (rest + 1, DIGITS);
        if (digits == 0 || digits > PORT_DIGITS)
            return false;
        rest += 1 + digits;
    }
    return *rest == '\0';
}

/* A host before the hash sign ends, without its port, with a letter or digit. */
static bool is_registry (const char *text)
{
    size_t length = strcspn (text, ":");

    return is_host (text) && strchr (".-", text[length - 1]) == NULL;
}

/* Cuts what is behind the last mark off. Returns it, or NULL where there is no mark. */
static char *cut (char *text, char mark)
{
    char *at = strrchr (text, mark);

    if (at == NULL)
        return NULL;
    *at = '\0';
    return at + 1;
}

static bool is_digest (const char *text)
{
    static const char KIND[] = "sha256:";

    if (strncmp (text, KIND, sizeof KIND - 1) != 0)
        return false;
    text += sizeof KIND - 1;
    return strlen (text) == DIGEST_DIGITS && strspn (text, DIGITS "abcdef") == DIGEST_DIGITS;
}

static bool is_tag (const char *text)
{
    size_t length = strlen (text);

    return length > 0 && length <= TAG_MAX && strspn (text, LETTERS DIGITS "_.-") == length &&
           strchr (".-", text[0]) == NULL;
}

bool burst_image_fits (const char *text)
{
    static const char SCHEME[] = "docker://";
    static const char FILE_SUFFIX[] = ".sqsh";
    char copy[BURST_IMAGE_MAX + 1];
    size_t length = text != NULL ? strlen (text) : 0;

    if (length == 0 || length > BURST_IMAGE_MAX)
        return false;
    if (length >= sizeof FILE_SUFFIX - 1 && strcmp (text + length - (sizeof FILE_SUFFIX - 1), FILE_SUFFIX) == 0)
        return false;
    memcpy (copy, text, length + 1);

    char *image = strncmp (copy, SCHEME, sizeof SCHEME - 1) == 0 ? copy + sizeof SCHEME - 1 : copy;
    char *behind_hash = cut (image, '#');
    if (behind_hash != NULL) {
        if (!is_registry (image))
            return false;
        image = behind_hash;
    }
    const char *digest = cut (image, '@');
    if (digest != NULL && !is_digest (digest))
        return false;
    /* A colon before a slash is a port's. */
    char *last = strrchr (image, '/');
    const char *tag = cut (last != NULL ? last : image, ':');
    if (tag != NULL && !is_tag (tag))
        return false;
    if (is_path (image))
        return true;
    char *slash = strchr (image, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return is_host (image) && is_path (slash + 1);
}
