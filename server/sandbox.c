// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a server gives up before it reads an image; see sandbox.h.
 *
 * The order matters: a network of its own needs a capability, another user needs two, and after
 * seccomp none of it can be asked for.
 */
#include "sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "annotations.h"
#include "error.h"
#include "image.h"
#include "process.h"
#include "report.h"

static struct sandbox_config config = { .mode = SANDBOX_OFF };
static GArray *places;
/* What could not be had, for people. */
static GString *missing;
static bool lacks_landlock;
static __thread bool thread_is_sealed;
static bool files_are_limited;
static bool has_changed_user;
static bool is_sealed;

static void clear_place(void *place)
{
	g_free(((struct sandbox_place *)place)->path);
}

void sandbox_allow(const char *path, unsigned rights, bool is_opening)
{
	struct sandbox_place place = { g_strdup(path), rights, is_opening };

	if (!places) {
		places = g_array_new(FALSE, FALSE, sizeof(place));
		g_array_set_clear_func(places, clear_place);
	}
	g_array_append_val(places, place);
}

/* ---- what is missing ---- */

void sandbox_note_missing(const char *format, ...)
{
	va_list args;

	if (!missing)
		missing = g_string_new(NULL);
	if (missing->len)
		g_string_append(missing, "; ");
	va_start(args, format);
	g_string_append_vprintf(missing, format, args);
	va_end(args);
}

/* 0 unless the sandbox is strict. */
static int check_missing(GError **err)
{
	if (!missing || config.mode != SANDBOX_STRICT)
		return 0;
	return error_refuse(err, -EPERM,
			    "--sandbox=strict: %s; --sandbox=auto continues without it",
			    missing->str);
}

void sandbox_explain(GError *err)
{
	char *explained;

	/* Once files are limited for good, that may be why, and no other user could open more. */
	if (!has_changed_user || err->code != EACCES || (is_sealed && files_are_limited))
		return;
	explained = g_strdup_printf("%s (for user %u%s; --user names another)", err->message,
				    config.uid,
				    config.must_change_user ? "" : ", the owner of the image");
	g_free(err->message);
	err->message = explained;
}

void sandbox_tell(void)
{
	if (missing)
		report_note("the sandbox is incomplete: %s", missing->str);
}

/* ---- the process ---- */

/* Nothing in it, not even the loopback device is up. */
static bool leave_network(void)
{
	return !config.connects && unshare(CLONE_NEWNET) == 0;
}

/* What capng_apply() or capng_change_id() leaves. Fails if it cannot be known what there is. */
static bool choose_capabilities(void)
{
	bool may_have_admin;

	if (process_may_have_admin(&may_have_admin) < 0)
		return false;
	capng_clear(CAPNG_SELECT_BOTH);
	if (config.keeps_admin && may_have_admin)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_ADMIN);
	return true;
}

static int change_user(GError **err)
{
	if (!config.changes_user)
		return 0;
	if (!choose_capabilities() ||
	    capng_change_id(config.uid, config.gid, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING)) {
		if (config.must_change_user)
			return error_refuse(err, -EPERM, "cannot become user %u", config.uid);
		/* In a container, the owner may have no number. */
		sandbox_note_missing("it cannot become user %u, the owner of the image",
				     config.uid);
	} else {
		has_changed_user = true;
	}
	/* The kernel has reset these. */
	prctl(PR_SET_DUMPABLE, config.core_dump, 0, 0, 0);
	daemon_follow_parent();
	return 0;
}

int sandbox_drop_last(GError **err)
{
	int res = process_drop_privileges();

	return res < 0 ? error_set(err, res, "cannot drop privileges") : 0;
}

/* From now on, no program gives them back. */
static int drop_privileges(GError **err)
{
	if (!config.keeps_admin)
		return sandbox_drop_last(err);
	if (!choose_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    capng_apply(CAPNG_SELECT_CAPS) < 0)
		return error_refuse(err, -EPERM, "cannot drop privileges");
	return 0;
}

/* ---- the layers ---- */

/* A kernel without Landlock, or a container that does not allow it. */
static void limit_files(bool is_opening)
{
	int res;

	if (!places)
		places = g_array_new(FALSE, FALSE, sizeof(struct sandbox_place));
	res = sandbox_limit_files(places, is_opening, config.connects);
	if (res < 0 && !lacks_landlock)
		sandbox_note_missing("Landlock, which restricts the files that it reaches: %s",
				     g_strerror(-res));
	lacks_landlock |= res < 0;
}

/* A kernel without seccomp, or a container that does not allow a filter. */
static void limit_calls(void)
{
	int res = sandbox_limit_calls(&config);

	if (res < 0)
		sandbox_note_missing("seccomp, which restricts its system calls: %s",
				     g_strerror(-res));
}

/* What loads code when it is first needed, which is refused from now on. */
static void load_early(void)
{
	const char *charset;

	/* What syslog() reads. */
	tzset();
	/* For the texts of errors; it is kept. */
	if (!g_get_charset(&charset))
		g_iconv_open("UTF-8", charset);
	if (config.compresses)
		image_load_compression();
}

int sandbox_enter(const struct sandbox_config *wanted, GError **err)
{
	bool has_network;
	int res;

	config = *wanted;
	if (config.mode == SANDBOX_OFF)
		return change_user(err) ?: drop_privileges(err);
#if defined(UBD_ASAN) || defined(UBD_TSAN)
	/* The sanitizer looks at the process itself. */
	sandbox_allow("/proc", SANDBOX_READ, false);
#endif
	load_early();
	has_network = !leave_network();
	res = change_user(err) ?: drop_privileges(err);
	if (res < 0)
		return res;
	limit_files(true);
	files_are_limited = !lacks_landlock;
	if (has_network && !config.connects && (lacks_landlock || !sandbox_files_refuse_tcp()))
		report_verbose("the network can only be refused by seccomp");
	limit_calls();
	return check_missing(err);
}

int sandbox_seal(GError **err)
{
	if (config.mode == SANDBOX_OFF)
		return 0;
	limit_files(false);
	is_sealed = true;
	thread_is_sealed = !lacks_landlock;
	return check_missing(err);
}

int sandbox_seal_thread(void)
{
	int res = files_are_limited ? sandbox_limit_files(places, false, config.connects) : 0;

	thread_is_sealed = !res;
	return res;
}

bool sandbox_thread_is_sealed(void)
{
	return thread_is_sealed;
}
