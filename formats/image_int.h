/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files image*.c provide to each other, and to formats that open files. */
#ifndef UBD_IMAGE_INT_H
#define UBD_IMAGE_INT_H

#include "image_ops.h"

/* No image is larger: sizes and offsets stay positive as an off_t, and can be rounded up. */
#define IMAGE_MAX_SIZE ((uint64_t)INT64_MAX - (1 << 30))

/* ---- formats.c ---- */

/* The format with that name; NULL, with @err set, if there is none. */
const struct format_ops *image_find_format(const char *name, GError **err);

/* The same for creating an image: "file" is raw. */
const struct format_ops *image_find_new_format(const char *name, GError **err);

/* The format of a file that looks like no other format. */
const struct format_ops *image_headerless_format(void);

/* ---- bottom/bottom.c ---- */

/* The static name of a driver that is a bottom; NULL if it is not, or @driver is NULL. */
const char *image_bottom_driver(const char *driver);

/*
 * What a file name asks for, as the options of a format: of one on that file ("file.driver" and
 * "file.filename"), or, if the name is JSON, of the graph. NULL, with @err set, if the name is
 * invalid. The caller frees them.
 */
struct node_options *image_layer_of_name(const char *filename, bool *ret_is_graph, GError **err);

/* Whether the graph ends with a file that is given, or needs none. */
bool image_names_file(const struct node_options *options);

/*
 * Adds what a file name asks for, unless @options say otherwise: the file goes where the graph that
 * they describe ends. @named_by: the image that names it; NULL: the user does.
 */
int image_add_name(struct node_options *options, const char *filename, const char *named_by,
		   GError **err);

/* The file where the graph ends; unknown if there is none. */
struct file_id image_co_options_file_id(const struct node_options *options);

/* Opens a bottom node. A file that an image names must be allowed as backing file or data file. */
int image_co_open_bottom_node(const struct node_options *options, unsigned flags,
			      const struct image_policy *policy, bool is_data_file,
			      struct image **ret_img, GError **err);

/* Opens the bottom that @image names as its data file. */
int image_co_open_data_file(const char *filename, unsigned flags, const struct image_policy *policy,
			    const char *image, struct image **ret_img, GError **err);

/* Refuses names of what cannot be created. */
int image_check_new_name(const char *filename, GError **err);

/*
 * Creates the file that the name asks for, or truncates it (a block device stays as it was), and
 * adds it to opts->begun. The file gets those of opts->options that are for files.
 */
int image_co_create_bottom(const char *filename, const struct image_create_opts *opts,
			   GError **err);

/* Parses those options, with their defaults; NULL: none are given. */
int image_parse_file_options(GHashTable *options, struct bottom_create_opts *ret_opts,
			     GError **err);

/* ---- image_name.c ---- */

/*
 * The name of a node, as QEMU makes it: that of its file, or json:{...} where that alone would not
 * lead to the same node. The caller frees it.
 */
char *image_make_name(const struct image *img);

/* The file at the bottom, whatever nodes stand on it: names in an image are relative to it. */
const char *image_bottom_name(const struct image *img);

/* ---- node_flags.c ---- */

/*
 * Whether the values of the common options are possible, and what they make of IMAGE_* flags. A
 * node that shall not be written to cannot be opened for writing.
 */
int node_flags_apply(const struct node_options *options, unsigned *flags, GError **err);

enum image_detect_zeroes node_flags_detect_zeroes(const struct node_options *options);

/* ---- image_node.c ---- */

/* Create a node that is not open yet: of a format on @file, or a bottom node. */
struct image *image_node_new_format(const struct format_ops *ops, struct image *file,
				    unsigned flags);
struct image *image_node_new_bottom(const struct bottom_ops *ops, const char *filename,
				    unsigned flags);
void image_node_free(struct image *img);

/* Opens the node itself; on failure, the nodes below it stay open. */
int image_node_co_open(struct image *img, const struct image_open_opts *opts, GError **err);

/* image_co_new_bottom() with all options. */
int image_node_co_new_bottom(const struct bottom_ops *ops, const char *filename,
			     const struct image_open_opts *opts, void *opaque,
			     struct image **ret_img, GError **err);

/* ---- image_memory.c, image_io.c, image.c ---- */

/*
 * The memory account of a chain, with a limit; 0: the default. All its nodes but the bottoms have a
 * reference.
 */
struct image_memory *image_memory_new(uint64_t limit);
struct image_memory *image_memory_ref(struct image_memory *memory);
void image_memory_unref(struct image_memory *memory);

/* Writes zeroes as data, so that even the device below allocates space for them. */
int image_co_write_zero_data(struct image *img, uint64_t off, uint64_t bytes);

/*
 * File names may come from images: turns a message into one line, whatever it contains. Returns
 * @ret.
 */
int image_one_line(int ret, GError **err);

#endif
