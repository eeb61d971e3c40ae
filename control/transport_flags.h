/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Properties of a device that ubd and ublk keep as flags of it, each with its own bits; private to
 * the two drivers' control halves.
 */
#ifndef UBD_TRANSPORT_FLAGS_H
#define UBD_TRANSPORT_FLAGS_H

#include <stdint.h>

#include "transport.h"

/* A driver's bits, one each. */
struct transport_flags {
	uint64_t user_copy;
	uint64_t zero_copy; /* beside user_copy */
	uint64_t batches;
	uint64_t recovery;
	uint64_t reissue, fail_io; /* beside recovery */
};

/* enum transport_feature. @offered: what the driver supports. */
unsigned flags_to_features(const struct transport_flags *bits, uint64_t offered);

uint64_t flags_of_data(const struct transport_flags *bits, enum data_way data);
enum data_way flags_to_data(const struct transport_flags *bits, uint64_t flags);

uint64_t flags_of_recovery(const struct transport_flags *bits, enum recovery recovery);
enum recovery flags_to_recovery(const struct transport_flags *bits, uint64_t flags);

#endif
