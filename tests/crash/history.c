// SPDX-License-Identifier: GPL-2.0-or-later
/* What a guest may find after a power cut; see history.h. */
#include "history.h"

#include <string.h>

/* A request that changed a sector; those of a sector are chained, newest first. */
struct history_entry {
	uint32_t op;
	uint32_t older; /* 1 + its index */
};

/* The moment at which a sector is looked at. */
struct view {
	uint64_t now;	  /* requests that started later do not count */
	uint64_t settled; /* writes that ended before it are settled */
	bool live;	  /* not a cut: FUA makes no difference */
};

static void op_clear(void *op)
{
	g_free(((struct guest_op *)op)->versions);
}

void history_init(struct history *history, uint64_t bytes, uint64_t max_bytes,
		  const uint32_t *initial)
{
	history->sectors = max_bytes / SECTOR_SIZE;
	history->size = history->initial_size = bytes;
	history->initial = g_new0(uint32_t, history->sectors);
	memcpy(history->initial, initial, bytes / SECTOR_SIZE * sizeof(*initial));
	thread_lock_init(&history->lock);
	history->ops = g_array_new(false, false, sizeof(struct guest_op));
	g_array_set_clear_func(history->ops, op_clear);
	history->entries = g_array_new(false, false, sizeof(struct history_entry));
	history->newest = g_new0(uint32_t, history->sectors);
}

void history_destroy(struct history *history)
{
	g_array_free(history->ops, true);
	g_array_free(history->entries, true);
	g_free(history->newest);
	g_free(history->initial);
	thread_lock_destroy(&history->lock);
}

static struct guest_op *op_at(struct history *history, uint32_t index)
{
	return &g_array_index(history->ops, struct guest_op, index);
}

static struct history_entry *entry_at(struct history *history, uint32_t index)
{
	return &g_array_index(history->entries, struct history_entry, index);
}

/* Call it with the lock held. */
static uint32_t add_op(struct history *history, const struct guest_op *op)
{
	uint32_t index = history->ops->len;

	g_array_append_vals(history->ops, op, 1);
	for (uint64_t i = op->off / SECTOR_SIZE; i < (op->off + op->bytes) / SECTOR_SIZE; i++) {
		struct history_entry entry = { index, history->newest[i] };

		g_array_append_val(history->entries, entry);
		history->newest[i] = history->entries->len;
	}
	return index + VERSION_FIRST;
}

uint32_t history_begin(struct history *history, enum guest_op_kind kind, uint64_t off,
		       uint64_t bytes, bool fua, uint64_t now)
{
	struct guest_op op = { .kind = kind,
			       .fua = fua,
			       .off = off,
			       .bytes = bytes,
			       .start = now,
			       .end = GUEST_NEVER };
	uint32_t version;

	thread_lock(&history->lock);
	version = add_op(history, &op);
	thread_unlock(&history->lock);
	return version;
}

static enum guest_op_kind guest_kind(enum request_kind kind)
{
	switch (kind) {
	case REQUEST_WRITE:
		return GUEST_WRITE;
	case REQUEST_ZERO:
		return GUEST_ZERO;
	case REQUEST_DISCARD:
		return GUEST_DISCARD;
	default:
		return GUEST_FLUSH;
	}
}

uint32_t history_begin_request(struct history *history, const struct request *request, bool settles,
			       uint64_t now, uint8_t *buf)
{
	bool fua = settles || request->flags & IMAGE_REQ_FUA;
	uint32_t version = history_begin(history, guest_kind(request->kind), request->off,
					 request->bytes, fua, now);

	if (request->kind == REQUEST_WRITE)
		stamp_fill(buf, request->off, request->bytes, version);
	return version;
}

uint32_t history_begin_become(struct history *history, const uint32_t *versions, uint64_t size,
			      uint64_t now)
{
	struct guest_op op = {
		.kind = GUEST_BECOME, .start = now, .end = GUEST_NEVER, .size = size
	};
	uint32_t version;

	thread_lock(&history->lock);
	if (versions) {
		op.bytes = history->sectors * SECTOR_SIZE;
		op.versions = g_new0(uint32_t, history->sectors);
		memcpy(op.versions, versions, size / SECTOR_SIZE * sizeof(*versions));
	} else {
		op.off = MIN(size, history->size);
		op.bytes = MAX(size, history->size) - op.off;
	}
	version = add_op(history, &op);
	thread_unlock(&history->lock);
	return version;
}

void history_end(struct history *history, uint32_t version, uint64_t now, bool failed)
{
	struct guest_op *op;

	thread_lock(&history->lock);
	op = op_at(history, version - VERSION_FIRST);
	op->end = now;
	op->failed = failed;
	thread_unlock(&history->lock);
}

void history_end_become(struct history *history, uint32_t version, uint64_t now, bool failed,
			uint64_t size)
{
	history_end(history, version, now, failed);
	thread_lock(&history->lock);
	history->size = size;
	thread_unlock(&history->lock);
}

uint64_t history_settled_at(struct history *history, uint64_t cut)
{
	uint64_t settled = 0;

	thread_lock(&history->lock);
	for (unsigned i = 0; i < history->ops->len; i++) {
		const struct guest_op *op = op_at(history, i);

		if (op->kind == GUEST_FLUSH && !op->failed && op->end <= cut)
			settled = MAX(settled, op->start);
	}
	thread_unlock(&history->lock);
	return settled;
}

static bool is_settled(const struct guest_op *op, const struct view *view)
{
	if (op->kind == GUEST_DISCARD || op->failed)
		return false;
	return op->end < view->settled || (op->fua && !view->live && op->end <= view->now);
}

/* The latest start of a settled write of the sector; what ended before it is gone. 0: none. */
static uint64_t gone_before(struct history *history, uint64_t sector, const struct view *view)
{
	uint64_t latest = 0;

	for (uint32_t i = history->newest[sector]; i; i = entry_at(history, i - 1)->older) {
		const struct guest_op *op = op_at(history, entry_at(history, i - 1)->op);

		if (is_settled(op, view))
			latest = MAX(latest, op->start);
	}
	return latest;
}

static uint32_t version_left_by(const struct guest_op *op, uint32_t index, uint64_t sector)
{
	if (op->kind == GUEST_BECOME && op->versions)
		return op->versions[sector];
	return op->kind == GUEST_WRITE ? index + VERSION_FIRST : VERSION_ZERO;
}

static bool is_allowed(struct history *history, uint64_t sector, uint32_t version,
		       const struct view *view)
{
	uint64_t limit = gone_before(history, sector, view);

	if (!limit && version == history->initial[sector])
		return true;
	for (uint32_t i = history->newest[sector]; i; i = entry_at(history, i - 1)->older) {
		uint32_t index = entry_at(history, i - 1)->op;
		const struct guest_op *op = op_at(history, index);

		if (op->start <= view->now && op->end >= limit &&
		    version_left_by(op, index, sector) == version)
			return true;
	}
	return false;
}

static char *explain(struct history *history, uint64_t off, const struct view *view,
		     const void *buf)
{
	uint64_t sector = off / SECTOR_SIZE;
	g_autofree char *found = stamp_describe(buf);
	GString *text = g_string_new(NULL);

	g_string_printf(text,
			"sector %u (%#" G_GINT64_MODIFIER "x) holds %s.\n  It began as "
			"version %u; settled is what ended before %" G_GUINT64_FORMAT ":",
			(unsigned)sector, off, found, history->initial[sector], view->settled);
	for (uint32_t i = history->newest[sector]; i; i = entry_at(history, i - 1)->older) {
		uint32_t index = entry_at(history, i - 1)->op;
		g_autofree char *line =
			guest_op_describe(index + VERSION_FIRST, op_at(history, index));

		if (op_at(history, index)->start <= view->now)
			g_string_append_printf(text, "\n  %s", line);
	}
	return g_string_free(text, false);
}

static char *check(struct history *history, const struct view *view, uint64_t off, uint64_t bytes,
		   const void *buf)
{
	char *wrong = NULL;

	thread_lock(&history->lock);
	for (uint64_t done = 0; !wrong && done < bytes; done += SECTOR_SIZE) {
		const char *sector = (const char *)buf + done;
		uint32_t version;

		if (!stamp_parse(sector, off + done, &version) ||
		    !is_allowed(history, (off + done) / SECTOR_SIZE, version, view))
			wrong = explain(history, off + done, view, sector);
	}
	thread_unlock(&history->lock);
	return wrong;
}

char *history_check_cut(struct history *history, uint64_t cut, uint64_t settled, uint64_t off,
			uint64_t bytes, const void *buf)
{
	struct view view = { .now = cut, .settled = settled };

	return check(history, &view, off, bytes, buf);
}

char *history_check_read(struct history *history, uint64_t start, uint64_t end, uint64_t off,
			 uint64_t bytes, const void *buf)
{
	struct view view = { .now = end, .settled = start, .live = true };

	return check(history, &view, off, bytes, buf);
}

bool history_size_is_allowed(struct history *history, uint64_t cut, uint64_t settled, uint64_t size)
{
	struct view view = { .now = cut, .settled = settled };
	uint64_t limit = 0;
	bool allowed;

	thread_lock(&history->lock);
	for (unsigned i = 0; i < history->ops->len; i++) {
		const struct guest_op *op = op_at(history, i);

		if (op->kind == GUEST_BECOME && is_settled(op, &view))
			limit = MAX(limit, op->start);
	}
	allowed = !limit && size == history->initial_size;
	for (unsigned i = 0; i < history->ops->len; i++) {
		const struct guest_op *op = op_at(history, i);

		allowed |= op->kind == GUEST_BECOME && op->start <= cut && op->end >= limit &&
			   op->size == size;
	}
	thread_unlock(&history->lock);
	return allowed;
}

char *guest_op_describe(uint32_t version, const struct guest_op *op)
{
	static const char *const names[] = {
		[GUEST_WRITE] = "write", [GUEST_ZERO] = "write zeroes", [GUEST_DISCARD] = "discard",
		[GUEST_FLUSH] = "flush", [GUEST_BECOME] = "become",
	};
	g_autofree char *until = op->end == GUEST_NEVER
					 ? g_strdup("...")
					 : g_strdup_printf("%" G_GUINT64_FORMAT, op->end);

	return g_strdup_printf("%6" G_GUINT64_FORMAT " to %6s  %-12s %#" G_GINT64_MODIFIER
			       "x + %#" G_GINT64_MODIFIER "x%s%s, version %u",
			       op->start, until, names[op->kind], op->off, op->bytes,
			       op->fua ? " FUA" : "", op->failed ? " failed" : "", version);
}
