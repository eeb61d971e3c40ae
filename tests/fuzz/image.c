// SPDX-License-Identifier: GPL-2.0-or-later
/* Whole images: the input is the file. Its first two bytes are the seed, since they say nothing. */
#include "fuzz.h"
#include "qcow2/layout.h"
#include "session.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	session_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t magic[2] = { QCOW2_MAGIC >> 24 & 0xff, QCOW2_MAGIC >> 16 & 0xff };
	struct memdisk *disk;

	if (size < 4 || size > SESSION_MAX_FILE)
		return -1;
	disk = memdisk_new(NULL);
	memdisk_write(disk, 0, size, data);
	memdisk_write(disk, 0, sizeof(magic), magic);
	session_run(disk, data[0] << 8 | data[1]);
	memdisk_free(disk);
	return 0;
}
