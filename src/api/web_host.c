#include "api/web_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PORT_DIGITS 5u

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    return c;
}

static bool is_host_char(char c, bool is_bracketed)
{
    char l = lower(c);
    bool is_alnum = (l >= 'a' && l <= 'z') || (l >= '0' && l <= '9');

    return is_alnum || c == '.' || (is_bracketed ? c == ':' : c == '-' || c == '_');
}

/* "" or ":14000" */
static bool is_port(const char *text)
{
    if (*text == '\0')
        return true;
    size_t digits = strspn(text + 1, "0123456789");
    return *text == ':' && digits >= 1 && digits <= PORT_DIGITS && text[1 + digits] == '\0';
}

int web_host_parse(const char *header, char ret[static WEB_HOST_SIZE])
{
    char host[WEB_HOST_SIZE];
    bool is_bracketed = *header == '[';
    const char *at = header + is_bracketed;
    size_t len = 0;

    while (len < WEB_HOST_SIZE - 1 && is_host_char(at[len], is_bracketed)) {
        host[len] = lower(at[len]);
        len++;
    }
    host[len] = '\0';
    at += len;
    if (is_bracketed && *at++ != ']')
        return -EINVAL;
    if (len == 0 || !is_port(at))
        return -EINVAL;
    memcpy(ret, host, len + 1);
    return 0;
}

bool web_host_is_address(const char *host)
{
    unsigned char address[16];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

bool web_origin_is(const char *origin, const char *host_header)
{
    static const char scheme[] = "https://";

    return strncasecmp(origin, scheme, sizeof(scheme) - 1) == 0 &&
           strcasecmp(origin + sizeof(scheme) - 1, host_header) == 0;
}
