// SPDX-License-Identifier: GPL-2.0-or-later
/* Properties that are flags of a device; see transport_flags.h. */
#include "transport_flags.h"

unsigned flags_to_features(const struct transport_flags *bits, uint64_t offered)
{
	return (offered & bits->user_copy ? TRANSPORT_USER_COPY : 0) |
	       (offered & bits->zero_copy ? TRANSPORT_ZERO_COPY : 0) |
	       (offered & bits->batches ? TRANSPORT_BATCHES : 0);
}

uint64_t flags_of_data(const struct transport_flags *bits, enum data_way data)
{
	switch (data) {
	case DATA_USER_COPY:
		return bits->user_copy;
	case DATA_ZERO_COPY:
		/* What cannot be registered is copied. */
		return bits->user_copy | bits->zero_copy;
	default:
		return 0;
	}
}

enum data_way flags_to_data(const struct transport_flags *bits, uint64_t flags)
{
	if (flags & bits->zero_copy)
		return DATA_ZERO_COPY;
	return flags & bits->user_copy ? DATA_USER_COPY : DATA_COPY;
}

uint64_t flags_of_recovery(const struct transport_flags *bits, enum recovery recovery)
{
	switch (recovery) {
	case RECOVERY_FAIL:
		return bits->recovery;
	case RECOVERY_REISSUE:
		return bits->recovery | bits->reissue;
	case RECOVERY_FAIL_IO:
		return bits->recovery | bits->fail_io;
	default:
		return 0;
	}
}

enum recovery flags_to_recovery(const struct transport_flags *bits, uint64_t flags)
{
	if (flags & bits->reissue)
		return RECOVERY_REISSUE;
	if (flags & bits->fail_io)
		return RECOVERY_FAIL_IO;
	return flags & bits->recovery ? RECOVERY_FAIL : RECOVERY_NONE;
}
