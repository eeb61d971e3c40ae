// SPDX-License-Identifier: GPL-2.0-or-later
/* Latencies in buckets; see latency.h. */
#include "latency.h"

double latency_percentile_us(const uint64_t counts[LATENCY_BUCKETS], double part)
{
	uint64_t total = 0, below = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		total += counts[i];
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		double wanted = part * total - below, from = latency_from_us(i);

		if (counts[i] && wanted <= counts[i])
			return from + (latency_from_us(i + 1) - from) * (wanted / counts[i]);
		below += counts[i];
	}
	return 0;
}
