// SPDX-License-Identifier: GPL-2.0-or-later
/* Who may touch which sectors; see claims.h. */
#include "claims.h"

#include <glib.h>
#include <stdatomic.h>

#include "stamp.h"

void claims_init(struct claims *claims, uint64_t bytes)
{
	claims->taken = g_malloc0(bytes / SECTOR_SIZE);
}

void claims_destroy(struct claims *claims)
{
	g_free((void *)claims->taken);
}

bool try_claim(struct claims *claims, uint64_t guest_off, uint64_t bytes)
{
	for (uint64_t done = 0; done < bytes; done += SECTOR_SIZE) {
		_Atomic uint8_t *taken = &claims->taken[(guest_off + done) / SECTOR_SIZE];

		if (atomic_exchange_explicit(taken, 1, memory_order_acquire)) {
			unclaim(claims, guest_off, done);
			return false;
		}
	}
	return true;
}

void unclaim(struct claims *claims, uint64_t guest_off, uint64_t bytes)
{
	for (uint64_t done = 0; done < bytes; done += SECTOR_SIZE)
		atomic_store_explicit(&claims->taken[(guest_off + done) / SECTOR_SIZE], 0,
				      memory_order_release);
}
