// SPDX-License-Identifier: GPL-2.0-or-later
/* The other disks of a driver; see others.h. */
#include "others.h"

#include <stdio.h>
#include <string.h>

const char *others_folder = "/sys/block";

static bool has(const char *name, const char *attribute, const char *value)
{
	g_autofree char *path = g_build_filename(others_folder, name, attribute, NULL);
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) && strcmp(g_strchomp(text), value) == 0;
}

/* Whether @name is a disk of the driver; stores its number. */
static bool is_disk(const struct transport_ops *driver, const char *name, uint32_t *ret_id)
{
	size_t len = strlen(driver->disk_name);

	return strncmp(name, driver->disk_name, len) == 0 && sscanf(name + len, "%u", ret_id) == 1;
}

static int compare(const void *a, const void *b)
{
	const struct other *one = a, *two = b;

	if (one->unprivileged != two->unprivileged)
		return one->unprivileged - two->unprivileged;
	return (one->id > two->id) - (one->id < two->id);
}

GArray *others_find(const struct transport_ops *driver, const char *attribute, const char *value)
{
	g_autoptr(GDir) dir = g_dir_open(others_folder, 0, NULL);
	GArray *found = g_array_new(FALSE, FALSE, sizeof(struct other));
	struct other other;
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		if (!is_disk(driver, name, &other.id) || !has(name, attribute, value))
			continue;
		other.unprivileged = has(name, "device/unprivileged", "1");
		g_array_append_val(found, other);
	}
	g_array_sort(found, compare);
	return found;
}
