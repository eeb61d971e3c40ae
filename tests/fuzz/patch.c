// SPDX-License-Identifier: GPL-2.0-or-later
/* A fuzz target that patches base images; see patch.h. */
#include "patch.h"

#include <endian.h>
#include <string.h>

#include "fuzz.h"
#include "qcow2/layout.h"
#include "session.h"

#define MAX_PATCHES 64

struct input {
	const uint8_t *data;
	size_t left;
};

/* Zeroes behind the end. */
static uint64_t take(struct input *input, unsigned bytes)
{
	uint64_t value = 0;

	for (; bytes; bytes--) {
		value <<= 8;
		if (!input->left)
			continue;
		value |= *input->data++;
		input->left--;
	}
	return value;
}

static const struct base_image *take_base(struct input *input)
{
	unsigned number = take(input, 1);
	const char *name;

	if (!fuzz_target.nr_bases)
		return base_image_at(number % nr_base_images);
	name = fuzz_target.bases[number % fuzz_target.nr_bases];
	for (unsigned i = 0;; i++) {
		if (g_str_equal(base_image_at(i)->name, name))
			return base_image_at(i);
	}
}

/* An entry of a table: a cluster near the beginning of the file, and flags. */
static uint64_t take_entry(struct input *input, unsigned cluster_bits)
{
	uint64_t entry = take(input, 1) << cluster_bits;
	uint8_t flags = take(input, 1);

	entry |= flags & 1 ? QCOW2_COPIED : 0;
	entry |= flags & 2 ? QCOW2_ZERO : 0;
	entry |= flags & 4 ? QCOW2_COMPRESSED : 0;
	entry |= flags & 8 ? 1ull << 9 : 0;
	entry |= flags & 16 ? 1ull << (62 - (cluster_bits - 8)) : 0;
	return entry;
}

static void patch(struct input *input, const struct base_image *base, struct memdisk *disk)
{
	unsigned how = take(input, 1);
	uint64_t where = take(input, 2);
	enum region_kind kind = fuzz_target.kinds[how % 16 % fuzz_target.nr_kinds];
	uint64_t bytes = base_image_region_bytes(base, kind);
	unsigned size = (const unsigned[]){ 8, 4, 1, 8 }[how / 16 % 4];
	uint64_t value =
		how / 16 % 4 == 3 ? take_entry(input, base->cluster_bits) : take(input, size);

	if (!bytes)
		return;
	value = htobe64(value << (64 - 8 * size));
	where = where * size % bytes;
	memdisk_write(disk, base_image_place(base, kind, where), size, &value);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	base_images_make();
	session_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	const struct base_image *base = take_base(&input);
	uint64_t seed = take(&input, 2);
	struct memdisk *disk = memdisk_new(base->disk);

	for (unsigned i = 0; input.left && i < MAX_PATCHES; i++)
		patch(&input, base, disk);
	session_run(disk, seed);
	memdisk_free(disk);
	return 0;
}
