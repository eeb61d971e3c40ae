/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests of ends share: servers in their own processes, which can be killed, and processes that
 * use the disks meanwhile.
 */
#ifndef UBD_TESTS_VM_DRIVER_ACTORS_H
#define UBD_TESTS_VM_DRIVER_ACTORS_H

#include "lib.h"

/*
 * A limit in seconds for very busy machines; otherwise it takes no time. The driver looks every 30
 * seconds for what nobody tells it.
 */
#define SOON	    15.0

/* Requests from this sector on are kept by keep_if_told(). */
#define KEPT_SECTOR 16384

/* Seen by all processes of a test. */
struct shared {
	int id;	     /* of the device once it is live or recovered; -1 before */
	int keeps;   /* requests behind KEPT_SECTOR are kept; initially true */
	int nr_kept; /* requests that a server has had and not answered */
	int release; /* the test's own: a process may continue, or must end */
	int left;    /* the test's own: a process has nothing left to do */
	int child;   /* the test's own: a process that a server has started */
	int step;    /* the test's own: how far a process has got */
	int q_id;    /* kept.h: where the last kept request is */
	int tag;
	int control; /* kept.h: the server's fds that clients must not keep copies of; or -1 */
	int ring;
	uint8_t *disk; /* what all servers of the test serve */
};

extern struct shared *shared;

/* Creates or resets it. */
void share(void);

/* ---- servers ---- */

typedef int handle_fn(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer);

handle_fn keep_if_told;
handle_fn keep_all;

/* server_init() for a server of shared->disk that uses keep_if_told(). */
void init_server(struct server *server);

/* Reports that the device exists, and sleeps until killed. */
void serve_for_ever(struct server *server);

/* Waits until process @pid has reported that, and returns @pid. */
int wait_for_server(int pid);

/* A server with UBD_F_* @flags in its own process; calls share(). */
int spawn_server(uint64_t flags);

/* The next server of the same device, which waits for it. */
int spawn_next(void);

void kill_server(int pid);

/* A control fd of the device, once its server is known to have gone. */
int open_waiting(void);

/* DEL_DEV from outside; checks that nothing of the device is left. */
void delete_device(void);

/* For spawn(): STOP_DEV; checks that the device is stopped. */
void stop_from_outside(void *arg);

/*
 * The same in its own process, which waits for a server that does not answer, because @ret_disk has
 * a dirty page.
 */
int spawn_waiting_stop(int *ret_disk);

/* Waits until both nodes are gone. */
void check_gone(uint32_t id);

/* Waits until a control command of the process waits: everything before that is done. */
bool is_waiting(int pid);

/* Checks that @run waits, and can be killed. */
void kill_waiting(void (*run)(void *), void *arg);

/* ---- users ---- */

struct client {
	struct io_uring ring;
	int disk;
	int nr;
	uint8_t *data[64];
};

/* Alternating writes and reads of 4 KiB, from @sector on; a write consists of its number. */
void client_submit(struct client *client, int nr, uint64_t sector);

/* Waits for all, and closes the disk; returns how many failed. */
int client_wait(struct client *client);

/* Checks that writes of 512 bytes to 1 MiB arrive in the server's memory, and can be read back. */
void check_write_and_read(const struct server *server, int disk);

/* Checks that shared->disk has what was written. */
void check_written(const struct client *client, uint64_t sector);

/* For spawn(): reads and writes the first 4 MiB until that fails. */
void hammer(void *arg);

/*
 * For spawn(), with 64 blocks of 4 KiB from number *(int *)@arg on, all zero at first: writes each
 * with an increasing number, and checks it the next time, until shared->release is set.
 */
void write_and_verify(void *arg);

/* Mounts an ext4 of the whole device at /mnt. */
void make_file_system(uint32_t id);
void mount_disk(uint32_t id);

#endif
