/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of unprivileged devices share: an administrator who allows them, users
 * who are somebody else, and stages at which processes wait for each other.
 */
#ifndef UBD_TESTS_VM_DRIVER_USERS_H
#define UBD_TESTS_VM_DRIVER_USERS_H

#include "lib.h"

#define ALICE  1000
#define BOB    1001
#define SUBUID 100000 /* the first of those that an administrator has delegated */
#define MIN_ID 2048   /* of an unprivileged device */

void write_file(const char *path, const char *text);

/* ---- the administrator ---- */

void set_param(const char *name, const char *value);

/* Everybody may have two devices, all together 64. */
void allow(void);
void forbid(void);

/* ---- users ---- */

void become(uid_t uid);

/*
 * Becomes root of a user namespace of the caller's own, in which there are no other users, and
 * of @more namespaces. Before any io_uring command: its workers are threads.
 */
void enter_namespace(int more);

/* ADD_DEV of what most tests ask for. */
int try_add(struct ubdsrv_ctrl_dev_info *ret_info);

/* ---- stages ---- */

/* Before the fork; the stage is 0. */
void share_stage(void);
void reach(int stage);

/* Waits until another process has reached it. */
void await(int stage);

#endif
