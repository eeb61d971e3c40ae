// SPDX-License-Identifier: GPL-2.0-or-later
#include "close_fds.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
	int left = *(const int *)a, right = *(const int *)b;

	return (left > right) - (left < right);
}

static int close_between(int first, int last)
{
	return first <= last && close_range(first, last, 0) < 0 ? -errno : 0;
}

int close_fds_from(int first, int *kept, unsigned nr)
{
	int res = 0;

	qsort(kept, nr, sizeof(*kept), compare);
	for (unsigned i = 0; i < nr && !res; i++) {
		if (kept[i] < first)
			continue;
		res = close_between(first, kept[i] - 1);
		first = kept[i] + 1;
	}
	return res ?: close_between(first, INT_MAX);
}
