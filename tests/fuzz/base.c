// SPDX-License-Identifier: GPL-2.0-or-later
/* Sound images of all kinds; see base.h. */
#include "base.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2/layout.h"
#include "scratch.h"

/* How an image is made: options of `create`, then commands in which @ stands for its name. */
struct recipe {
	const char *name;
	const char *options;
	const char *size;
	bool compressed; /* converted from half a disk of data */
	const char *commands[8];
};

#define IO(commands) "qemu-io -f qcow2 " commands " @"

static const struct recipe recipes[] = {
	{ "small-clusters",
	  "cluster_size=512",
	  "256k",
	  false,
	  { IO("-c 'write -P 1 0 9k' -c 'write -P 2 100k 3k' -c 'write -z 40k 4k'") } },
	{ "version-2",
	  "compat=0.10,cluster_size=4k",
	  "1M",
	  false,
	  { IO("-c 'write -P 1 0 20k' -c 'write -P 2 500k 30k'") } },
	{ "default",
	  "cluster_size=64k",
	  "1M",
	  false,
	  { IO("-c 'write -P 1 0 70k' -c 'write -z -u 128k 64k'") } },
	{ "wide-refcounts",
	  "cluster_size=512,refcount_bits=64",
	  "128k",
	  false,
	  { IO("-c 'write -P 1 0 60k'") } },
	{ "narrow-refcounts",
	  "cluster_size=1k,refcount_bits=1",
	  "256k",
	  false,
	  { IO("-c 'write -P 1 0 60k' -c 'discard 8k 16k'") } },
	{ "lazy",
	  "cluster_size=4k,lazy_refcounts=on",
	  "1M",
	  false,
	  { IO("-c 'write -P 1 0 60k'") } },
	{ "zlib", "cluster_size=4k", "256k", true, { NULL } },
	{ "zstd", "cluster_size=4k,compression_type=zstd", "256k", true, { NULL } },
	{ "snapshots",
	  "cluster_size=512",
	  "128k",
	  false,
	  { IO("-c 'write -P 1 0 20k'"), "qemu-img snapshot -c one @", IO("-c 'write -P 2 5k 9k'"),
	    "qemu-img snapshot -c two @", IO("-c 'write -P 3 1k 2k'") } },
	{ "bitmaps",
	  "cluster_size=4k",
	  "1M",
	  false,
	  { "qemu-img bitmap --add -g 4k @ a", IO("-c 'write -P 1 0 90k'"),
	    "qemu-img bitmap --add -g 64k @ b", IO("-c 'write -P 2 600k 90k'"),
	    "qemu-img bitmap --disable @ a" } },
	{ "extended-l2",
	  "cluster_size=16k,extended_l2=on",
	  "1M",
	  false,
	  { IO("-c 'write -P 1 0 3k' -c 'write -P 2 100k 40k' -c 'write -z 104k 2k'") } },
};

static struct base_image images[G_N_ELEMENTS(recipes)];
unsigned nr_base_images = G_N_ELEMENTS(recipes);

/* ---- making them ---- */

static void shell(const char *command, const char *file)
{
	g_auto(GStrv) parts = g_strsplit(command, "@", -1);
	g_autofree char *line = g_strjoinv(file, parts);

	run_or_die("sh", "-c", line, NULL);
}

static void make_compressed(const struct recipe *recipe, const char *folder, const char *file)
{
	g_autofree char *raw = scratch_file(folder, "raw");
	g_autofree char *fill = g_strdup_printf("qemu-img create -q -f raw @ %s && qemu-io -f raw "
						"-c 'write -P 7 0 50k' -c 'write -P 9 90k 20k' @",
						recipe->size);

	shell(fill, raw);
	run_or_die("qemu-img", "convert", "-q", "-c", "-O", "qcow2", "-o", recipe->options, raw,
		   file, NULL);
}

static void make(const struct recipe *recipe, const char *folder, struct base_image *image)
{
	g_autofree char *file = scratch_file(folder, recipe->name);

	if (recipe->compressed)
		make_compressed(recipe, folder, file);
	else
		run_or_die("qemu-img", "create", "-q", "-f", "qcow2", "-o", recipe->options, file,
			   recipe->size, NULL);
	for (unsigned i = 0; recipe->commands[i]; i++)
		shell(recipe->commands[i], file);
	image->name = recipe->name;
	image->disk = memdisk_new(NULL);
	if (memdisk_load(image->disk, file) < 0) {
		fprintf(stderr, "%s: cannot be read\n", file);
		exit(1);
	}
}

/* ---- where what lies ---- */

static void add_region(struct base_image *image, enum region_kind kind, uint64_t off,
		       uint64_t bytes)
{
	struct region region = { off, bytes };

	if (bytes)
		g_array_append_val(image->regions[kind], region);
}

static uint64_t load64(const struct base_image *image, uint64_t off)
{
	uint64_t value;

	memdisk_read(image->disk, off, sizeof(value), &value);
	return be64toh(value);
}

/* The L2 tables of an L1 table, and the compressed clusters that they name. */
static void find_l2(struct base_image *image, uint64_t l1_off, uint32_t l1_size, bool extended)
{
	uint64_t cluster = 1ull << image->cluster_bits;

	for (uint32_t i = 0; i < l1_size; i++) {
		uint64_t l2_off = load64(image, l1_off + i * 8ull) & QCOW2_OFFSET_MASK;

		if (!l2_off)
			continue;
		add_region(image, REGION_L2, l2_off, cluster);
		for (uint64_t j = 0; j < cluster && !extended; j += 8) {
			uint64_t entry = load64(image, l2_off + j);
			unsigned x = 62 - (image->cluster_bits - 8);

			if (entry & QCOW2_COMPRESSED)
				add_region(image, REGION_COMPRESSED, entry & ((1ull << x) - 1), 64);
		}
	}
}

static void find_refcounts(struct base_image *image, const struct qcow2_disk_header *header)
{
	uint64_t off = be64toh(header->refcount_table_offset);
	uint64_t bytes = (uint64_t)be32toh(header->refcount_table_clusters) << image->cluster_bits;

	add_region(image, REGION_REFTABLE, off, bytes);
	for (uint64_t i = 0; i < bytes; i += 8) {
		uint64_t block = load64(image, off + i);

		if (block)
			add_region(image, REGION_REFBLOCK, block, 1ull << image->cluster_bits);
	}
}

static void find_snapshots(struct base_image *image, const struct qcow2_disk_header *header)
{
	uint64_t start = be64toh(header->snapshots_offset), off = start;

	for (uint32_t i = 0; i < be32toh(header->nb_snapshots); i++) {
		struct qcow2_disk_snapshot entry;
		uint64_t l1_off;

		memdisk_read(image->disk, off, sizeof(entry), &entry);
		l1_off = be64toh(entry.l1_table_offset);
		add_region(image, REGION_SNAPSHOTS, l1_off, be32toh(entry.l1_size) * 8ull);
		find_l2(image, l1_off, be32toh(entry.l1_size), false);
		off += sizeof(entry) + be16toh(entry.id_size) + be16toh(entry.name_size) +
		       be32toh(entry.extra_data_size);
		off = (off + 7) & ~7ull;
	}
	add_region(image, REGION_SNAPSHOTS, start, off - start);
}

static void find_bitmaps(struct base_image *image, const struct qcow2_disk_header *header)
{
	uint64_t off = be32toh(header->header_length);
	struct qcow2_disk_extension extension;
	struct qcow2_disk_bitmaps bitmaps = { 0 };

	do {
		memdisk_read(image->disk, off, sizeof(extension), &extension);
		off += sizeof(extension);
		if (be32toh(extension.type) == QCOW2_EXT_BITMAPS)
			memdisk_read(image->disk, off, sizeof(bitmaps), &bitmaps);
		off += (be32toh(extension.length) + 7) & ~7u;
	} while (be32toh(extension.type) != QCOW2_EXT_END);
	off = be64toh(bitmaps.bitmap_directory_offset);
	add_region(image, REGION_BITMAPS, off, be64toh(bitmaps.bitmap_directory_size));
	for (uint32_t i = 0; i < be32toh(bitmaps.nb_bitmaps); i++) {
		struct qcow2_disk_bitmap entry;

		memdisk_read(image->disk, off, sizeof(entry), &entry);
		add_region(image, REGION_BITMAPS, be64toh(entry.bitmap_table_offset),
			   be32toh(entry.bitmap_table_size) * 8ull);
		off += sizeof(entry) + be32toh(entry.extra_data_size) + be16toh(entry.name_size);
		off = (off + 7) & ~7ull;
	}
}

static void find_regions(struct base_image *image)
{
	struct qcow2_disk_header header;
	bool extended;

	memdisk_read(image->disk, 0, sizeof(header), &header);
	for (unsigned i = 0; i < NR_REGION_KINDS; i++)
		image->regions[i] = g_array_new(false, false, sizeof(struct region));
	image->cluster_bits = be32toh(header.cluster_bits);
	extended = be32toh(header.version) > 2 &&
		   be64toh(header.incompatible_features) & QCOW2_INCOMPAT_EXTENDED_L2;
	add_region(image, REGION_HEADER, 0, 512);
	add_region(image, REGION_L1, be64toh(header.l1_table_offset),
		   be32toh(header.l1_size) * 8ull);
	find_l2(image, be64toh(header.l1_table_offset), be32toh(header.l1_size), extended);
	find_refcounts(image, &header);
	find_snapshots(image, &header);
	if (be32toh(header.version) > 2)
		find_bitmaps(image, &header);
}

void base_images_make(void)
{
	g_autofree char *folder = scratch_new();

	for (unsigned i = 0; i < G_N_ELEMENTS(recipes); i++) {
		make(&recipes[i], folder, &images[i]);
		find_regions(&images[i]);
	}
	scratch_remove(folder);
}

/* ---- using them ---- */

const struct base_image *base_image_at(unsigned index)
{
	return &images[index];
}

uint64_t base_image_region_bytes(const struct base_image *base, enum region_kind kind)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < base->regions[kind]->len; i++)
		bytes += g_array_index(base->regions[kind], struct region, i).bytes;
	return bytes;
}

uint64_t base_image_place(const struct base_image *base, enum region_kind kind, uint64_t index)
{
	unsigned i = 0;

	while (index >= g_array_index(base->regions[kind], struct region, i).bytes)
		index -= g_array_index(base->regions[kind], struct region, i++).bytes;
	return g_array_index(base->regions[kind], struct region, i).off + index;
}
