// SPDX-License-Identifier: GPL-2.0-or-later
/* GnuTLS, loaded when it is needed; see gnutls_late.h. */
#include "gnutls_late.h"

#include "late_library.h"

struct gnutls gnutls;

#define ENTRY(name) { "gnutls_" #name, &gnutls.name },

static const struct late_function functions[] = { GNUTLS_FUNCTIONS(ENTRY){} };

static struct late_library library = LATE_LIBRARY_INIT(LATE_GNUTLS, functions);

int gnutls_load(GError **err)
{
	return late_library_load(&library, err);
}
