// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Formats of other programs: see foreign.h. Their magic numbers are in probe.c; this file knows
 * where their headers have the size of the disk.
 *
 * The names are those of qemu-img.
 */
#include "foreign.h"

#include <errno.h>
#include <string.h>

#include "align.h"

/* What to advise depends on it. */
enum kind {
	KIND_DISK, /* QEMU can convert it */
	KIND_ENCRYPTED,
	KIND_COMPRESSED,
	KIND_ARCHIVE,
};

struct foreign {
	struct format_ops ops;
	enum kind kind;
	const char *what;
	const char *unpack; /* the command that unpacks it */
	/* The size of the disk according to the header in @file; NULL: the size of the file. */
	int (*co_disk_size)(struct image *file, uint64_t *ret_bytes);
};

/* ---- numbers in headers ---- */

static uint32_t le32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return GUINT32_FROM_LE(value);
}

static uint64_t le64(const uint8_t *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return GUINT64_FROM_LE(value);
}

static uint32_t be32(const uint8_t *p)
{
	return GUINT32_SWAP_LE_BE(le32(p));
}

static uint64_t be64(const uint8_t *p)
{
	return GUINT64_SWAP_LE_BE(le64(p));
}

static int sectors_to_bytes(uint64_t sectors, uint64_t *ret_bytes)
{
	if (sectors > (uint64_t)INT64_MAX / SECTOR_SIZE)
		return -EINVAL;
	*ret_bytes = sectors * SECTOR_SIZE;
	return 0;
}

/* ---- sizes of disks ---- */

/* The sectors of the extents that a text descriptor lists: "RW 4096 FLAT "disk-flat.vmdk" 0". */
static uint64_t descriptor_sectors(const char *text)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	uint64_t sectors = 0;

	for (char **line = lines; *line; line++) {
		g_auto(GStrv) words = g_strsplit(*line, " ", 3);
		guint64 number;

		if (!words[0] || !words[1] ||
		    (strcmp(words[0], "RW") && strcmp(words[0], "RDONLY") &&
		     strcmp(words[0], "NOACCESS")))
			continue;
		if (g_ascii_string_to_unsigned(words[1], 10, 0, INT64_MAX / SECTOR_SIZE, &number,
					       NULL) &&
		    sectors <= INT64_MAX)
			sectors += number;
	}
	return sectors;
}

static int vmdk_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	char text[4096] = { 0 };
	const uint8_t *header = (uint8_t *)text;
	int ret = image_co_pread(file, 0, sizeof(text) - 1, text);

	if (ret)
		return ret;
	if (memcmp(text, "KDMV", 4) == 0)
		return sectors_to_bytes(le64(header + 12), ret_bytes);
	if (memcmp(text, "COWD", 4) == 0)
		return sectors_to_bytes(le32(header + 12), ret_bytes);
	return sectors_to_bytes(descriptor_sectors(text), ret_bytes);
}

static int vdi_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	uint8_t header[512] = { 0 };
	int ret = image_co_pread(file, 0, sizeof(header), header);

	*ret_bytes = le64(header + 0x170);
	return ret;
}

/* A table of a VHDX has entries of 32 bytes, each of which starts with a GUID. */
static const uint8_t *find_guid(const uint8_t *entries, uint32_t nr, uint32_t max, const char *guid)
{
	for (uint32_t i = 0; i < MIN(nr, max); i++)
		if (memcmp(entries + i * 32, guid, 16) == 0)
			return entries + i * 32;
	return NULL;
}

/*
 * The region table says where the metadata is, and the metadata has the size as one of its items.
 */
static int vhdx_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	static const char metadata_region[] =
		"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
	static const char disk_size_item[] =
		"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
	uint8_t table[4096], size[8] = { 0 };
	const uint8_t *entry;
	uint64_t region_off;
	int ret = image_co_pread(file, 192 * 1024, sizeof(table), table);

	if (ret)
		return ret;
	entry = find_guid(table + 16, le32(table + 8), (sizeof(table) - 16) / 32, metadata_region);
	if (!entry)
		return -EINVAL;
	region_off = le64(entry + 16);
	ret = image_co_pread(file, region_off, sizeof(table), table);
	if (ret)
		return ret;
	entry = find_guid(table + 32, le32(table + 8) >> 16, (sizeof(table) - 32) / 32,
			  disk_size_item);
	if (!entry)
		return -EINVAL;
	ret = image_co_pread(file, region_off + le32(entry + 16), sizeof(size), size);
	*ret_bytes = le64(size);
	return ret;
}

/* Its creator meant the size and not the geometry, which cannot express every size. */
static bool vpc_has_exact_size(const uint8_t *creator)
{
	static const char exact[][5] = { "win ", "qem2", "d2v ", "tap\0", "CXS " };

	for (size_t i = 0; i < G_N_ELEMENTS(exact); i++)
		if (memcmp(creator, exact[i], 4) == 0)
			return true;
	return false;
}

static int vpc_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	static const uint32_t max_geometry = 65535 * 16 * 255;
	uint8_t footer[SECTOR_SIZE] = { 0 };
	uint32_t sectors;
	int ret = image_co_pread(file, 0, sizeof(footer), footer);

	if (!ret && memcmp(footer, "conectix", 8) != 0) {
		/* Old footers have one byte less. */
		uint64_t off = image_size(file) - sizeof(footer);

		ret = image_co_pread(file, off, sizeof(footer), footer);
		if (!ret && memcmp(footer, "conectix", 8) != 0)
			ret = image_co_pread(file, off + 1, sizeof(footer), footer);
	}
	if (ret)
		return ret;
	sectors = (be32(footer + 56) >> 16) * footer[58] * footer[59];
	*ret_bytes = vpc_has_exact_size(footer + 28) || sectors >= max_geometry
			     ? be64(footer + 48)
			     : (uint64_t)sectors * SECTOR_SIZE;
	return 0;
}

static int qed_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	uint8_t header[64] = { 0 };
	int ret = image_co_pread(file, 0, sizeof(header), header);

	*ret_bytes = le64(header + 48);
	return ret;
}

static int parallels_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	uint8_t header[64] = { 0 };
	int ret = image_co_pread(file, 0, sizeof(header), header);
	bool has_ext_size = memcmp(header, "WithouFreSpacExt", 16) == 0;

	return ret
		       ?: sectors_to_bytes(has_ext_size ? le64(header + 36) : le32(header + 36),
					   ret_bytes);
}

static int qcow_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	uint8_t header[48] = { 0 };
	int ret = image_co_pread(file, 0, sizeof(header), header);

	*ret_bytes = be64(header + 24);
	return ret;
}

/* Version 1 says where the data begins; version 2 says it in JSON, elsewhere. */
static int luks_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	uint8_t header[112] = { 0 };
	int ret = image_co_pread(file, 0, sizeof(header), header);
	uint64_t data_off = (uint64_t)be32(header + 104) * SECTOR_SIZE;

	*ret_bytes = image_size(file);
	if (be32(header + 4) >> 16 != 0xbabe || (be32(header + 4) & 0xffff) != 1)
		return ret;
	*ret_bytes -= MIN(data_off, *ret_bytes);
	return ret;
}

static int bochs_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	uint8_t header[96] = { 0 };
	int ret = image_co_pread(file, 0, sizeof(header), header);

	/* Version 2 has a timestamp before it. */
	*ret_bytes = le64(header + (le32(header + 64) == 0x00010000 ? 84 : 88));
	return ret;
}

static int cloop_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	uint8_t numbers[8] = { 0 };
	int ret = image_co_pread(file, 128, sizeof(numbers), numbers);

	*ret_bytes = (uint64_t)be32(numbers) * be32(numbers + 4);
	return ret;
}

static int dmg_co_disk_size(struct image *file, uint64_t *ret_bytes)
{
	uint8_t trailer[SECTOR_SIZE] = { 0 };
	int ret =
		image_co_pread(file, image_size(file) - sizeof(trailer), sizeof(trailer), trailer);

	return ret ?: sectors_to_bytes(be64(trailer + 492), ret_bytes);
}

/* ---- the node ---- */

static const struct foreign *foreign_of(const struct format_ops *ops)
{
	return (const struct foreign *)ops;
}

static int foreign_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	const struct foreign *foreign = foreign_of(img->format);
	uint64_t bytes = image_size(img->file);
	int ret = foreign->co_disk_size ? foreign->co_disk_size(img->file, &bytes) : 0;

	if (!ret && bytes > INT64_MAX - SECTOR_SIZE)
		ret = -EINVAL;
	if (ret)
		return error_set(
			err, ret,
			"Could not open '%s': cannot read the disk size from its header (format %s)",
			img->filename, img->ops->name);
	img->size = align_up(bytes, SECTOR_SIZE);
	return 0;
}

static int foreign_co_close(struct image *img)
{
	return 0;
}

static int foreign_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	return -ENOTSUP;
}

static int foreign_co_flush(struct image *img)
{
	return 0;
}

static int foreign_co_get_info(struct image *img, struct image_info *info, GError **err)
{
	info->encrypted = foreign_of(img->format)->kind == KIND_ENCRYPTED;
	return 0;
}

/* ---- the table ---- */

#define OPS(format)                                                                                \
	.ops = {                                                                                   \
		.io = {                                                                            \
			.name = (format),                                                          \
			.co_close = foreign_co_close,                                              \
			.co_preadv = foreign_co_preadv,                                            \
			.co_flush = foreign_co_flush,                                              \
		},                                                                                 \
		.info_only = true,                                                                 \
		.no_backing = true,                                                                \
		.co_open = foreign_co_open,                                                        \
		.co_get_info = foreign_co_get_info,                                                \
	}

static const struct foreign formats[] = {
	{ OPS("vmdk"), KIND_DISK, "a VMware disk", NULL, vmdk_co_disk_size },
	{ OPS("vdi"), KIND_DISK, "a VirtualBox disk", NULL, vdi_co_disk_size },
	{ OPS("vhdx"), KIND_DISK, "a Hyper-V disk", NULL, vhdx_co_disk_size },
	{ OPS("vpc"), KIND_DISK, "a Virtual PC disk (VHD)", NULL, vpc_co_disk_size },
	{ OPS("qed"), KIND_DISK, "a QED disk", NULL, qed_co_disk_size },
	{ OPS("parallels"), KIND_DISK, "a Parallels disk", NULL, parallels_co_disk_size },
	{ OPS("qcow"), KIND_DISK, "a disk of qcow version 1", NULL, qcow_co_disk_size },
	{ OPS("dmg"), KIND_DISK, "an Apple disk image", NULL, dmg_co_disk_size },
	{ OPS("bochs"), KIND_DISK, "a Bochs disk", NULL, bochs_co_disk_size },
	{ OPS("cloop"), KIND_DISK, "a compressed loop image", NULL, cloop_co_disk_size },
	{ OPS("luks"), KIND_ENCRYPTED, "encrypted with LUKS", NULL, luks_co_disk_size },
	{ OPS("gzip"), KIND_COMPRESSED, "compressed by gzip", "gzip -d", NULL },
	{ OPS("xz"), KIND_COMPRESSED, "compressed by xz", "xz -d", NULL },
	{ OPS("zstd"), KIND_COMPRESSED, "compressed by zstd", "zstd -d", NULL },
	{ OPS("bzip2"), KIND_COMPRESSED, "compressed by bzip2", "bzip2 -d", NULL },
	{ OPS("zip"), KIND_ARCHIVE, "a ZIP archive", "unzip", NULL },
	{ OPS("tar"), KIND_ARCHIVE, "a tar archive, such as an OVA", "tar -xf", NULL },
};

const struct format_ops *foreign_find(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
		if (strcmp(formats[i].ops.io.name, name) == 0)
			return &formats[i].ops;
	return NULL;
}

int foreign_refuse(const struct format_ops *ops, const char *filename, GError **err)
{
	const struct foreign *foreign = foreign_of(ops);
	g_autofree char *advice = NULL;

	switch (foreign->kind) {
	case KIND_DISK:
		advice = g_strdup_printf("convert it first (qemu-img convert -f %s -O qcow2)",
					 ops->io.name);
		break;
	case KIND_ENCRYPTED:
		advice = g_strdup("decrypt it first (qemu-img convert, or cryptsetup)");
		break;
	case KIND_COMPRESSED:
	case KIND_ARCHIVE:
		advice = g_strdup_printf("unpack it first (%s)", foreign->unpack);
		break;
	}
	return error_refuse(err, -EMEDIUMTYPE,
			    "Could not open '%s': it is %s (format %s), which is not supported; %s",
			    filename, foreign->what, ops->io.name, advice);
}
