/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the unit tests of formats/ share: test bodies that are coroutines, a folder for files. */
#ifndef UBD_IMAGE_TEST_H
#define UBD_IMAGE_TEST_H

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "image_ops.h"
#include "test-engine.h"

static inline void run_co(co_fn *fn, void *arg)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop = aio_loop_new_with(test_engine(), 64, &err);

	g_assert_no_error(err);
	aio_loop_run_co(loop, fn, arg);
	aio_loop_free(loop);
}

/* A test whose body runs as a coroutine. */
#define CO_TEST(name)                                                                              \
	static void name##_co(void *unused);                                                       \
	static void name(void)                                                                     \
	{                                                                                          \
		run_co(name##_co, NULL);                                                           \
	}                                                                                          \
	static void name##_co(void *unused)

/* The process works in its own folder, so names are short; each test starts with an empty one. */
static inline char *enter_scratch(void)
{
	char *folder = g_dir_make_tmp("ubd-unit-XXXXXX", NULL);

	g_assert_nonnull(folder);
	g_assert_cmpint(g_chdir(folder), ==, 0);
	return folder;
}

static inline int leave_scratch(char *folder, int status)
{
	g_autofree char *command = g_strdup_printf("rm -rf '%s'", folder);

	g_assert_cmpint(g_chdir("/"), ==, 0);
	g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
	g_free(folder);
	return status;
}

static inline void write_file(const char *name, const void *data, size_t bytes)
{
	g_assert_true(g_file_set_contents(name, data, bytes, NULL));
}

static inline struct image *co_open_ok(const char *name, const char *format, unsigned flags)
{
	struct image_open_opts opts = { .format = format, .flags = flags };
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	image_co_open(name, &opts, &img, &err);
	g_assert_no_error(err);
	return img;
}

/* Expects opening to fail with one line that names the file and contains @words. */
static inline void co_open_fails(const char *name, const char *format, unsigned flags, int code,
				 const char *words)
{
	struct image_open_opts opts = { .format = format, .flags = flags };
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	g_assert_cmpint(image_co_open(name, &opts, &img, &err), ==, -code);
	g_assert_error(err, UBD_ERROR, code);
	g_assert_null(img);
	g_assert_nonnull(strstr(err->message, name));
	g_assert_null(strchr(err->message, '\n'));
	if (!strstr(err->message, words))
		g_error("'%s' does not say '%s'", err->message, words);
}

static inline void co_create_ok(const char *name, const char *format, uint64_t size,
				const char *backing, const char *backing_format)
{
	struct image_create_opts opts = {
		.size = size,
		.size_given = size,
		.backing_filename = backing,
		.backing_format = backing_format,
		.backing_unchecked = backing && size,
	};
	g_autoptr(GError) err = NULL;

	image_co_create(name, format, &opts, NULL, &err);
	g_assert_no_error(err);
}

/*
 * A thread that has reserved stacks, and all are in use. It keeps what it has reserved, so tests
 * with this come last.
 */
struct no_stacks {
	unsigned nr;
	struct coroutine **parked;
};

static inline void no_stacks_park(void *arg)
{
	co_wait_at(arg);
}

static inline void no_stacks_begin(struct no_stacks *none)
{
	g_assert_cmpint(co_reserve(1), ==, 0);
	none->nr = co_spare();
	/* Also those that should not be there. */
	co_keep(none->nr + 100);
	none->parked = g_new(struct coroutine *, none->nr);
	for (unsigned i = 0; i < none->nr; i++)
		co_start(no_stacks_park, &none->parked[i]);
	g_assert_false(co_has_stack());
	co_reschedule();
}

/* No more have been allocated, if so many other coroutines have ended meanwhile. */
static inline void no_stacks_end(struct no_stacks *none, unsigned ended)
{
	g_assert_cmpuint(co_spare(), ==, ended);
	for (unsigned i = 0; i < none->nr; i++)
		co_wake_at(&none->parked[i]);
	co_reschedule();
	g_assert_cmpuint(co_spare(), ==, none->nr + ended);
	g_free(none->parked);
}

#endif
