/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder for a test's files, and the programs that are run on them. */
#ifndef UBD_TESTS_SCRATCH_H
#define UBD_TESTS_SCRATCH_H

#include <stdbool.h>

/* Makes an empty folder; ends the process when it cannot. The caller frees the name. */
char *scratch_new(void);
/* Removes it with all files in it. */
void scratch_remove(const char *folder);

/* The name of a file in it. The caller frees it. */
char *scratch_file(const char *folder, const char *name);

/* Runs a program (ended by NULL) and ends this process, with what it said, when it fails. */
void run_or_die(const char *program, ...) __attribute__((sentinel));

/*
 * Whether `qemu-img check` finds the file free of corruption (leaks are fine
 * where @leaks_allowed); if not, *ret_output is what it said, for the caller to free.
 */
bool qemu_img_check(const char *filename, bool leaks_allowed, char **ret_output);

#endif
