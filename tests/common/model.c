// SPDX-License-Identifier: GPL-2.0-or-later
/* What a guest disk must hold; see model.h. */
#include "model.h"

#include <glib.h>
#include <string.h>

#include "stamp.h"

void model_init(struct model *model, uint64_t bytes, uint64_t max_bytes, const uint32_t *initial)
{
	model->sectors = max_bytes / SECTOR_SIZE;
	model->version = g_new0(uint32_t, model->sectors);
	memcpy(model->version, initial, bytes / SECTOR_SIZE * sizeof(*initial));
	model->maybe_zero = g_new0(uint8_t, model->sectors);
}

void model_destroy(struct model *model)
{
	g_free(model->version);
	g_free(model->maybe_zero);
}

void model_written(struct model *model, uint64_t guest_off, uint64_t bytes, uint32_t version)
{
	for (uint64_t i = guest_off / SECTOR_SIZE; i < (guest_off + bytes) / SECTOR_SIZE; i++) {
		model->version[i] = version;
		model->maybe_zero[i] = false;
	}
}

void model_set(struct model *model, uint64_t first, uint64_t end, const uint32_t *versions)
{
	for (uint64_t i = first; i < end; i++) {
		model->version[i] = versions ? versions[i] : VERSION_ZERO;
		model->maybe_zero[i] = false;
	}
}

void model_discarded(struct model *model, uint64_t guest_off, uint64_t bytes)
{
	memset(model->maybe_zero + guest_off / SECTOR_SIZE, true, bytes / SECTOR_SIZE);
}

static bool sector_is_right(struct model *model, uint64_t guest_off, const void *buf)
{
	uint64_t i = guest_off / SECTOR_SIZE;
	uint32_t found;

	if (!stamp_parse(buf, guest_off, &found))
		return false;
	if (found != model->version[i] && !(model->maybe_zero[i] && found == VERSION_ZERO))
		return false;
	model->version[i] = found;
	model->maybe_zero[i] = false;
	return true;
}

char *model_check(struct model *model, uint64_t guest_off, uint64_t bytes, const void *buf)
{
	for (uint64_t done = 0; done < bytes; done += SECTOR_SIZE) {
		uint64_t off = guest_off + done;
		const char *sector = (const char *)buf + done;
		g_autofree char *found = NULL;

		if (sector_is_right(model, off, sector))
			continue;
		found = stamp_describe(sector);
		return g_strdup_printf(
			"sector %u (%#" G_GINT64_MODIFIER "x) must be version %u%s, but holds %s",
			(unsigned)(off / SECTOR_SIZE), off, model->version[off / SECTOR_SIZE],
			model->maybe_zero[off / SECTOR_SIZE] ? " or zeroes" : "", found);
	}
	return NULL;
}
