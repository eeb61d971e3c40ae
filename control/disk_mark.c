// SPDX-License-Identifier: GPL-2.0-or-later
/* What udev must know of a disk; see disk_mark.h. */
#include "disk_mark.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "run_folder.h"

#define NAME_CHARACTERS G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS ":_.@-"

static char *path_in(const char *folder, const char *disk)
{
	g_autofree char *kernel_name = g_path_get_basename(disk);
	g_autofree char *file = g_strconcat(kernel_name, ".udev", NULL);

	return g_build_filename(folder, file, NULL);
}

static bool is_name(const char *name)
{
	return name && *name && strspn(name, NAME_CHARACTERS) == strlen(name);
}

int disk_mark_write(const char *disk, const char *name, bool no_probe, GError **err)
{
	g_autofree char *folder = NULL, *path = NULL, *text = NULL;

	if (!is_name(name))
		name = NULL;
	if (!name && !no_probe) {
		disk_mark_remove(disk);
		return 0;
	}
	folder = run_folder_find(true, err);
	if (!folder)
		return -EACCES;
	path = path_in(folder, disk);
	text = g_strdup_printf("%s%s%s%s", name ? "UBD_NAME=" : "", name ?: "", name ? "\n" : "",
			       no_probe ? "UBD_NO_PROBE=1\n" : "");
	return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, err)
		       ? 0
		       : -EIO;
}

char *disk_mark_path(const char *disk)
{
	g_autofree char *folder = run_folder_find(false, NULL);

	return folder ? path_in(folder, disk) : NULL;
}

void disk_mark_remove(const char *disk)
{
	g_autofree char *path = disk_mark_path(disk);

	if (path)
		unlink(path);
}
