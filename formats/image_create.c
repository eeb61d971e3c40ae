// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: creates an image. Everything that can be wrong with a request is checked before the
 * first file is touched.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "image_int.h"
#include "node_name.h"
#include "values.h"

struct creation {
	const char *filename;
	const struct format_ops *ops;
	struct image_create_opts opts; /* including the size that was found */
	char *data_filename;	       /* of its data file, NULL if none */
	struct file_id id, data_id;    /* not known if there is no such file yet */
	char *hint;		       /* more lines for the error message; NULL: none */
};

static void set_hint(struct creation *c, const char *hint)
{
	g_free(c->hint);
	c->hint = g_strdup(hint);
}

/* ---- options ---- */

/* A value of the option's type may still be one that the format refuses. */
static int check_type(struct creation *c, const struct image_option *option, GError **err)
{
	const char *value = g_hash_table_lookup(c->opts.options, option->name);
	uint64_t number;
	bool on;

	if (!value)
		return 0;
	if (g_str_has_prefix(option->type, "bool") && !bool_parse(value, &on))
		return error_refuse(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'",
				    option->name);
	if (!strcmp(option->type, "num") && number_parse(value, 0, UINT64_MAX, &number))
		return error_refuse(err, -EINVAL, "Parameter '%s' expects a number", option->name);
	if (!strcmp(option->type, "size") && size_parse(value, &number)) {
		set_hint(c, "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, "
			    "peta-\nand exabytes, respectively.");
		return error_refuse(err, -EINVAL,
				    "Parameter '%s' expects a non-negative number below 2^64",
				    option->name);
	}
	return 0;
}

static int check_types(struct creation *c, const struct image_option *options, GError **err)
{
	int ret = 0;

	for (; !ret && options->name; options++)
		ret = check_type(c, options, err);
	return ret;
}

static int refuse_option(const struct creation *c, const char *name, GError **err)
{
	if (g_str_has_prefix(name, "encrypt.") &&
	    image_has_option(c->ops->create_options, "encryption"))
		return error_refuse(err, -ENOTSUP, "%s: encryption is not supported yet", name);
	return error_refuse(err, -EINVAL, "Invalid parameter '%s'", name);
}

static int check_options(struct creation *c, GError **err)
{
	GHashTableIter iter;
	void *name;

	if (!c->opts.options)
		return 0;
	g_hash_table_iter_init(&iter, c->opts.options);
	while (g_hash_table_iter_next(&iter, &name, NULL))
		if (!image_has_option(c->ops->create_options, name) &&
		    !image_has_option(image_file_create_options(), name))
			return refuse_option(c, name, err);
	return check_types(c, c->ops->create_options, err)
		       ?: check_types(c, image_file_create_options(), err);
}

/*
 * Once the size is decided, since together with the options it can exceed what the format has room
 * for.
 */
static int check_with_format(struct creation *c, GError **err)
{
	if (c->opts.backing_format && !c->opts.backing_filename)
		return error_refuse(err, -EINVAL,
				    "Backing format cannot be used without backing file");
	if (c->opts.backing_format && !image_find_format(c->opts.backing_format, NULL) &&
	    !image_bottom_driver(c->opts.backing_format))
		return error_refuse(err, -EINVAL,
				    "Parameter 'backing-fmt' does not accept value '%s'",
				    c->opts.backing_format);
	return c->ops->check_create ? c->ops->check_create(&c->opts, err) : 0;
}

/* ---- the backing file ---- */

/* A file that is read must not be one that is written. */
static int check_apart(struct creation *c, const struct image *chain, const char *what,
		       GError **err)
{
	const char *wrong = NULL;

	if (image_chain_has_file(chain, &c->id))
		wrong = "it is";
	else if (image_chain_has_file(chain, &c->data_id))
		wrong = "its data file is";
	if (!wrong)
		return 0;
	return error_refuse(err, -ELOOP, "%s %s '%s'", wrong, what, image_filename(chain));
}

/*
 * What a guest writes to a raw image can look like a header of another format, so its format must
 * be given. If @backing is not NULL, its format was probed.
 */
static int refuse_without_format(struct creation *c, const struct image *backing, GError **err)
{
	g_autofree char *detected =
		backing ? g_strdup_printf("Detected format of %s.", image_format(backing)) : NULL;

	set_hint(c, detected);
	return error_refuse(err, -EINVAL, "Backing file specified without backing format");
}

static int check_backing(struct creation *c, const struct image *backing, GError **err)
{
	if (!c->opts.backing_format)
		return refuse_without_format(c, backing, err);
	if (!c->opts.size_given)
		c->opts.size = image_size(backing);
	c->opts.size_given = true;
	return check_apart(c, backing, "in the backing chain of", err);
}

/* Checks that the backing file exists and can be opened, and takes its size if none was given. */
static int co_check_backing(struct creation *c, const char *full_name, GError **err)
{
	/* It is only read: it may be in use. */
	struct image_open_opts opts = {
		.format = c->opts.backing_format,
		.flags = IMAGE_FORCE_SHARE,
		.policy = c->opts.policy,
	};
	struct image *backing;
	int ret;

	/* A header that may be a guest's opens no other files. */
	if (!opts.format)
		opts.flags |= IMAGE_NO_BACKING | IMAGE_NO_DATA_FILE;
	ret = image_co_open(full_name, &opts, &backing, err);
	if (ret) {
		set_hint(c, "Could not open backing image.");
		return ret;
	}
	ret = check_backing(c, backing, err);
	image_co_close(backing);
	return ret;
}

static int co_prepare_backing(struct creation *c, GError **err)
{
	g_autofree char *full_name = NULL;

	if (c->ops->no_backing)
		return error_refuse(err, -ENOTSUP,
				    "Backing file not supported for file format '%s'",
				    c->ops->io.name);
	if (!*c->opts.backing_filename)
		return error_refuse(err, -EINVAL, "Expected backing file name, got empty string");
	full_name = image_resolve_backing(c->filename, c->opts.backing_filename);
	if (image_co_same_file(c->filename, full_name))
		return error_refuse(err, -ELOOP,
				    "Error: Trying to create an image with the same filename as "
				    "the backing file");
	if (c->data_filename && image_co_same_file(c->data_filename, full_name))
		return error_refuse(err, -ELOOP, "its data file cannot be its backing file");
	if (!c->opts.backing_unchecked)
		return co_check_backing(c, full_name, err);
	return c->opts.backing_format ? 0 : refuse_without_format(c, NULL, err);
}

static int check_size(struct creation *c, GError **err)
{
	if (!c->opts.size_given)
		return error_refuse(err, -EINVAL, "Image creation needs a size parameter");
	if (c->opts.size > IMAGE_MAX_SIZE)
		return error_refuse(err, -EFBIG,
				    "the size of %" PRIu64 " bytes exceeds the maximum of %" PRIu64,
				    c->opts.size, IMAGE_MAX_SIZE);
	return 0;
}

/* ---- the file ---- */

void image_begun_abandon(const struct image_begun *begun)
{
	static const struct timespec pause = { .tv_nsec = 1000000 };

	/* No longer than that: a file system that does not answer must not delay the signal. */
	for (int left = 1000; begun->making && left; left--)
		nanosleep(&pause, NULL);
	for (unsigned i = 0; i < begun->nr; i++)
		begun->files[i].bottom->abandon(&begun->files[i], begun->wipe);
}

void image_begun_clear(struct image_begun *begun)
{
	unsigned nr = begun->nr;

	begun->nr = 0;
	begun->wipe = false;
	for (unsigned i = 0; i < nr; i++)
		g_free(begun->files[i].filename);
}

static int abandon_on_worker(void *arg)
{
	image_begun_abandon(arg);
	return 0;
}

static int co_write_image(struct creation *c, GError **err)
{
	struct image *file;
	int ret, close_ret;

	ret = image_co_open_bottom(c->filename, IMAGE_RDWR, &file, err);
	if (ret)
		return ret;
	ret = c->ops->co_create(file, &c->opts, err);
	close_ret = image_co_close(file);
	if (!ret && close_ret)
		ret = error_set(err, close_ret, "Could not close the new file");
	return ret;
}

/* Lists the files that will be written. */
static void co_identify(struct creation *c)
{
	const char *data_file =
		c->opts.options ? g_hash_table_lookup(c->opts.options, "data_file") : NULL;

	c->id = image_co_file_id(c->filename);
	if (!data_file)
		return;
	c->data_filename = image_resolve_backing(c->filename, data_file);
	c->data_id = image_co_file_id(c->data_filename);
}

/* Everything that can be checked before a file is touched. */
static int co_check(struct creation *c, GError **err)
{
	int ret = image_check_new_name(c->filename, err) ?: check_options(c, err);

	if (ret)
		return ret;
	co_identify(c);
	for (struct image *const *source = c->opts.sources; !ret && source && *source; source++)
		ret = check_apart(c, *source, "a file of the source", err);
	if (!ret && c->opts.backing_filename)
		ret = co_prepare_backing(c, err);
	ret = ret ?: check_size(c, err);
	if (!ret && c->opts.begin)
		c->opts.begin(c->opts.begin_arg, c->opts.size);
	return ret ?: check_with_format(c, err);
}

static int co_create(struct creation *c, GError **err)
{
	struct image_begun begun = {};
	int ret;

	if (!c->ops->co_create)
		return error_refuse(err, -ENOTSUP,
				    "Format driver '%s' does not support image creation",
				    c->ops->io.name);
	if (!c->opts.begun)
		c->opts.begun = &begun;
	ret = co_check(c, err) ?:
	      image_co_create_bottom(c->filename, &c->opts, err) ?:
	      co_write_image(c, err);
	if (ret)
		co_block_on_worker(abandon_on_worker, c->opts.begun);
	if (ret || c->opts.begun == &begun)
		image_begun_clear(c->opts.begun);
	return ret;
}

static void add_line(GError *err, const char *line)
{
	char *message = g_strconcat(err->message, "\n", line, NULL);

	g_free(err->message);
	err->message = message;
}

int image_co_create(const char *filename, const char *format, const struct image_create_opts *opts,
		    uint64_t *ret_size, GError **err)
{
	struct creation c = { .filename = filename, .opts = *opts };
	int ret = -EINVAL;

	c.ops = image_find_new_format(format, err);
	if (c.ops)
		ret = co_create(&c, err);
	image_one_line(ret, err);
	if (ret && err && c.hint)
		add_line(*err, c.hint);
	g_free(c.data_filename);
	g_free(c.hint);
	if (!ret && ret_size)
		*ret_size = c.opts.size;
	return ret;
}

int image_co_create_on(struct image *file, const char *format, const struct image_create_opts *opts,
		       GError **err)
{
	struct creation c = { .filename = file->filename, .opts = *opts };
	int ret = -EINVAL;

	c.ops = image_find_new_format(format, err);
	if (c.ops)
		ret = check_options(&c, err) ?:
		      check_size(&c, err) ?:
		      check_with_format(&c, err) ?:
		      c.ops->co_create(file, &c.opts, err);
	g_free(c.hint);
	return image_one_line(ret, err);
}

int image_co_finish(struct image *img)
{
	return img->format->co_finish ? img->format->co_finish(img) : 0;
}
