// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Headers of other programs' formats, in which `info` looks for the size of the disk. The input
 * lies wherever one of them reads something.
 */
#include "aio.h"
#include "fuzz.h"
#include "memnode.h"

#define FILE_BYTES (256 << 10)

static const char *const names[] = {
	"vmdk", "vdi", "vhdx", "vpc", "qed", "parallels", "qcow", "dmg", "bochs", "cloop", "luks",
};

static struct aio_loop *loop;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	g_autoptr(GError) err = NULL;

	loop = aio_loop_new(16, &err);
	if (!loop)
		g_error("no loop: %s", err->message);
	return 0;
}

static void co_open(struct memnode *node, const char *format)
{
	const struct image_open_opts opts = { .format = format, .flags = IMAGE_INFO_ONLY };
	struct image_info info;
	struct image *img;
	uint8_t byte;

	if (memnode_co_open_image(node, "fuzz", &opts, &img, NULL) < 0)
		return;
	if (image_size(img) > INT64_MAX)
		g_error("%s: a size that cannot be", image_format(img));
	if (image_co_pread(img, 0, 1, &byte) != -EPERM)
		g_error("%s: it can be read", image_format(img));
	if (image_co_get_info(img, &info, NULL) == 0)
		image_info_clear(&info);
	image_co_close(img);
}

static void open_co(void *arg)
{
	/* As what it looks like, and as each of them. */
	co_open(arg, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		co_open(arg, names[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* The start, the VHDX's region table and where it may have its metadata; the end. */
	uint64_t places[] = { 0, 192 << 10, 200 << 10, FILE_BYTES };
	struct memdisk *disk;
	struct memnode node;

	if (size > 4096)
		return -1;
	disk = memdisk_new(NULL);
	places[3] -= MIN(size, 512);
	for (size_t i = 0; i < G_N_ELEMENTS(places); i++)
		memdisk_write(disk, places[i], MIN(size, FILE_BYTES - places[i]), data);
	memnode_init(&node, disk, 0);
	aio_loop_run_co(loop, open_co, &node);
	memnode_destroy(&node);
	memdisk_free(disk);
	return 0;
}
