// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Images to start a test with; see prepare.h.
 *
 * An overlay with data is made by converting a raw file, where holes become unallocated clusters,
 * and adding the backing file afterwards. So whether the overlay has data is decided for pieces of
 * GRANULE; only clusters that are a multiple of it are larger.
 */
#include "prepare.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "memdisk.h"
#include "scratch.h"
#include "stamp.h"

#define GRANULE (64u << 10)

static unsigned refcount_bits_of(const struct image_spec *spec)
{
	return spec->refcount_bits && spec->compat != 2 ? spec->refcount_bits : 16;
}

static const char *compression_of(const struct image_spec *spec)
{
	return spec->compression ? spec->compression : "zlib";
}

static void fill(struct memdisk *disk, uint32_t *initial, uint64_t off, uint64_t bytes,
		 uint32_t version)
{
	g_autofree uint8_t *buf = g_malloc(bytes);

	stamp_fill(buf, off, bytes, version);
	memdisk_write(disk, off, bytes, buf);
	for (uint64_t i = off / SECTOR_SIZE; i < (off + bytes) / SECTOR_SIZE; i++)
		initial[i] = version;
}

static void save_or_die(const struct memdisk *disk, const char *filename)
{
	if (memdisk_save(disk, filename) < 0) {
		fprintf(stderr, "%s: cannot be written\n", filename);
		exit(1);
	}
}

/* Runs of 512 to 32k, every other one on average with data. */
static void make_backing(const char *filename, const struct image_spec *spec, struct rng *rng,
			 uint32_t *initial)
{
	uint64_t size = spec->backing == BACKING_SHORT ? spec->size / 2 + SECTOR_SIZE : spec->size;
	struct memdisk *disk = memdisk_new(NULL);

	memdisk_set_size(disk, size);
	for (uint64_t off = 0; off < size;) {
		uint64_t bytes = rng_between(rng, 1, 64) * SECTOR_SIZE;

		bytes = MIN(bytes, size - off);
		if (rng_percent(rng, 50))
			fill(disk, initial, off, bytes, VERSION_BASE);
		off += bytes;
	}
	save_or_die(disk, filename);
	memdisk_free(disk);
}

static char *prepare_backing(const char *folder, const struct image_spec *spec, struct rng *rng,
			     uint32_t *initial)
{
	g_autofree char *raw = scratch_file(folder, "base.raw");
	char *qcow2;

	make_backing(raw, spec, rng, initial);
	if (spec->backing != BACKING_QCOW2)
		return g_steal_pointer(&raw);
	qcow2 = scratch_file(folder, "base.qcow2");
	run_or_die("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, qcow2, NULL);
	return qcow2;
}

/* A raw file of what the image itself will hold. */
static void make_filling(const char *filename, const struct image_spec *spec, struct rng *rng,
			 uint32_t *initial)
{
	uint64_t granule = MAX(GRANULE, spec->cluster_size);
	struct memdisk *disk = memdisk_new(NULL);

	memdisk_set_size(disk, spec->size);
	for (uint64_t off = 0; off < spec->size; off += granule) {
		if (rng_percent(rng, spec->percent_filled))
			fill(disk, initial, off, MIN(granule, spec->size - off), VERSION_OLD);
	}
	save_or_die(disk, filename);
	memdisk_free(disk);
}

static char *creation_options(const struct image_spec *spec)
{
	if (spec->compat == 2)
		return g_strdup_printf("compat=0.10,cluster_size=%u", spec->cluster_size);
	return g_strdup_printf("compat=1.1,cluster_size=%u,refcount_bits=%u,compression_type=%s,"
			       "lazy_refcounts=%s",
			       spec->cluster_size, refcount_bits_of(spec), compression_of(spec),
			       spec->lazy_refcounts ? "on" : "off");
}

/* The format's other options. */
static char *feature_options(const char *folder, const struct image_spec *spec)
{
	g_autofree char *data_file = scratch_file(folder, "image.data");
	g_autofree char *data = g_strdup_printf(",data_file=%s,data_file_raw=%s", data_file,
						spec->data_file_raw ? "on" : "off");

	return g_strconcat(spec->extended_l2 ? ",extended_l2=on" : "", spec->data_file ? data : "",
			   NULL);
}

static void convert_filling(const char *folder, const char *filling, const struct image_spec *spec,
			    const char *image)
{
	g_autofree char *basic = creation_options(spec);
	g_autofree char *features = feature_options(folder, spec);
	g_autofree char *options = g_strconcat(basic, features, NULL);

	if (spec->compressed)
		run_or_die("qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "-o",
			   options, filling, image, NULL);
	else
		run_or_die("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "-o", options,
			   filling, image, NULL);
}

static char *prepare_qcow2(const char *folder, const struct image_spec *spec, struct rng *rng,
			   uint32_t *initial)
{
	char *image = scratch_file(folder, "image.qcow2");
	g_autofree char *filling = scratch_file(folder, "filling.raw");
	g_autofree char *backing = NULL;

	if (spec->backing != BACKING_NONE)
		backing = prepare_backing(folder, spec, rng, initial);
	make_filling(filling, spec, rng, initial);
	convert_filling(folder, filling, spec, image);
	if (backing)
		run_or_die("qemu-img", "rebase", "-q", "-u", "-b", backing, "-F",
			   spec->backing == BACKING_QCOW2 ? "qcow2" : "raw", image, NULL);
	return image;
}

char *prepare_image(const char *folder, const struct image_spec *spec, struct rng *rng,
		    uint32_t **ret_initial)
{
	uint32_t *initial = g_new0(uint32_t, spec->size / SECTOR_SIZE);
	char *image;

	if (g_str_equal(spec->format, "raw")) {
		image = scratch_file(folder, "image.raw");
		make_filling(image, spec, rng, initial);
	} else {
		image = prepare_qcow2(folder, spec, rng, initial);
	}
	*ret_initial = initial;
	return image;
}

char *image_spec_describe(const struct image_spec *spec)
{
	static const char *const backings[] = {
		[BACKING_NONE] = "",
		[BACKING_RAW] = ", raw backing file",
		[BACKING_QCOW2] = ", qcow2 backing file",
		[BACKING_SHORT] = ", short backing file",
	};
	unsigned mib = spec->size >> 20;

	if (g_str_equal(spec->format, "raw"))
		return g_strdup_printf("raw of %u MiB", mib);
	return g_strdup_printf("qcow2 v%u of %u MiB, %u-byte clusters%s%s, %u-bit %srefcounts%s, "
			       "%u%% filled%s%s",
			       spec->compat == 2 ? 2 : 3, mib, spec->cluster_size,
			       spec->extended_l2 ? " with subclusters" : "",
			       spec->data_file_raw ? ", raw data file"
			       : spec->data_file   ? ", data file"
						   : "",
			       refcount_bits_of(spec), spec->lazy_refcounts ? "lazy " : "",
			       backings[spec->backing], spec->percent_filled,
			       spec->compressed ? " and compressed by " : "",
			       spec->compressed ? compression_of(spec) : "");
}
