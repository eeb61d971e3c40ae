/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared libraries that are loaded when they are first needed: those that cost every start of a
 * program much, and that few of its runs use.
 *
 * The library's own header declares the functions. Callers reach them through a struct of pointers
 * with their names, as in
 *
 *	#define FUNCTIONS(X) X(create) X(close)
 *	#define POINTER(name) __typeof__(foo_##name) *name;
 *	static struct { FUNCTIONS(POINTER) } foo;
 *
 * and foo.create() is what would be foo_create().
 */
#ifndef UBD_LATE_LIBRARY_H
#define UBD_LATE_LIBRARY_H

#include <glib.h>

/* All of them: a package must depend on them, or recommend them, by hand. */
#define LATE_LIBNBD "libnbd.so.0"
#define LATE_GNUTLS "libgnutls.so.30"
#define LATE_ISAL   "libisal.so.2"

struct late_function {
	const char *name;
	void *pointer; /* the address of the pointer to it */
};

struct late_library {
	const char *name;		       /* the soname: that of the ABI that the header has */
	const struct late_function *functions; /* ends with a NULL name */
	GOnce once;
	char *problem; /* NULL: the pointers are set */
};

#define LATE_LIBRARY_INIT(soname, functions)                                                       \
	{                                                                                          \
		soname, functions, G_ONCE_INIT, NULL                                               \
	}

/*
 * Sets the pointers, unless it has done so before. 0, or -ELIBACC with @err set: then it will not
 * succeed later, either. Any thread; reads files.
 */
int late_library_load(struct late_library *library, GError **err);

#endif
