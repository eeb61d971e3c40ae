/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests of user copy share: a server with UBD_F_USER_COPY, and one request, for KEPT_BYTES
 * from KEPT_SECTOR on, that its threads keep and the test serves by hand.
 */
#ifndef UBD_TESTS_VM_DRIVER_KEPT_H
#define UBD_TESTS_VM_DRIVER_KEPT_H

#include "actors.h"

#define KEPT_BYTES 65536

/* Private memory. */
void *map_pages(size_t size);

/* init_server() for it with UBD_F_* @flags; everything up to the start; both, after share(). */
void init_kept_server(struct server *server, uint64_t flags);
void run_kept_server(struct server *server);
void run_copy_server(struct server *server);

/* What write_kept() writes and read_kept() expects, or the first part of it. */
void fill_kept(uint8_t *data, size_t size);

/* ---- clients: processes that do one thing to the disk ---- */

void write_kept(void *arg);
void read_kept(void *arg);
void fail_to_write_kept(void *arg);

/* One of these, whose request the server keeps now. */
int spawn_client(void (*run)(void *));
bool is_running(int pid);

/* ---- the request ---- */

/* The offset of its data in ubdcN. */
off_t kept_data(void);

/* The errors, or 0, of a pread() and a pwrite() of ubdcN. */
void check_copies(int cdev, off_t off, size_t bytes, int read_error, int write_error);

/* COMMIT_REQ; returns cqe->res. */
int commit_kept(const struct server *server, int result);

#endif
