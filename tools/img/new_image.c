// SPDX-License-Identifier: GPL-2.0-or-later
/* Creates a new image from options; see new_image.h. */
#include "new_image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aio.h"
#include "guard.h"
#include "img.h"

/* ---- options ---- */

/* @filename may be NULL. */
static const struct image_option *find_options(const char *filename, const char *format)
{
	const struct image_option *options = image_create_options(format);

	if (!options)
		tool_error("%s%sUnknown file format '%s'", filename ?: "", filename ? ": " : "",
			   format);
	return options;
}

/* The options of a format, then those of its file that are not among them. */
static GPtrArray *all_options(const char *format)
{
	const struct image_option *own = image_create_options(format);
	GPtrArray *all = g_ptr_array_new();

	for (const struct image_option *o = own; o->name; o++)
		g_ptr_array_add(all, (void *)o);
	for (const struct image_option *o = image_file_create_options(); o->name; o++)
		if (!image_has_option(own, o->name))
			g_ptr_array_add(all, (void *)o);
	return all;
}

/* Removes an option from the table and returns its value; NULL if it is not there. */
static char *steal_option(struct new_image *new, const char *name)
{
	g_autofree char *stolen_name = NULL;
	char *value = NULL;

	/* An option that the format does not have stays, and is refused by name. */
	if (image_has_option(image_create_options(new->format), name))
		g_hash_table_steal_extended(new->options, name, (void **)&stolen_name,
					    (void **)&value);
	return value;
}

static bool take_size(struct new_image *new)
{
	g_autofree char *size = steal_option(new, "size");

	new->size_given = size;
	return img_parse_size("image size", size, INT64_MAX, &new->size);
}

bool new_image_init(struct new_image *new, const char *filename, const char *format,
		    char *const *option_lists)
{
	*new = (struct new_image){ .filename = filename, .format = format };
	if (!find_options(filename, format))
		return false;
	new->options = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	for (; option_lists && *option_lists; option_lists++) {
		if (!option_list_parse(*option_lists, new->options)) {
			tool_error("Invalid option list: %s", *option_lists);
			return false;
		}
	}
	new->backing_filename = steal_option(new, "backing_file");
	new->backing_format = steal_option(new, "backing_fmt");
	return take_size(new);
}

bool new_image_check_names(const struct new_image *new)
{
	const struct image_option *own = image_create_options(new->format);
	GHashTableIter iter;
	void *name;

	g_hash_table_iter_init(&iter, new->options);
	while (g_hash_table_iter_next(&iter, &name, NULL)) {
		/* Those of encryption are refused later, by name. */
		if (image_has_option(own, name) ||
		    image_has_option(image_file_create_options(), name) ||
		    g_str_has_prefix(name, "encrypt."))
			continue;
		tool_error("Invalid parameter '%s'", (char *)name);
		return false;
	}
	return true;
}

void new_image_clear(struct new_image *new)
{
	g_clear_pointer(&new->options, g_hash_table_unref);
	g_clear_pointer(&new->backing_filename, g_free);
	g_clear_pointer(&new->backing_format, g_free);
}

void new_image_set_backing(struct new_image *new, const char *filename, const char *format)
{
	if (filename) {
		g_free(new->backing_filename);
		new->backing_filename = g_strdup(filename);
	}
	if (format) {
		g_free(new->backing_format);
		new->backing_format = g_strdup(format);
	}
}

/* ---- "Formatting ..." ---- */

/* The value of an option, for display; NULL if it is not shown. The caller frees it. */
static char *value_text(const struct new_image *new, const struct image_option *option)
{
	const char *value =
		g_hash_table_lookup(new->options, option->name) ?: option->default_value;
	uint64_t bytes;

	if (strcmp(option->name, "backing_file") == 0)
		value = new->backing_filename;
	else if (strcmp(option->name, "backing_fmt") == 0)
		value = new->backing_format;
	else if (strcmp(option->name, "size") == 0)
		return g_strdup_printf("%" PRIu64, new->size);
	if (value && strcmp(option->type, "size") == 0 && !size_parse(value, &bytes))
		return g_strdup_printf("%" PRIu64, bytes);
	return value ? option_value_quote(value) : NULL;
}

/* "Formatting 'disk', fmt=raw size=1048576" */
static void print_new_image(const struct new_image *new)
{
	g_autoptr(GPtrArray) options = all_options(new->format);

	printf("Formatting '%s', fmt=%s", new->filename, new->format);
	for (guint i = 0; i < options->len; i++) {
		const struct image_option *o = options->pdata[i];
		g_autofree char *value = value_text(new, o);

		if (value)
			printf(" %s=%s", o->name, value);
	}
	putchar('\n');
}

/* ---- create ---- */

static void begin(void *arg, uint64_t size)
{
	struct new_image *new = arg;

	new->size = size;
	if (new->announce)
		print_new_image(new);
}

int new_image_co_create(struct new_image *new)
{
	struct image_create_opts opts = {
		.size = new->size,
		.size_given = new->size_given,
		.backing_filename = new->backing_filename,
		.backing_format = new->backing_format,
		.backing_unchecked = new->backing_unchecked,
		.options = new->options,
		.policy = &tool_policy,
		.sources = new->sources,
		.unfinished = new->unfinished,
		.begun = &new->begun,
		.begin = begin,
		.begin_arg = new,
	};
	g_autoptr(GError) err = NULL;
	int ret;

	guard_begun(&new->begun);
	ret = image_co_create(new->filename, new->format, &opts, &new->size, &err);
	if (ret) {
		guard_begun(NULL);
		tool_error("%s: %s%s%s", new->filename, new->doing ?: "", new->doing ? ": " : "",
			   err->message);
	}
	return ret;
}

void new_image_finish(struct new_image *new)
{
	guard_begun(NULL);
	image_begun_clear(&new->begun);
}

static int abandon_on_worker(void *arg)
{
	image_begun_abandon(arg);
	return 0;
}

void new_image_co_abandon(struct new_image *new)
{
	co_block_on_worker(abandon_on_worker, &new->begun);
	new_image_finish(new);
}

/* ---- copies ---- */

int new_image_co_make(struct new_image *new, struct image *const *sources, uint64_t size,
		      int (*co_fill)(void *arg), void *arg)
{
	int ret;

	new->sources = sources;
	new->unfinished = true;
	new->size = size;
	new->size_given = true;
	ret = new_image_co_create(new);
	if (ret)
		return ret;
	new->begun.wipe = true;
	ret = co_fill(arg);
	if (ret)
		new_image_co_abandon(new);
	else
		new_image_finish(new);
	return ret;
}

int new_image_co_complete(struct image *img, bool sync)
{
	int ret;

	if (sync)
		image_end_no_flush(img);
	ret = image_co_finish(img);
	if (ret)
		tool_error("%s: Could not finish the image: %s", image_filename(img),
			   g_strerror(-ret));
	return ret;
}

/* ---- help ---- */

bool new_image_asks_help(char *const *option_lists)
{
	for (; option_lists && *option_lists; option_lists++)
		if (option_list_asks_help(*option_lists))
			return true;
	return false;
}

static int compare_names(const void *a, const void *b)
{
	const struct image_option *const *one = a, *const *other = b;

	return strcmp((*one)->name, (*other)->name);
}

bool new_image_print_options(const char *format, const char *filename)
{
	const struct image_option *own = find_options(NULL, format);
	g_autoptr(GPtrArray) sorted = NULL;

	if (!own)
		return false;
	sorted = all_options(format);
	qsort(sorted->pdata, sorted->len, sizeof(sorted->pdata[0]), compare_names);
	if (filename)
		printf("Supported options:\n");
	else
		printf("Supported %s options:\n", format);
	for (guint i = 0; i < sorted->len; i++) {
		const struct image_option *o = sorted->pdata[i];
		g_autofree char *name = g_strdup_printf("%s=<%s>", o->name, o->type);

		if (filename || image_has_option(own, o->name))
			printf("  %-22s - %s\n", name, o->help);
	}
	if (!filename)
		printf("\nThe protocol level may support further options.\n"
		       "Specify the target filename to include those options.\n");
	return true;
}
