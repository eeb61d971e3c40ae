/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder for a test's files, and the programs that run on them. */
#ifndef UBD_TESTS_SCRATCH_H
#define UBD_TESTS_SCRATCH_H

#include <stdbool.h>

/* Creates an empty folder; ends the process if that fails. The caller frees the name. */
char *scratch_new(void);
/* Removes it with all files in it. */
void scratch_remove(const char *folder);

/* The name of a file in it. The caller frees it. */
char *scratch_file(const char *folder, const char *name);

/*
 * Runs a program (arguments end with NULL); ends this process with the program's output if it
 * fails.
 */
void run_or_die(const char *program, ...) __attribute__((sentinel));

/*
 * Whether `qemu-img check` finds the file free of corruption (leaks are fine if @leaks_allowed); if
 * not, *ret_output is its output, which the caller frees.
 */
bool qemu_img_check(const char *filename, bool leaks_allowed, char **ret_output);

#endif
