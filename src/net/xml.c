#include "net/xml.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "base/cleanup.h"

struct walk {
    XML_Parser parser;
    xml_visit_fn *visit;
    void *arg;
    int result; /* of visit; or -EBADMSG */
    unsigned depth;
    size_t path_len;
    char path[XML_PATH_MAX];
    struct {
        size_t path_len; /* of what is around it */
        size_t text_at;  /* where its text begins */
    } open[XML_DEPTH_MAX];
    size_t text_len;
    char
        text[XML_DEPTH_MAX * 64 + XML_TEXT_MAX + 1]; /* of all that are open, one after the other */
};

static void stop(struct walk *walk, int code)
{
    walk->result = code;
    (void)XML_StopParser(walk->parser, XML_FALSE);
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct walk *walk = arg;
    size_t len = strlen(name);

    (void)attributes;
    if (walk->result != 0)
        return;
    if (walk->depth == XML_DEPTH_MAX || len >= sizeof(walk->path) - walk->path_len - 1) {
        stop(walk, -EBADMSG);
        return;
    }
    walk->open[walk->depth].path_len = walk->path_len;
    walk->open[walk->depth].text_at = walk->text_len;
    walk->depth++;
    walk->path[walk->path_len] = '/';
    memcpy(walk->path + walk->path_len + 1, name, len + 1);
    walk->path_len += len + 1;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    struct walk *walk = arg;

    (void)name;
    if (walk->result != 0)
        return;
    walk->depth--;
    walk->text[walk->text_len] = '\0';
    int r = walk->visit(walk->path, walk->text + walk->open[walk->depth].text_at, walk->arg);
    walk->text_len = walk->open[walk->depth].text_at;
    walk->path_len = walk->open[walk->depth].path_len;
    walk->path[walk->path_len] = '\0';
    if (r != 0)
        stop(walk, r);
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
    struct walk *walk = arg;

    if (walk->result != 0 || walk->depth == 0)
        return;
    if ((size_t)len > sizeof(walk->text) - 1 - walk->text_len ||
        walk->text_len + (size_t)len - walk->open[walk->depth - 1].text_at > XML_TEXT_MAX) {
        stop(walk, -EBADMSG);
        return;
    }
    memcpy(walk->text + walk->text_len, text, (size_t)len);
    walk->text_len += (size_t)len;
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int has_internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)has_internal;
    stop(arg, -EBADMSG);
}

int xml_read(struct bytes document, xml_visit_fn *visit, void *arg, struct error *err)
{
    CLEANUP(free_ptr) struct walk *walk = calloc(1, sizeof(*walk));
    XML_Parser parser = XML_ParserCreate("UTF-8");
    int r = -EBADMSG;

    if (walk == NULL || parser == NULL) {
        if (parser != NULL)
            XML_ParserFree(parser);
        return error_set(err, -ENOMEM, "not enough memory to read an XML answer");
    }
    walk->parser = parser;
    walk->visit = visit;
    walk->arg = arg;
    XML_SetUserData(parser, walk);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    if (document.len <= INT_MAX && document.len > 0 &&
        XML_Parse(parser, (const char *)document.data, (int)document.len, XML_TRUE) ==
            XML_STATUS_OK)
        r = 0;
    XML_ParserFree(parser);
    if (walk->result != 0)
        r = walk->result;
    return r == -EBADMSG ? error_set(err, r, "the answer is no XML that can be used") : r;
}
