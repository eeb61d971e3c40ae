// SPDX-License-Identifier: GPL-2.0-or-later
/* Libraries that are loaded when they are needed; see late_library.h. */
#include "late_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>

#include "error.h"

/* The pointers are set if there is no problem. */
static void *load(void *arg)
{
	struct late_library *library = arg;
	/* It stays loaded: it may have threads or handlers of exit(). */
	void *handle = dlopen(library->name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	bool complete = handle;

	for (const struct late_function *function = library->functions; complete && function->name;
	     function++) {
		void *address = dlsym(handle, function->name);

		*(void **)function->pointer = address;
		complete = address;
	}
	if (!complete)
		library->problem = g_strdup(dlerror());
	return NULL;
}

int late_library_load(struct late_library *library, GError **err)
{
	g_once(&library->once, load, library);
	return library->problem ? error_refuse(err, -ELIBACC, "%s", library->problem) : 0;
}
