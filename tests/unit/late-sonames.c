// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The libraries that programs load later are those whose headers they were built with. This test is
 * linked with them, so they are in memory already.
 */
#include <dlfcn.h>
#include <gnutls/gnutls.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif
#ifdef HAVE_LIBNBD
#include <libnbd.h>
#endif

#include "late_library.h"

static void check_loaded(const char *soname, void *function, const char *name)
{
	void *handle = dlopen(soname, RTLD_LAZY | RTLD_NOLOAD);

	g_assert_nonnull(handle);
	g_assert_true(dlsym(handle, name) == function);
	dlclose(handle);
}

static void test_gnutls(void)
{
	check_loaded(LATE_GNUTLS, gnutls_init, "gnutls_init");
}

#ifdef HAVE_ISAL
static void test_isal(void)
{
	check_loaded(LATE_ISAL, isal_deflate_stateless, "isal_deflate_stateless");
}
#endif

#ifdef HAVE_LIBNBD
static void test_libnbd(void)
{
	check_loaded(LATE_LIBNBD, nbd_create, "nbd_create");
}
#endif

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/late-sonames/gnutls", test_gnutls);
#ifdef HAVE_ISAL
	g_test_add_func("/late-sonames/isal", test_isal);
#endif
#ifdef HAVE_LIBNBD
	g_test_add_func("/late-sonames/libnbd", test_libnbd);
#endif
	return g_test_run();
}
