// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * File names: which bottom node a name asks for, how that is opened and created, and which file it
 * is. Nothing outside this folder knows what a file name can be.
 */
#include <errno.h>
#include <string.h>

#include "image_int.h"
#include "node_name.h"
#include "values.h"

/* Longer graphs cannot be opened. */
#define MAX_FILE_DEPTH 16

/* ---- names ---- */

/* The length of a "name:" at the start of @filename, as in nbd:...; 0 if there is none. */
static size_t protocol_length(const char *filename)
{
	size_t len = strcspn(filename, ":/");

	return filename[len] == ':' ? len + 1 : 0;
}

/* The first one also takes names without a prefix. */
static const struct bottom {
	const char *prefix; /* of names; NULL: none */
	const char *driver;
	const struct bottom_ops *ops;
} bottoms[] = {
	{ "file:", "file", &image_file_bottom },
	{ NULL, "host_device", &image_file_bottom },
	{ "null:", "null-co", &image_null_bottom },
	{ "null-co:", "null-co", &image_null_bottom },
	{ "null-aio:", "null-aio", &image_null_bottom },
#ifdef HAVE_LIBNBD
	{ "nbd:", "nbd", &image_nbd_bottom },
	{ "nbd+tcp:", "nbd", &image_nbd_bottom },
	{ "nbd+unix:", "nbd", &image_nbd_bottom },
	{ "nbds:", "nbd", &image_nbd_bottom },
	{ "nbds+tcp:", "nbd", &image_nbd_bottom },
	{ "nbds+unix:", "nbd", &image_nbd_bottom },
#endif
};

static const struct bottom *find_prefix(const char *filename, size_t len)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(bottoms); i++)
		if (bottoms[i].prefix && strlen(bottoms[i].prefix) == len &&
		    strncmp(bottoms[i].prefix, filename, len) == 0)
			return &bottoms[i];
	return NULL;
}

static const struct bottom *find_driver(const char *driver)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(bottoms); i++)
		if (strcmp(bottoms[i].driver, driver) == 0)
			return &bottoms[i];
	return NULL;
}

const char *image_bottom_driver(const char *driver)
{
	const struct bottom *bottom = driver ? find_driver(driver) : NULL;

	return bottom ? bottom->driver : NULL;
}

/* The bottom that a plain name asks for, and the name without "file:", which the caller frees. */
static const struct bottom *find_bottom(const char *filename, char **ret_name, GError **err)
{
	size_t len = protocol_length(filename);
	const struct bottom *bottom = len ? find_prefix(filename, len) : &bottoms[0];

	if (!bottom) {
		error_refuse(err, -EINVAL,
			     "Unknown protocol '%.*s' (use ./%s for a file of that name)",
			     (int)len - 1, filename, filename);
		return NULL;
	}
	*ret_name = g_strdup(filename + (bottom->ops->is_path ? len : 0));
	return bottom;
}

static struct node_options *options_of_name(const char *filename, bool *ret_is_graph, GError **err);

/* "blkdebug:CONFIG:IMAGE" */
static struct node_options *parse_blkdebug(const char *rest, GError **err)
{
	const char *colon = strchr(rest, ':');
	g_autofree char *config = colon ? g_strndup(rest, colon - rest) : NULL;
	struct node_options *options, *image;
	bool is_graph;

	if (!colon) {
		error_refuse(err, -EINVAL, "blkdebug requires both config file and image path");
		return NULL;
	}
	image = options_of_name(colon + 1, &is_graph, err);
	if (!image)
		return NULL;
	options = node_options_new();
	node_options_set(options, "driver", NODE_VALUE_STRING, "blkdebug");
	if (*config)
		node_options_set(options, "config", NODE_VALUE_STRING, config);
	node_options_put_child(options, "image", image);
	return options;
}

/* "blkverify:RAW:IMAGE"; only the format of IMAGE is probed. */
static struct node_options *parse_blkverify(const char *rest, GError **err)
{
	const char *colon = strchr(rest, ':');
	g_autofree char *raw_name = colon ? g_strndup(rest, colon - rest) : NULL;
	struct node_options *options, *raw, *test;
	bool is_graph;

	if (!colon) {
		error_refuse(err, -EINVAL, "blkverify requires raw copy and original image path");
		return NULL;
	}
	raw = options_of_name(raw_name, &is_graph, err);
	test = raw ? image_layer_of_name(colon + 1, &is_graph, err) : NULL;
	if (!test) {
		node_options_free(raw);
		return NULL;
	}
	options = node_options_new();
	node_options_set(options, "driver", NODE_VALUE_STRING, "blkverify");
	node_options_put_child(options, "raw", raw);
	node_options_put_child(options, "test", test);
	return options;
}

/* Names of nodes that stand on others. */
static const struct {
	const char *prefix;
	struct node_options *(*parse)(const char *rest, GError **err);
} filters[] = {
	{ "blkdebug:", parse_blkdebug },
	{ "blkverify:", parse_blkverify },
};

/* NULL without an error: the name is that of a bottom. */
static struct node_options *options_of_filter(const char *filename, bool *ret_is_filter,
					      GError **err)
{
	*ret_is_filter = false;
	for (unsigned i = 0; i < G_N_ELEMENTS(filters); i++) {
		if (!g_str_has_prefix(filename, filters[i].prefix))
			continue;
		*ret_is_filter = true;
		return filters[i].parse(filename + strlen(filters[i].prefix), err);
	}
	return NULL;
}

static struct node_options *options_of_bottom(const char *filename, GError **err)
{
	g_autofree char *name = NULL;
	const struct bottom *bottom = find_bottom(filename, &name, err);
	struct node_options *options;

	if (!bottom) {
		g_prefix_error(err, "Could not open '%s': ", filename);
		return NULL;
	}
	options = node_options_new();
	node_options_set(options, "driver", NODE_VALUE_STRING, bottom->driver);
	if (!bottom->ops->parse_name) {
		node_options_set(options, "filename", NODE_VALUE_STRING, name);
	} else if (bottom->ops->parse_name(name, options, err)) {
		node_options_free(options);
		return NULL;
	}
	return options;
}

/*
 * The options of the bottom, or of the filter and what is below it, that a name asks for; of the
 * graph if it is JSON. The caller frees them.
 */
static struct node_options *options_of_name(const char *filename, bool *ret_is_graph, GError **err)
{
	struct node_options *options;
	bool is_filter;

	*ret_is_graph = node_name_is_json(filename);
	if (*ret_is_graph)
		return node_name_parse(filename, err);
	options = options_of_filter(filename, &is_filter, err);
	return is_filter ? options : options_of_bottom(filename, err);
}

struct node_options *image_layer_of_name(const char *filename, bool *ret_is_graph, GError **err)
{
	struct node_options *named = options_of_name(filename, ret_is_graph, err), *layer;

	if (!named || *ret_is_graph)
		return named;
	layer = node_options_new();
	node_options_put_child(layer, "file", named);
	return layer;
}

/* The bottom of the graph that @options describe, and the prefix of its options. */
static const struct bottom *find_bottom_in(const struct node_options *options, char **ret_prefix)
{
	GString *prefix = g_string_new(NULL);
	const struct bottom *bottom = NULL;

	for (int depth = 0; !bottom && depth < MAX_FILE_DEPTH; depth++) {
		g_autofree char *name = g_strconcat(prefix->str, "driver", NULL);
		g_autofree char *below = g_strconcat(prefix->str, "file", NULL);
		const char *driver = node_options_text(options, name);

		if (driver)
			bottom = find_driver(driver);
		else if (depth && !node_options_has_child(options, below))
			bottom = &bottoms[0];
		if (!bottom)
			g_string_append_printf(prefix, "%s.", node_child_name(driver));
	}
	*ret_prefix = g_string_free(prefix, FALSE);
	return bottom;
}

bool image_names_file(const struct node_options *options)
{
	g_autofree char *prefix = NULL, *name = NULL;
	const struct bottom *bottom = find_bottom_in(options, &prefix);

	name = g_strconcat(prefix, "filename", NULL);
	return (bottom && !bottom->ops->is_path) || node_options_find(options, name);
}

int image_add_name(struct node_options *options, const char *filename, const char *named_by,
		   GError **err)
{
	bool is_graph;
	struct node_options *named = options_of_name(filename, &is_graph, err);
	g_autofree char *prefix = NULL;

	if (!named)
		return -EINVAL;
	if (named_by)
		node_options_set_named_by(named, named_by);
	if (!is_graph) {
		find_bottom_in(options, &prefix);
		node_options_add_prefix(named, prefix);
	}
	node_options_add_missing(options, named);
	node_options_free(named);
	return node_options_check_count(options, err);
}

char *image_name_from_options(const char *list, const char *filename, GError **err)
{
	struct node_options *options = node_name_parse_list(list, err);
	bool ok = options && (!filename || image_add_name(options, filename, NULL, err) == 0);
	char *name = ok ? node_name_make(options) : NULL;

	node_options_free(options);
	return name;
}

/* So that a path keeps its meaning when it is resolved again. */
static char *name_of_path(const char *path)
{
	return g_strconcat(protocol_length(path) ? "./" : "", path, NULL);
}

/* The name that the options of the bottom make; @prefix is before their names. */
static char *name_by_options(const struct bottom_ops *ops, const struct node_options *options,
			     const char *prefix)
{
	struct node_options *end = node_options_copy(options);
	char *name;

	for (; *prefix; prefix = strchr(prefix, '.') + 1) {
		g_autofree char *child = g_strndup(prefix, strcspn(prefix, "."));
		struct node_options *below = node_options_take_child(end, child);

		node_options_free(end);
		end = below;
	}
	name = ops->make_name(end, NULL);
	node_options_free(end);
	return name;
}

/* Where the graph ends. NULL if that is not known; otherwise the caller frees *ret_name. */
static const struct bottom_ops *find_end(const struct node_options *options, char **ret_name)
{
	g_autofree char *prefix = NULL, *name = NULL;
	const struct bottom *bottom = find_bottom_in(options, &prefix);
	const struct node_value *filename;

	if (bottom && bottom->ops->make_name) {
		*ret_name = name_by_options(bottom->ops, options, prefix);
		return *ret_name ? bottom->ops : NULL;
	}
	name = g_strconcat(prefix, "filename", NULL);
	filename = node_options_find(options, name);
	if (!bottom || !filename)
		return NULL;
	*ret_name = bottom->ops->is_path ? name_of_path(filename->text) : g_strdup(filename->text);
	return bottom->ops;
}

static const struct bottom_ops *find_end_of_name(const char *filename, char **ret_name)
{
	bool is_graph;
	struct node_options *options = options_of_name(filename, &is_graph, NULL);
	const struct bottom_ops *ops = options ? find_end(options, ret_name) : NULL;

	node_options_free(options);
	return ops;
}

char *image_resolve_backing(const char *image_filename, const char *backing_filename)
{
	g_autofree char *folder = NULL;
	const char *slash = strrchr(image_filename, '/');

	if (*backing_filename == '/' || protocol_length(backing_filename) || !slash)
		return g_strdup(backing_filename);
	folder = g_strndup(image_filename, slash + 1 - image_filename);
	return g_strconcat(folder, backing_filename, NULL);
}

/* ---- which file it is ---- */

struct file_id_job {
	const struct bottom_ops *ops;
	char *name;
	struct file_id ret_id;
};

static int file_id_on_worker(void *arg)
{
	struct file_id_job *job = arg;

	job->ret_id = job->ops->identify(job->name);
	return 0;
}

static struct file_id co_identify(const struct bottom_ops *ops, char *name)
{
	struct file_id_job job = { .ops = ops, .name = name };

	if (ops && ops->identify)
		co_block_on_worker(file_id_on_worker, &job);
	g_free(name);
	return job.ret_id;
}

struct file_id image_co_options_file_id(const struct node_options *options)
{
	char *name = NULL;
	const struct bottom_ops *ops = find_end(options, &name);

	return co_identify(ops, name);
}

struct file_id image_co_file_id(const char *filename)
{
	char *name = NULL;
	const struct bottom_ops *ops = find_end_of_name(filename, &name);

	return co_identify(ops, name);
}

struct same_job {
	const struct bottom_ops *ops;
	char *names[2];
};

static int same_on_worker(void *arg)
{
	const struct same_job *job = arg;

	return job->ops->is_same(job->names[0], job->names[1]);
}

bool image_co_same_file(const char *a, const char *b)
{
	struct same_job job = {};
	const struct bottom_ops *other = find_end_of_name(b, &job.names[1]);
	bool same = false;

	job.ops = find_end_of_name(a, &job.names[0]);
	if (job.ops && job.ops == other && job.ops->is_same)
		same = co_block_on_worker(same_on_worker, &job) == 1;
	g_free(job.names[0]);
	g_free(job.names[1]);
	return same;
}

/* Only the options that decide what is read: the names of disks depend on them. */
static bool is_of_stable_name(const struct node_value *value)
{
	static const char *const decisive[] = { "driver", "filename", "offset", "size", NULL };
	const char *dot = strrchr(value->name, '.');

	return g_strv_contains(decisive, dot ? dot + 1 : value->name);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char **decisive_names(const struct node_options *options)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	const struct node_value *value;

	for (unsigned i = 0; (value = node_options_at(options, i)); i++)
		if (is_of_stable_name(value))
			g_ptr_array_add(names, g_strdup(value->name));
	g_ptr_array_sort(names, compare_names);
	g_ptr_array_add(names, NULL);
	return (char **)g_ptr_array_steal(names, NULL);
}

/* A file, and a format on a file, are known by the file's name alone. */
static bool is_file_alone(char *const *names)
{
	static const char *const plain[] = { "driver", "filename", "file.driver", "file.filename",
					     NULL };

	for (; *names; names++)
		if (!g_strv_contains(plain, *names))
			return false;
	return true;
}

/* All files by their stable names; NULL if one has none. */
static char *stable_name_of_graph(const struct node_options *options, char *const *names)
{
	struct node_options *stable = node_options_new();
	char *result;

	for (; *names; names++) {
		const struct node_value *value = node_options_find(options, *names);
		g_autofree char *path = NULL, *file = NULL;

		if (g_str_has_suffix(*names, "filename")) {
			path = name_of_path(value->text);
			file = image_stable_name(path);
			if (!file)
				break;
		}
		node_options_set(stable, *names, value->type, file ?: value->text);
	}
	result = *names ? NULL : node_name_make(stable);
	node_options_free(stable);
	return result;
}

char *image_stable_name(const char *filename)
{
	bool is_graph;
	struct node_options *options = options_of_name(filename, &is_graph, NULL);
	g_autofree char *name = NULL;
	const struct bottom_ops *ops = options ? find_end(options, &name) : NULL;
	g_auto(GStrv) names = options ? decisive_names(options) : NULL;
	char *stable = NULL;

	if (is_graph && ops && !is_file_alone(names))
		stable = stable_name_of_graph(options, names);
	else if (ops && ops->stable_name)
		stable = ops->stable_name(name);
	node_options_free(options);
	return stable;
}

/* ---- open and create ---- */

/* What the bottom is asked for: its own name or, if it has none, its options. */
static char *name_of_bottom(const struct bottom *bottom, const struct node_options *options,
			    GError **err)
{
	const char *filename = node_options_text(options, "filename");

	if (bottom->ops->make_name)
		return bottom->ops->make_name(options, err);
	if (filename)
		return bottom->ops->is_path ? name_of_path(filename) : g_strdup(filename);
	if (!bottom->ops->is_path)
		return node_name_make(options);
	error_refuse(err, -EINVAL, "The '%s' block driver requires a file name", bottom->driver);
	return NULL;
}

/* What an image would call it: its file name or else the driver. */
static const char *named_by(const struct node_options *options)
{
	const struct node_value *value =
		node_options_find(options, "filename") ?: node_options_find(options, "driver");

	return value ? value->named_by : NULL;
}

static int co_open_checked(const struct bottom *bottom, struct image_open_opts *opts,
			   const struct named_file *named, struct image **ret_img, GError **err)
{
	g_autofree char *name = name_of_bottom(bottom, opts->node, err), *refusal = NULL;

	if (!name)
		return -EINVAL;
	if (named->by && bottom->ops->is_remote)
		refusal = named_server_refusal(named);
	else if (named->by && !bottom->ops->is_path)
		refusal = named_nothing_refusal(named);
	if (refusal)
		return error_refuse(err, -EPERM, "Could not open '%s': %s", name, refusal);
	opts->named_file = named->by ? named : NULL;
	return image_node_co_new_bottom(bottom->ops, name, opts, NULL, ret_img, err);
}

int image_co_open_bottom_node(const struct node_options *options, unsigned flags,
			      const struct image_policy *policy, bool is_data_file,
			      struct image **ret_img, GError **err)
{
	const char *driver = node_options_text(options, "driver") ?: bottoms[0].driver;
	const struct bottom *bottom = find_driver(driver);
	struct image_open_opts opts = { .flags = flags, .node = options };
	struct named_file named;
	int ret;

	if (!bottom)
		return error_refuse(err, -EINVAL, "Unknown driver '%s'", driver);
	ret = node_options_check(options, driver, false, bottom->ops->options,
				 policy && policy->places_only, err);
	ret = ret ?: node_flags_apply(options, &opts.flags, err);
	if (ret)
		return ret;
	named = is_data_file ? named_data_file(policy, named_by(options))
			     : named_backing_file(policy, named_by(options));
	return co_open_checked(bottom, &opts, &named, ret_img, err);
}

int image_co_open_data_file(const char *filename, unsigned flags, const struct image_policy *policy,
			    const char *image, struct image **ret_img, GError **err)
{
	bool is_graph;
	struct node_options *options = options_of_name(filename, &is_graph, err);
	int ret = options ? 0 : -EINVAL;

	if (!ret && image)
		node_options_set_named_by(options, image);
	ret = ret ?: image_co_open_bottom_node(options, flags, policy, true, ret_img, err);
	node_options_free(options);
	return ret;
}

int image_co_open_bottom(const char *filename, unsigned flags, struct image **ret_img, GError **err)
{
	int ret = image_co_open_data_file(filename, flags, NULL, NULL, ret_img, err);

	return image_one_line(ret, err);
}

int image_co_open_fd(int fd, const char *name, unsigned flags, struct image **ret_img, GError **err)
{
	struct node_options *options = node_options_new();
	struct image_open_opts opts = { .flags = flags, .node = options, .fd = &fd };
	int ret;

	node_options_set(options, "driver", NODE_VALUE_STRING, bottoms[0].driver);
	node_options_set(options, "filename", NODE_VALUE_STRING, name);
	node_options_set(options, "locking", NODE_VALUE_STRING, "off");
	ret = image_node_co_new_bottom(bottoms[0].ops, name, &opts, NULL, ret_img, err);
	node_options_free(options);
	return image_one_line(ret, err);
}

/* ---- create ---- */

/* As QEMU: it keeps growing files in few pieces. */
#define DEFAULT_EXTENT_SIZE_HINT (1024 * 1024)

const struct image_option *image_file_create_options(void)
{
	static const struct image_option options[] = {
		{ "nocow", "bool (on/off)", "Turn off copy-on-write (valid only on btrfs)", NULL },
		{ "preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)",
		  NULL },
		{ "extent_size_hint", "size", "Extent size hint for the image file, 0 to disable",
		  NULL },
		{},
	};

	return options;
}

int image_parse_file_options(GHashTable *options, struct bottom_create_opts *ret_opts, GError **err)
{
	const char *nocow = options ? g_hash_table_lookup(options, "nocow") : NULL;
	const char *hint = options ? g_hash_table_lookup(options, "extent_size_hint") : NULL;
	uint64_t bytes = DEFAULT_EXTENT_SIZE_HINT;

	*ret_opts = (struct bottom_create_opts){};
	if (nocow)
		bool_parse(nocow, &ret_opts->nocow);
	if (hint)
		size_parse(hint, &bytes);
	if (bytes > UINT32_MAX)
		return error_refuse(err, -EINVAL, "Extent size hint is too large");
	ret_opts->extent_size_hint = bytes;
	return 0;
}

int image_check_new_name(const char *filename, GError **err)
{
	g_autofree char *name = NULL;
	const struct bottom *bottom;

	/* A graph consists of existing files. */
	if (node_name_is_json(filename))
		return error_refuse(err, -EINVAL, "Unknown protocol 'json': a new image is a file");
	bottom = find_bottom(filename, &name, err);
	if (!bottom)
		return -EINVAL;
	if (bottom->ops->co_create)
		return 0;
	return error_refuse(err, -ENOTSUP, "Protocol driver '%s' does not support image creation",
			    bottom->ops->io.name);
}

int image_co_create_bottom(const char *filename, const struct image_create_opts *opts, GError **err)
{
	g_autofree char *path = NULL, *name = NULL;
	struct bottom_create_opts file_opts;
	const struct bottom *bottom;

	if (image_check_new_name(filename, err) ||
	    image_parse_file_options(opts->options, &file_opts, err))
		return -EINVAL;
	bottom = find_bottom(filename, &path, err);
	name = name_of_path(path);
	opts->begun->bottom = bottom->ops;
	return bottom->ops->co_create(name, &file_opts, opts->begun, err);
}
