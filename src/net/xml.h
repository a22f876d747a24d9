/* xml.h - reads an XML answer (expat) as a list of what its elements hold. Bounded in depth and
 * in the length of a text; a document type, and so every entity of its own, is refused.
 *
 * Errors     -EBADMSG: not well-formed, or beyond a bound; what visit returns, if not 0. The
 *            sentence never quotes the text.
 * Threads    any.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

#define XML_DEPTH_MAX 16u
#define XML_TEXT_MAX 4096u /* bytes of one element's text, without those of elements in it */
#define XML_PATH_MAX 256u

/* At the end of each element. path: "/ListBucketResult/Contents/Key"; text: its own characters. */
typedef int xml_visit_fn(const char *path, const char *text, void *arg);

int xml_read(struct bytes document, xml_visit_fn *visit, void *arg, struct error *err);
