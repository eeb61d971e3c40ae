// SPDX-License-Identifier: GPL-2.0-or-later
/* The other disks of a driver; see others.h. */
#include "others.h"

#include <stdio.h>
#include <string.h>

#include "uuid.h"

const char *others_folder = "/sys/block";

/* NULL: the disk has no such attribute. */
static char *attribute_of(const char *name, const char *attribute)
{
	g_autofree char *path = g_build_filename(others_folder, name, attribute, NULL);
	char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text) : NULL;
}

static bool has(const char *name, const char *attribute, const char *value)
{
	g_autofree char *text = attribute_of(name, attribute);

	return g_strcmp0(text, value) == 0;
}

/* The same for a driver whose disks do not have the attribute. NULL: no such name. */
static char *ask_driver(const struct transport_ops *driver, uint32_t id, const char *attribute)
{
	struct transport_info info;
	struct transport *transport = driver->open(id, &info, NULL);
	struct identity identity;
	char *text = NULL;

	if (transport && transport_get_identity(transport, &identity) == 0)
		text = strcmp(attribute, "uuid") == 0 ? uuid_to_text(identity.uuid)
						      : g_strdup(identity.serial);
	transport_free(transport);
	return text;
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
		g_autofree char *text = NULL;

		if (!is_disk(driver, name, &other.id))
			continue;
		text = attribute_of(name, attribute) ?: ask_driver(driver, other.id, attribute);
		if (g_strcmp0(text, value) != 0)
			continue;
		other.unprivileged = has(name, "device/unprivileged", "1");
		g_array_append_val(found, other);
	}
	g_array_sort(found, compare);
	return found;
}
