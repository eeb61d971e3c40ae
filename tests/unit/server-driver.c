// SPDX-License-Identifier: GPL-2.0-or-later
/* Which driver a server takes, of drivers and modules that the test makes up. */
#include <errno.h>
#include <glib.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"
#include "error.h"
#include "options.h"
#include "transport.h"

/* ---- the kernel ---- */

static bool loaded[TRANSPORT_DRIVERS], loadable[TRANSPORT_DRIVERS], too_old[TRANSPORT_DRIVERS];
static const char *helper;
static GString *told, *ran;

#define FAKE(nr, text)                                                                             \
	static int features_##text(unsigned *ret_features, GError **err)                           \
	{                                                                                          \
		return too_old[nr] ? error_refuse(err, -EOPNOTSUPP, #text " is too old") : 0;      \
	}                                                                                          \
	static const struct transport_ops fake_##text = {                                          \
		.driver = nr,                                                                      \
		.name = #text,                                                                     \
		.module = #text "_mod",                                                            \
		.node = "/node/" #text,                                                            \
		.get_features = features_##text,                                                   \
	}

FAKE(TRANSPORT_UBD, ubd);
FAKE(TRANSPORT_UBLK, ublk);
FAKE(TRANSPORT_NBD, nbd);

/* In place of control/transports.c. */
const struct transport_ops *const transports[] = { &fake_ubd, &fake_ublk, &fake_nbd };

const struct transport_ops *transport_by_name(const char *name, uint32_t *ret_id)
{
	return NULL;
}

int __wrap_access(const char *path, int mode);
gboolean __wrap_g_file_get_contents(const char *path, char **text, gsize *length, GError **err);
gboolean __wrap_g_spawn_sync(const char *folder, char **argv, char **envp, GSpawnFlags flags,
			     GSpawnChildSetupFunc setup, void *data, char **out, char **errors,
			     int *status, GError **err);
void __wrap_report_verbose(const char *format, ...);

int __wrap_access(const char *path, int mode)
{
	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++)
		if (strcmp(path, transports[i]->node) == 0 && loaded[i])
			return 0;
	errno = ENOENT;
	return -1;
}

gboolean __wrap_g_file_get_contents(const char *path, char **text, gsize *length, GError **err)
{
	g_assert_cmpstr(path, ==, "/proc/sys/kernel/modprobe");
	*text = g_strdup_printf("%s\n", helper);
	return TRUE;
}

gboolean __wrap_g_spawn_sync(const char *folder, char **argv, char **envp, GSpawnFlags flags,
			     GSpawnChildSetupFunc setup, void *data, char **out, char **errors,
			     int *status, GError **err)
{
	g_autofree char *line = g_strjoinv(" ", argv);

	g_string_append_printf(ran, "%s;", line);
	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++)
		if (strcmp(argv[2], transports[i]->module) == 0)
			loaded[i] = loadable[i];
	*status = 0;
	return TRUE;
}

void __wrap_report_verbose(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_string_append_vprintf(told, format, args);
	g_string_append_c(told, '\n');
	va_end(args);
}

/* ---- tests ---- */

static void play(void)
{
	memset(loaded, 0, sizeof(loaded));
	memset(loadable, 0, sizeof(loadable));
	memset(too_old, 0, sizeof(too_old));
	helper = "/sbin/modprobe";
	g_string_truncate(told, 0);
	g_string_truncate(ran, 0);
}

static void assert_chosen(int wanted, enum transport_driver chosen, const char *words)
{
	g_assert_cmpint(driver_choose(wanted)->driver, ==, chosen);
	driver_tell();
	g_assert_cmpstr(told->str, ==, words);
}

static void test_first_that_is_loaded(void)
{
	play();
	loaded[TRANSPORT_UBD] = loaded[TRANSPORT_UBLK] = loaded[TRANSPORT_NBD] = true;
	assert_chosen(DRIVER_AUTO, TRANSPORT_UBD, "driver ubd: it is loaded\n");
	g_assert_cmpstr(ran->str, ==, "");
}

static void test_first_that_can_be_loaded(void)
{
	play();
	loadable[TRANSPORT_UBLK] = loadable[TRANSPORT_NBD] = true;
	assert_chosen(DRIVER_AUTO, TRANSPORT_UBLK,
		      "driver ubd: it is not loaded, and modprobe ubd_mod did not load it\n"
		      "driver ublk: loaded by modprobe\n");
	g_assert_cmpstr(ran->str, ==, "/sbin/modprobe -q ubd_mod;/sbin/modprobe -q ublk_mod;");
}

static void test_not_one_that_is_too_old(void)
{
	play();
	loaded[TRANSPORT_UBD] = too_old[TRANSPORT_UBD] = true;
	loadable[TRANSPORT_UBLK] = too_old[TRANSPORT_UBLK] = true;
	loadable[TRANSPORT_NBD] = true;
	assert_chosen(DRIVER_AUTO, TRANSPORT_NBD,
		      "driver ubd: ubd is too old\n"
		      "driver ublk: ublk is too old\n"
		      "driver nbd: loaded by modprobe\n");
}

/* The error that follows is about a driver that is there. */
static void test_one_that_is_there_if_none_will_do(void)
{
	play();
	loaded[TRANSPORT_UBLK] = too_old[TRANSPORT_UBLK] = true;
	g_assert_cmpint(driver_choose(DRIVER_AUTO)->driver, ==, TRANSPORT_UBLK);
	play();
	g_assert_cmpint(driver_choose(DRIVER_AUTO)->driver, ==, TRANSPORT_UBD);
	driver_tell();
}

static void test_one_that_is_asked_for(void)
{
	play();
	loaded[TRANSPORT_UBD] = loadable[TRANSPORT_NBD] = true;
	assert_chosen(TRANSPORT_NBD, TRANSPORT_NBD, "driver nbd: loaded by modprobe\n");
	g_assert_cmpstr(ran->str, ==, "/sbin/modprobe -q nbd_mod;");
	play();
	loaded[TRANSPORT_UBD] = true;
	assert_chosen(TRANSPORT_NBD, TRANSPORT_NBD, "");
}

/* An administrator may have forbidden it. */
static void test_nothing_is_loaded_without_a_helper(void)
{
	play();
	helper = "";
	loadable[TRANSPORT_UBD] = true;
	g_assert_cmpint(driver_choose(DRIVER_AUTO)->driver, ==, TRANSPORT_UBD);
	g_assert_false(loaded[TRANSPORT_UBD]);
	g_assert_cmpstr(ran->str, ==, "");
	driver_tell();
}

int main(int argc, char **argv)
{
	int ret;

	told = g_string_new(NULL);
	ran = g_string_new(NULL);
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/server/driver/first-that-is-loaded", test_first_that_is_loaded);
	g_test_add_func("/server/driver/first-that-can-be-loaded", test_first_that_can_be_loaded);
	g_test_add_func("/server/driver/not-one-that-is-too-old", test_not_one_that_is_too_old);
	g_test_add_func("/server/driver/one-that-is-there-if-none-will-do",
			test_one_that_is_there_if_none_will_do);
	g_test_add_func("/server/driver/one-that-is-asked-for", test_one_that_is_asked_for);
	g_test_add_func("/server/driver/nothing-is-loaded-without-a-helper",
			test_nothing_is_loaded_without_a_helper);
	ret = g_test_run();
	g_string_free(told, TRUE);
	g_string_free(ran, TRUE);
	return ret;
}
