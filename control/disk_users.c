// SPDX-License-Identifier: GPL-2.0-or-later
/* What sysfs and /proc tell of the users of a disk; see disk_users.h. */
#include "disk_users.h"

#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_opener.h"
#include "disk_tree.h"

/* So many of a kind are named. */
#define MAX_NAMED 8

/* The disk and what is built on it. */
struct tree {
	GPtrArray *names;
	GPtrArray *nodes;
	GHashTable *numbers; /* a set of texts, such as "253:0", as mountinfo has them */
};

static char *number_of_name(const char *name)
{
	g_autofree char *path = g_build_filename(disk_sysfs_folder, name, "dev", NULL);
	char *number;

	return g_file_get_contents(path, &number, NULL, NULL) ? g_strchomp(number) : NULL;
}

/* Waits for no file system. NULL: it is not a device. */
static char *number_of_node(const char *path)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0 ||
	    S_ISREG(st.stx_mode) || S_ISDIR(st.stx_mode))
		return NULL;
	return g_strdup_printf("%u:%u", st.stx_rdev_major, st.stx_rdev_minor);
}

static struct tree find_tree(const char *disk)
{
	struct tree tree = {
		.names = disk_tree_find(disk),
		.nodes = g_ptr_array_new_with_free_func(g_free),
		.numbers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
	};

	for (guint i = 0; i < tree.names->len; i++) {
		char *node = disk_tree_node(tree.names->pdata[i]);
		/* In a sandbox without /sys, the node itself can still be looked at. */
		char *number = number_of_name(tree.names->pdata[i]) ?: number_of_node(node);

		g_ptr_array_add(tree.nodes, node);
		if (number)
			g_hash_table_add(tree.numbers, number);
	}
	return tree;
}

static void free_tree(struct tree *tree)
{
	g_ptr_array_unref(tree->names);
	g_ptr_array_unref(tree->nodes);
	g_hash_table_unref(tree->numbers);
}

static bool has_node(const struct tree *tree, const char *path)
{
	g_autofree char *number = path[0] == '/' ? number_of_node(path) : NULL;

	return number && g_hash_table_contains(tree->numbers, number);
}

/* ---- users ---- */

static void add(GPtrArray *users, const char *how, const char *who)
{
	char *user = g_strdup_printf("%s%s", how, who);

	if (g_ptr_array_find_with_equal_func(users, user, g_str_equal, NULL))
		g_free(user);
	else
		g_ptr_array_add(users, user);
}

/*
 * A line of mountinfo: numbers of the mount and its parent, that of the device, root, mount point,
 * options, possibly more, "-", type, source. File systems on several disks, such as btrfs, have a
 * device number that no disk has; their source is one of the disks.
 */
static void add_if_mounted(GPtrArray *users, const struct tree *tree, const char *line)
{
	g_auto(GStrv) words = g_strsplit(line, " ", -1);
	g_autofree char *source = NULL, *folder = NULL;
	guint nr = g_strv_length(words), dash = 6;

	while (dash < nr && strcmp(words[dash], "-") != 0)
		dash++;
	if (dash + 2 >= nr)
		return;
	source = g_strcompress(words[dash + 2]);
	folder = g_strcompress(words[4]);
	if (g_hash_table_contains(tree->numbers, words[2]) || has_node(tree, source))
		add(users, "mounted on ", folder);
}

static void add_mounts(GPtrArray *users, const struct tree *tree, const char *process)
{
	g_autofree char *path = g_build_filename(disk_proc_folder, process, "mountinfo", NULL);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++)
		add_if_mounted(users, tree, *line);
}

/* True for the first process of a mount namespace, or if that cannot be known. */
static bool is_first_of_namespace(GHashTable *seen, const char *process)
{
	g_autofree char *path = g_build_filename(disk_proc_folder, process, "ns", "mnt", NULL);
	char *namespace = g_file_read_link(path, NULL);

	return !namespace || g_hash_table_add(seen, namespace);
}

static void add_mounts_of_all(GPtrArray *users, const struct tree *tree)
{
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_autoptr(GDir) proc = g_dir_open(disk_proc_folder, 0, NULL);
	const char *name;

	/* What may not look into other processes sees at least its own. */
	is_first_of_namespace(seen, "self");
	add_mounts(users, tree, "self");
	while (proc && (name = g_dir_read_name(proc)))
		if (g_ascii_isdigit(*name) && is_first_of_namespace(seen, name))
			add_mounts(users, tree, name);
}

static void add_swap(GPtrArray *users, const struct tree *tree)
{
	g_autofree char *path = g_build_filename(disk_proc_folder, "swaps", NULL);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_autofree char *node = NULL;

		(*line)[strcspn(*line, " \t")] = '\0';
		node = g_strcompress(*line);
		if (has_node(tree, node))
			add(users, "swap on ", node);
	}
}

/* Device mapper's disks have names that people know. */
static char *name_holder(const char *name)
{
	g_autofree char *path = g_build_filename(disk_sysfs_folder, name, "dm", "name", NULL);
	g_autofree char *known = NULL;

	if (!g_file_get_contents(path, &known, NULL, NULL))
		return g_strdup(name);
	return g_strdup_printf("%s (%s)", name, g_strchomp(known));
}

static bool is_holder(const struct tree *tree, const char *name)
{
	g_autofree char *mark = g_build_filename(disk_sysfs_folder, name, "partition", NULL);

	return strcmp(name, tree->names->pdata[0]) != 0 && access(mark, F_OK) < 0;
}

static void add_holders(GPtrArray *users, const struct tree *tree)
{
	for (guint i = 0; i < tree->names->len; i++) {
		const char *name = tree->names->pdata[i];
		g_autofree char *holder = is_holder(tree, name) ? name_holder(name) : NULL;

		if (holder)
			add(users, "used by ", holder);
	}
}

static void add_openers(GPtrArray *users, const struct tree *tree)
{
	g_autoptr(GPtrArray) openers = disk_openers(tree->nodes);

	for (guint i = 0; i < openers->len && i < MAX_NAMED; i++)
		add(users, "open in ", openers->pdata[i]);
	if (openers->len > MAX_NAMED)
		add(users, "open in ", "other processes");
}

char *disk_users(const char *disk)
{
	g_autoptr(GPtrArray) users = g_ptr_array_new_with_free_func(g_free);
	struct tree tree = find_tree(disk);

	add_mounts_of_all(users, &tree);
	add_swap(users, &tree);
	add_holders(users, &tree);
	add_openers(users, &tree);
	free_tree(&tree);
	g_ptr_array_add(users, NULL);
	return users->len > 1 ? g_strjoinv(", ", (char **)users->pdata) : NULL;
}
