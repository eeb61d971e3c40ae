// SPDX-License-Identifier: GPL-2.0-or-later
/* Which requests are held, and for how long; see hold.h. */
#include "hold.h"

#include <errno.h>

#include "image.h"

#define FIRST_PAUSE_NS (50 * 1000 * 1000ull)
#define LAST_PAUSE_NS  (1000 * 1000 * 1000ull)

/* Not EFBIG: a larger file is not possible here, and more space would not change that. */
static bool is_for_want_of_space(int error)
{
	return error == ENOSPC || error == EDQUOT;
}

/* What storage reports that is away for a while. EINVAL, EPERM and the like would come again. */
static bool is_of_storage(int error)
{
	static const int errors[] = { EIO,	ETIMEDOUT, ENOLINK, EREMOTEIO,	 EHOSTDOWN,
				      ENOTCONN, ENODEV,	   ENXIO,   EHOSTUNREACH };

	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++)
		if (error == errors[i])
			return true;
	return false;
}

bool hold_wants(const struct hold_policy *policy, enum request_op op, int error, unsigned troubles)
{
	/* The next flush would not find the data either, and truncated data does not come back. */
	if (troubles & (IMAGE_TROUBLE_LOST | IMAGE_TROUBLE_CUT))
		return false;
	/* Nobody depends on a discard. */
	if (op == REQUEST_DISCARD)
		return false;
	return (policy->on_enospc && is_for_want_of_space(error)) ||
	       (policy->on_error && is_of_storage(error));
}

gint64 hold_driver_limit_us(unsigned driver_s)
{
	/* The last try takes time, too. */
	return driver_s ? (gint64)driver_s * G_USEC_PER_SEC / 4 * 3 : G_MAXINT64;
}

gint64 hold_limit_us(const struct hold_policy *policy)
{
	return policy->timeout_s ? (gint64)policy->timeout_s * G_USEC_PER_SEC : G_MAXINT64;
}

uint64_t hold_pause_ns(unsigned tries)
{
	return tries > 5 ? LAST_PAUSE_NS : MIN(FIRST_PAUSE_NS << tries, LAST_PAUSE_NS);
}
