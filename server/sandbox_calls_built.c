// SPDX-License-Identifier: GPL-2.0-or-later
/* Installs a seccomp filter that was made when the server was built; see sandbox_calls.h. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"
#include "sandbox_filters.h"

/* @self_at: where the number of the process belongs; -1: nowhere. */
static int install(const struct sock_filter *filter, unsigned length, int self_at)
{
	g_autofree struct sock_filter *own = g_memdup2(filter, length * sizeof(*filter));
	const struct sock_fprog program = { length, own };

	if (self_at >= 0)
		own[self_at].k = getpid();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return -errno;
	return 0;
}

int sandbox_limit_calls(const struct sandbox_config *config)
{
	if (config->connects)
		return install(calls_connecting, G_N_ELEMENTS(calls_connecting),
			       calls_connecting_self);
	return install(calls, G_N_ELEMENTS(calls), calls_self);
}
