// SPDX-License-Identifier: GPL-2.0-or-later
/* Partitions and holders in sysfs, from the bottom up; see disk_tree.h. */
#include "disk_tree.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

const char *disk_sysfs_folder = "/sys/class/block";

static void add_with_users(GPtrArray *names, const char *name);

static void add_holders(GPtrArray *names, const char *name)
{
	g_autofree char *path = g_build_filename(disk_sysfs_folder, name, "holders", NULL);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *holder;

	while (dir && (holder = g_dir_read_name(dir)))
		add_with_users(names, holder);
}

static void add_partitions(GPtrArray *names, const char *name)
{
	g_autofree char *path = g_build_filename(disk_sysfs_folder, name, NULL);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *entry;

	while (dir && (entry = g_dir_read_name(dir))) {
		g_autofree char *mark = g_build_filename(path, entry, "partition", NULL);

		if (access(mark, F_OK) == 0)
			add_with_users(names, entry);
	}
}

/* As sysfs names them, each behind what it is built on. */
static void add_with_users(GPtrArray *names, const char *name)
{
	if (g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
		return;
	g_ptr_array_add(names, g_strdup(name));
	add_holders(names, name);
	add_partitions(names, name);
}

/* /sys has "!" in place of "/". */
char *disk_tree_node(const char *name)
{
	g_autofree char *file = g_strdelimit(g_strdup(name), "!", '/');

	return g_build_filename("/dev", file, NULL);
}

GPtrArray *disk_tree_find(const char *disk)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *name = g_path_get_basename(disk);

	add_with_users(names, name);
	return names;
}
