// SPDX-License-Identifier: GPL-2.0-or-later
/* The choice of a kernel driver; see driver.h. */
#include "driver.h"

#include <stdarg.h>
#include <unistd.h>

#include "report.h"

/* The program with which the kernel itself loads modules. */
#define HELPER_SETTING "/proc/sys/kernel/modprobe"

/* What driver_tell() reports. Main thread. */
static GPtrArray *notes;

static void note(const char *format, ...) G_GNUC_PRINTF(1, 2);

static void note(const char *format, ...)
{
	va_list args;

	if (!notes)
		notes = g_ptr_array_new_with_free_func(g_free);
	va_start(args, format);
	g_ptr_array_add(notes, g_strdup_vprintf(format, args));
	va_end(args);
}

void driver_tell(void)
{
	for (unsigned i = 0; notes && i < notes->len; i++)
		report_verbose("%s", (const char *)g_ptr_array_index(notes, i));
	g_clear_pointer(&notes, g_ptr_array_unref);
}

static bool is_loaded(const struct transport_ops *driver)
{
	return access(driver->node, F_OK) == 0;
}

/* Runs modprobe, which says nothing if there is no such module. */
static bool load(const struct transport_ops *driver)
{
	g_autofree char *helper = NULL;
	char *argv[] = { NULL, (char *)"-q", (char *)driver->module, NULL };
	int status;

	if (!g_file_get_contents(HELPER_SETTING, &helper, NULL, NULL) || !*g_strchomp(helper))
		return false;
	argv[0] = helper;
	return g_spawn_sync(NULL, argv, NULL,
			    G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
			    NULL, NULL, &status, NULL) &&
	       g_spawn_check_wait_status(status, NULL) && is_loaded(driver);
}

/* There, and fit for this server. */
static bool is_usable(const struct transport_ops *driver)
{
	g_autoptr(GError) why = NULL;
	unsigned features;
	bool was_loaded = is_loaded(driver);

	if (!was_loaded && !load(driver)) {
		note("driver %s: it is not loaded, and modprobe %s did not load it", driver->name,
		     driver->module);
		return false;
	}
	if (driver->get_features(&features, &why) < 0) {
		note("driver %s: %s", driver->name, why->message);
		return false;
	}
	note("driver %s: %s", driver->name, was_loaded ? "it is loaded" : "loaded by modprobe");
	return true;
}

const struct transport_ops *driver_choose(enum transport_driver wanted)
{
	if (wanted != DRIVER_AUTO) {
		if (!is_loaded(transports[wanted]) && load(transports[wanted]))
			note("driver %s: loaded by modprobe", transports[wanted]->name);
		return transports[wanted];
	}
	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++)
		if (is_usable(transports[i]))
			return transports[i];
	/* So that the error is about what is there. */
	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++)
		if (is_loaded(transports[i]))
			return transports[i];
	return transports[0];
}
