// SPDX-License-Identifier: GPL-2.0-or-later
/* Privileges are dropped, or the server finds out that they are not. */
#include <errno.h>
#include <glib.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process.h"

/* How a kernel, or a filter in front of it, may answer. */
static struct {
	bool refuses_capset, refuses_capget, refuses_no_new_privs;
	bool lies_of_no_new_privs;
	uint32_t left; /* the second half of what capget() returns */
} fake;

long __wrap_syscall(long nr, ...);
int __wrap_prctl(int option, ...);

static int refuse(bool refuses)
{
	errno = EPERM;
	return refuses ? -1 : 0;
}

long __wrap_syscall(long nr, ...)
{
	struct __user_cap_data_struct *data;
	va_list args;

	va_start(args, nr);
	va_arg(args, void *);
	data = va_arg(args, struct __user_cap_data_struct *);
	va_end(args);
	if (nr == SYS_capset)
		return refuse(fake.refuses_capset);
	g_assert_cmpint(nr, ==, SYS_capget);
	memset(data, 0, 2 * sizeof(*data));
	data[1].permitted = fake.left;
	return refuse(fake.refuses_capget);
}

int __wrap_prctl(int option, ...)
{
	if (option == PR_GET_NO_NEW_PRIVS)
		return !fake.lies_of_no_new_privs;
	return refuse(fake.refuses_no_new_privs);
}

static void test_dropped(void)
{
	memset(&fake, 0, sizeof(fake));
	g_assert_cmpint(process_drop_privileges(), ==, 0);
}

static void test_refused(void)
{
	bool *const all[] = { &fake.refuses_capset, &fake.refuses_capget,
			      &fake.refuses_no_new_privs, &fake.lies_of_no_new_privs };

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
		memset(&fake, 0, sizeof(fake));
		*all[i] = true;
		g_assert_cmpint(process_drop_privileges(), ==, -EPERM);
	}
}

static void test_not_gone(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.left = 1;
	g_assert_cmpint(process_drop_privileges(), ==, -EPERM);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/privileges/dropped", test_dropped);
	g_test_add_func("/privileges/refused", test_refused);
	g_test_add_func("/privileges/not-gone", test_not_gone);
	return g_test_run();
}
