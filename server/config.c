// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The disks that a server begins with; see config.h. A file has the variables IMAGE and OPTIONS, as
 * those of ubd@.service (docs/ubdtab.5).
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "environment_file.h"
#include "error.h"
#include "report.h"

#define SUFFIX	       ".conf"
#define MAX_FILE_BYTES (64 << 10)
/* Far more than a process can serve well. */
#define MAX_FILES      4096

struct file {
	char *image, *options;
};

static void clear_file(struct file *file)
{
	g_free(file->image);
	g_free(file->options);
}

static int read_file(const char *path, struct file *file, GError **err)
{
	g_autofree char *text = NULL;
	GError *why = NULL;
	gsize bytes;

	if (!g_file_get_contents(path, &text, &bytes, err))
		return -EIO;
	if (bytes > MAX_FILE_BYTES)
		return error_refuse(err, -EFBIG, "longer than %u bytes", MAX_FILE_BYTES);
	file->image = environment_file_get(text, "IMAGE", &why);
	if (!why)
		file->options = environment_file_get(text, "OPTIONS", &why);
	if (why) {
		g_propagate_error(err, why);
		return -EINVAL;
	}
	return file->image && *file->image ? 0 : error_refuse(err, -EINVAL, "it has no IMAGE");
}

/* The words of OPTIONS, after that of a program; the caller frees them. NULL with @err set. */
static char **words_of(const char *options, GError **err)
{
	g_autofree char *line = g_strconcat("ubd-serve ", options, NULL);
	char **words;

	return g_shell_parse_argv(line, NULL, &words, err) ? words : NULL;
}

static struct options *options_of_file(const char *path, const char *name, GError **err)
{
	struct options *options = NULL;
	struct file file = { 0 };
	g_auto(GStrv) words = NULL;

	if (read_file(path, &file, err) == 0)
		words = words_of(file.options ?: "", err);
	if (words)
		options = options_of_disk(name, file.image, words, err);
	clear_file(&file);
	return options;
}

static gint compare(gconstpointer a, gconstpointer b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of the disks that have a file, sorted. NULL with @err set. */
static GPtrArray *names_in(const char *folder, GError **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, err);
	const char *file;

	if (!dir)
		g_prefix_error(err, "--config: ");
	while (dir && (file = g_dir_read_name(dir))) {
		if (file[0] == '.' || !g_str_has_suffix(file, SUFFIX))
			continue;
		g_ptr_array_add(names, g_strndup(file, strlen(file) - strlen(SUFFIX)));
		if (names->len > MAX_FILES) {
			error_refuse(err, -E2BIG, "--config: more than %u files", MAX_FILES);
			return NULL;
		}
	}
	g_ptr_array_sort(names, compare);
	return dir ? g_steal_pointer(&names) : NULL;
}

static void add_file(GPtrArray *disks, const char *folder, const char *name, bool *failed)
{
	g_autofree char *file = g_strconcat(name, SUFFIX, NULL);
	g_autofree char *path = g_build_filename(folder, file, NULL);
	g_autoptr(GError) err = NULL;
	struct options *options = options_of_file(path, name, &err);

	if (options) {
		g_ptr_array_add(disks, options);
		return;
	}
	report_error("%s: %s", path, err->message);
	*failed = true;
}

static int add_folder(GPtrArray *disks, const char *folder, bool *failed, GError **err)
{
	g_autoptr(GPtrArray) names = names_in(folder, err);

	if (!names)
		return -EINVAL;
	for (unsigned i = 0; i < names->len; i++)
		add_file(disks, folder, names->pdata[i], failed);
	return 0;
}

static int add_images(GPtrArray *disks, char **images, GError **err)
{
	for (; images && *images; images++) {
		struct options *options = options_of_disk(NULL, *images, NULL, err);

		if (!options)
			return -EINVAL;
		g_ptr_array_add(disks, options);
	}
	return 0;
}

static void free_options(void *options)
{
	options_free(options);
}

GPtrArray *config_disks(const struct options *options, bool *ret_failed)
{
	g_autoptr(GPtrArray) disks = g_ptr_array_new();
	g_autoptr(GError) err = NULL;

	if (!options->several) {
		g_ptr_array_add(disks, (void *)options);
		return g_steal_pointer(&disks);
	}
	g_ptr_array_set_free_func(disks, free_options);
	if (add_images(disks, options->images, &err) == 0 &&
	    (!options->config || add_folder(disks, options->config, ret_failed, &err) == 0))
		return g_steal_pointer(&disks);
	report_error("%s", err->message);
	return NULL;
}
