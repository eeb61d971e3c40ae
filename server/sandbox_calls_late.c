// SPDX-License-Identifier: GPL-2.0-or-later
/* Makes the seccomp filter at each start; see sandbox_calls.h. */
#include <errno.h>
#include <unistd.h>

#include "sandbox.h"
#include "sandbox_calls.h"

int sandbox_limit_calls(const struct sandbox_config *config)
{
	scmp_filter_ctx filter = sandbox_calls_new(config->connects, getpid());
	int res;

	if (!filter)
		return -ENOMEM;
	res = seccomp_load(filter);
	seccomp_release(filter);
	return res;
}
