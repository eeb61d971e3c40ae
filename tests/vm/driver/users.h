/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of unprivileged devices share: an administrator who allows them, other users, and
 * stages at which processes wait for each other.
 */
#ifndef UBD_TESTS_VM_DRIVER_USERS_H
#define UBD_TESTS_VM_DRIVER_USERS_H

#include "lib.h"

#define ALICE  1000
#define BOB    1001
#define SUBUID 100000 /* the first of the uids that an administrator has delegated */
#define MIN_ID 2048   /* of an unprivileged device */

void write_file(const char *path, const char *text);

/* ---- the administrator ---- */

void set_param(const char *name, const char *value);

/* Each user may have two devices, and all users together 64. */
void allow(void);
void forbid(void);

/* ---- users ---- */

void become(uid_t uid);

/*
 * Becomes root of the caller's own user namespace, in which there are no other users, and of @more
 * namespaces. Call it before any io_uring command: io_uring's workers are threads.
 */
void enter_namespace(int more);

/* ADD_DEV of what most tests ask for. */
int try_add(struct ubdsrv_ctrl_dev_info *ret_info);

/* ---- stages ---- */

/* Call it before the fork; the stage is 0. */
void share_stage(void);
void reach(int stage);

/* Waits until another process has reached the stage. */
void await(int stage);

#endif
