/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests of ends share: servers in processes of their own, which can be killed, and those who
 * use their disks meanwhile.
 */
#ifndef UBD_TESTS_VM_DRIVER_ACTORS_H
#define UBD_TESTS_VM_DRIVER_ACTORS_H

#include "lib.h"

/*
 * Seconds on a machine that is very busy; else it takes no time. For what it is not told of the
 * driver looks after 30.
 */
#define SOON	    15.0

/* Requests from this sector on are kept by keep_if_told(). */
#define KEPT_SECTOR 16384

/* Seen by all processes of a test. */
struct shared {
	int id;	     /* of the device once it is live or recovered, before that -1 */
	int keeps;   /* requests behind KEPT_SECTOR are kept; from the start true */
	int nr_kept; /* requests that a server has had and not answered */
	int release; /* the test's own: somebody may go on, or is to end */
	int left;    /* the test's own: somebody has nothing more to do */
	int child;   /* the test's own: a process that a server has started */
	int step;    /* the test's own: how far somebody has got */
	int q_id;    /* kept.h: where the last request is that was kept */
	int tag;
	int control; /* kept.h: fds of the server of which clients are to keep no copy; or -1 */
	int ring;
	uint8_t *disk; /* what all servers of the test serve */
};

extern struct shared *shared;

/* Makes it, or begins anew. */
void share(void);

/* ---- servers ---- */

typedef int handle_fn(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer);

handle_fn keep_if_told;
handle_fn keep_all;

/* server_init() for a server of shared->disk that does keep_if_told(). */
void init_server(struct server *server);

/* Says that the device is there, and sleeps until it is killed. */
void serve_for_ever(struct server *server);

/* Waits until process @pid has said so, and returns @pid. */
int wait_for_server(int pid);

/* A server with UBD_F_* @flags in a process of its own; calls share(). */
int spawn_server(uint64_t flags);

/* The next server of the same device, which waits for it. */
int spawn_next(void);

void kill_server(int pid);

/* A control fd of the device, once its server is known to be gone. */
int open_waiting(void);

/* DEL_DEV from outside, and nothing of the device is left. */
void delete_device(void);

/* For spawn(): STOP_DEV, and the device is stopped. */
void stop_from_outside(void *arg);

/*
 * That in a process of its own: it waits for a server that does not answer, since @ret_disk has
 * a dirty page.
 */
int spawn_waiting_stop(int *ret_disk);

/* Both nodes go away soon. */
void check_gone(uint32_t id);

/* A control command of the process waits: what it does before that is done. */
bool is_waiting(int pid);

/* @run waits, and can be killed. */
void kill_waiting(void (*run)(void *), void *arg);

/* ---- users ---- */

struct client {
	struct io_uring ring;
	int disk;
	int nr;
	uint8_t *data[64];
};

/* Writes and reads in turn, of 4 KiB each, from @sector on; a write's bytes are its number. */
void client_submit(struct client *client, int nr, uint64_t sector);

/* Waits for all, and closes the disk; returns how many failed. */
int client_wait(struct client *client);

/* Writes of 512 bytes to 1 MiB arrive in the server's memory, and are read back. */
void check_write_and_read(const struct server *server, int disk);

/* What was written is on shared->disk. */
void check_written(const struct client *client, uint64_t sector);

/* For spawn(): reads and writes the first 4 MiB until that fails. */
void hammer(void *arg);

/*
 * For spawn(), of 64 blocks of 4 KiB from number *(int *)@arg on, all zero at first: writes each
 * with a number that grows, and finds it there the next time, until shared->release is set.
 */
void write_and_verify(void *arg);

/* An ext4 of the whole device at /mnt. */
void make_file_system(uint32_t id);
void mount_disk(uint32_t id);

#endif
