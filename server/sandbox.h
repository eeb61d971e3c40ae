/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rights that a server gives up before it reads an image. An attacker who takes it over, with a
 * hostile image, or as a client or guest, only gains the remaining rights.
 *
 * Call, in this order: sandbox_allow() for each place, sandbox_enter() once the image's file is
 * open but before it is read, sandbox_drop_last() right after that, and sandbox_seal() once
 * the image is open. All on the main thread; threads created afterwards inherit everything. No
 * other threads may exist, except that those created between sandbox_enter() and sandbox_seal()
 * may stay if they begin with sandbox_seal_thread(), because a thread cannot restrict another.
 *
 * docs/security.md says what each layer prevents.
 */
#ifndef UBD_SANDBOX_H
#define UBD_SANDBOX_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

enum sandbox_mode {
	SANDBOX_AUTO,	/* missing layers are reported */
	SANDBOX_STRICT, /* missing layers are errors */
	SANDBOX_OFF,	/* only capabilities are dropped */
};

enum sandbox_right {
	SANDBOX_READ = 1 << 0,	 /* files, and lists of folders */
	SANDBOX_WRITE = 1 << 1,	 /* existing files */
	SANDBOX_DEVICE = 1 << 2, /* ioctl() on devices opened there */
	SANDBOX_CREATE = 1 << 3, /* regular files */
	SANDBOX_REMOVE = 1 << 4, /* anything but folders */
};

struct sandbox_config {
	enum sandbox_mode mode;
	bool changes_user;
	bool must_change_user; /* otherwise a failure is only reported */
	bool has_owner;	       /* uid is that of the images */
	uid_t uid;	       /* if changes_user */
	gid_t gid;
	bool connects;	  /* to NBD servers, by whatever protocol */
	bool compresses;  /* what is written */
	bool core_dump;	  /* as --core-dump says */
	bool keeps_admin; /* CAP_SYS_ADMIN, if there, until sandbox_drop_last() */
};

/*
 * Allows access to @path and everything below it. @is_opening: only until sandbox_seal(). Ignored
 * if
 * @path does not exist.
 */
void sandbox_allow(const char *path, unsigned rights, bool is_opening);

/* 0 or -errno with @err set: the process may then have given up some rights, and should exit. */
int sandbox_enter(const struct sandbox_config *config, GError **err);
/*
 * Drops the last capability. Threads created since sandbox_enter() must drop theirs themselves.
 */
int sandbox_drop_last(GError **err);
int sandbox_seal(GError **err);
/* 0 or -errno. Any thread, also after sandbox_seal(). */
int sandbox_seal_thread(void);
/*
 * Whether the calling thread is sealed. If so, threads that it creates are sealed from the start,
 * and sandbox_seal_thread() would add the same restrictions a second time. Any thread.
 */
bool sandbox_thread_is_sealed(void);

/*
 * Adds to an error of opening the image how the sandbox has changed the necessary rights. Adds
 * nothing if it has not changed them, or if its file rules may be the reason.
 */
void sandbox_explain(GError *err);

/* For sandbox_tell(): a protection that this server lacks. */
void sandbox_note_missing(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Reports missing protections. Deferred, so that this is not printed next to a fatal error. */
void sandbox_tell(void);

/* ---- the layers; for sandbox.c ---- */

struct sandbox_place {
	char *path;
	unsigned rights; /* enum sandbox_right */
	bool is_opening;
};

/*
 * Landlock: limits this thread, and those it creates, to the files in @places (struct
 * sandbox_place). 0, or -errno if it is unavailable.
 */
int sandbox_limit_files(const GArray *places, bool is_opening, bool connects);
/* Whether Landlock also refuses TCP. */
bool sandbox_files_refuse_tcp(void);

/* seccomp: only the system calls that a server uses. As above. */
int sandbox_limit_calls(const struct sandbox_config *config);

#endif
