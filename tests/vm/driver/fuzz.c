// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random commands, mappings and ends on every file of the driver: nothing may hang, nothing may be
 * left, and the kernel may not complain.
 *
 *	driver-fuzz [SECONDS [SEED]]
 *
 * A round is a process that lives for two seconds at most. Its threads share all they have
 * opened, mapped and added. One does what a server does, the others anything at any time, all with
 * a field wrong now and then. Then it exits or is killed. A round that is not over
 *some time after it was killed is a hang.
 */
#include "lib.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define THREADS	       3
#define DEVICES	       3
#define DEPTH	       4
#define QUEUES	       2
#define IO_BYTES       (64u << 10)
#define SECONDS_TO_END 60

/* For the whole run: what was done, and how often the driver agreed. */
static struct {
	_Atomic unsigned long actions, added, started, served, recovered, mapped, opened;
} * tally;

enum kind { CONTROL_FD, CHAR_NODE, CONTROL_NODE, DISK, KINDS };

#define PER_KIND 3

/* What the threads of a round share. -1 where there is no file. */
static _Atomic int files[KINDS][PER_KIND];
static _Atomic int served[KINDS];
static unsigned usual_id; /* of the one who serves */
static uint8_t *buffers;  /* QUEUES * DEPTH */

struct thread {
	uint64_t state;
	bool is_server;
	struct io_uring ring;
};

/* ---- chance ---- */

static uint64_t draw(struct thread *t)
{
	t->state ^= t->state << 13;
	t->state ^= t->state >> 7;
	t->state ^= t->state << 17;
	return t->state;
}

static unsigned below(struct thread *t, unsigned limit)
{
	return (draw(t) >> 20) % limit;
}

static bool one_in(struct thread *t, unsigned n)
{
	return below(t, n) == 0;
}

/* Numbers that tend to be a limit of something. */
static uint64_t odd_number(struct thread *t)
{
	static const uint64_t numbers[] = {
		0, 1, 7, 511, 512, 4095, 4096, 65535, 1u << 31, UINT32_MAX, INT64_MAX, UINT64_MAX
	};

	return one_in(t, 3) ? draw(t) : numbers[below(t, sizeof(numbers) / sizeof(*numbers))];
}

/* Now and then makes a word of a struct wrong. */
static void spoil(struct thread *t, void *data, size_t bytes)
{
	uint64_t number = odd_number(t);
	size_t width = 1u << below(t, 4);

	if (one_in(t, 40) && bytes >= width)
		memcpy((uint8_t *)data + below(t, bytes / width) * width, &number, width);
}

/* ---- files ---- */

/* That of the one who serves, or any; now and then one of another kind. */
static int file_of(struct thread *t, enum kind kind)
{
	if (t->is_server ? !one_in(t, 50) : one_in(t, 8))
		return served[kind];
	return files[one_in(t, 12) ? below(t, KINDS) : kind][below(t, PER_KIND)];
}

static void keep_file(struct thread *t, enum kind kind, int fd)
{
	int old;

	if (fd < 0)
		return;
	if (t->is_server)
		served[kind] = fd;
	old = atomic_exchange(&files[kind][below(t, PER_KIND)], fd);
	if (old >= 0)
		close(old);
}

static unsigned any_id(struct thread *t)
{
	if (t->is_server ? !one_in(t, 20) : one_in(t, 8))
		return usual_id;
	return one_in(t, 20) ? odd_number(t) : below(t, DEVICES);
}

/* ---- commands ---- */

static void handle_cqe(struct thread *t, const struct io_uring_cqe *cqe);
static void open_block(struct thread *t);

/* Submits, and takes what answers there are; waits for the first so long. */
static void wait_for_answers(struct thread *t, unsigned milliseconds)
{
	struct __kernel_timespec moment = { .tv_nsec = milliseconds * 1000000 };
	struct io_uring_cqe *cqe, copy;

	io_uring_submit(&t->ring);
	while (!io_uring_wait_cqe_timeout(&t->ring, &cqe, &moment)) {
		copy = *cqe;
		io_uring_cqe_seen(&t->ring, cqe);
		handle_cqe(t, &copy);
		moment.tv_nsec = 0;
	}
}

static void take_answers(struct thread *t)
{
	wait_for_answers(t, below(t, 3));
}

static struct io_uring_sqe *new_sqe(struct thread *t)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);

	if (!sqe) {
		io_uring_submit(&t->ring);
		sqe = io_uring_get_sqe(&t->ring);
	}
	return sqe;
}

/* user_data: the command, and for I/O commands queue and tag above. */
static void send_io(struct thread *t, int fd, uint32_t op, unsigned q_id, unsigned tag, int result)
{
	struct io_uring_sqe *sqe = new_sqe(t);
	unsigned slot = (q_id * DEPTH + tag) % (QUEUES * DEPTH);

	if (!sqe)
		return;
	prep_io(sqe, fd, op, q_id, tag, result, buffers + (size_t)slot * IO_BYTES);
	spoil(t, sqe->cmd, 16);
	if (one_in(t, 50))
		sqe->flags |= IOSQE_ASYNC;
	sqe->user_data = op | (uint64_t)q_id << 16 | (uint64_t)tag << 32;
}

static void handle_cqe(struct thread *t, const struct io_uring_cqe *cqe)
{
	unsigned op = cqe->user_data & 0xffff;
	bool fetch = op == UBD_IO_FETCH_REQ || op == UBD_IO_COMMIT_AND_FETCH_REQ;

	if (op == UBD_CMD_ADD_DEV && cqe->res >= 0) {
		tally->added++;
		keep_file(t, CONTROL_FD, cqe->res);
	} else if (op == UBD_CMD_OPEN_DEV && cqe->res >= 0) {
		keep_file(t, CONTROL_FD, cqe->res);
	} else if (op == UBD_CMD_OPEN_CHAR && cqe->res >= 0) {
		keep_file(t, CHAR_NODE, cqe->res);
	} else if (op == UBD_CMD_OPEN_BLOCK && cqe->res >= 0) {
		tally->opened++;
		keep_file(t, DISK, cqe->res);
	} else if (op == UBD_CMD_START_DEV && cqe->res == 0) {
		tally->started++;
		open_block(t);
	} else if (op == UBD_CMD_END_RECOVERY && cqe->res == 0) {
		tally->recovered++;
	} else if (fetch && cqe->res == UBD_IO_RES_OK) {
		tally->served++;
		send_io(t, file_of(t, CHAR_NODE), UBD_IO_COMMIT_AND_FETCH_REQ,
			cqe->user_data >> 16 & 0xffff, cqe->user_data >> 32 & 0xffff,
			one_in(t, 10) ? (int)draw(t) : 4096);
	}
}

static void send_control(struct thread *t, int fd, uint32_t op, const void *data, size_t bytes)
{
	/* What a command reads and writes must live until it is answered: for the whole round. */
	void *copy = malloc(bytes + 1);
	struct ubdsrv_ctrl_cmd cmd = { .len = bytes };
	struct io_uring_sqe *sqe = new_sqe(t);

	if (!sqe || !copy)
		return;
	memcpy(copy, data, bytes);
	spoil(t, copy, bytes);
	cmd.addr = bytes ? (uintptr_t)copy : 0;
	spoil(t, &cmd, sizeof(cmd));
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	sqe->user_data = op;
}

/* ---- actions ---- */

static void add(struct thread *t)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);

	info.queue_depth = DEPTH;
	info.max_io_bytes = IO_BYTES;
	info.dev_id = any_id(t);
	if (one_in(t, 2))
		info.flags = UBD_F_USER_RECOVERY | below(t, 3) << 1;
	send_control(t, fd, UBD_CMD_ADD_DEV, &info, sizeof(info));
	wait_for_answers(t, 100);
	keep_file(t, CONTROL_NODE, fd);
}

static void set_params(struct thread *t)
{
	struct ubd_params params = usual_params();

	params.max_io_sectors = IO_BYTES >> 9;
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_SET_PARAMS, &params, sizeof(params));
	wait_for_answers(t, 100);
}

static void open_char(struct thread *t)
{
	if (one_in(t, 2)) {
		keep_file(t, CHAR_NODE, open(char_node(any_id(t)), O_RDWR | O_CLOEXEC));
		return;
	}
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_OPEN_CHAR, NULL, 0);
	wait_for_answers(t, 100);
}

static void open_block(struct thread *t)
{
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_OPEN_BLOCK, NULL, 0);
}

static void map(struct thread *t)
{
	int prot = one_in(t, 4) ? below(t, 8) : PROT_READ;
	int flags = one_in(t, 4) ? MAP_PRIVATE : MAP_SHARED;
	uint64_t off = one_in(t, 4) ? odd_number(t) & ~4095ull
				    : ubd_desc_mmap_offset(below(t, QUEUES + 1));
	size_t bytes = one_in(t, 4) ? 1 + below(t, 1 << 20) : DEPTH * sizeof(struct ubdsrv_io_desc);
	volatile const uint8_t *memory = mmap(NULL, bytes, prot, flags, file_of(t, CHAR_NODE), off);

	if (memory == MAP_FAILED)
		return;
	tally->mapped++;
	if (prot & PROT_READ)
		(void)memory[0];
	mprotect((void *)memory, bytes, below(t, 8));
	if (one_in(t, 2))
		munmap((void *)memory, bytes);
}

static void fetch_all(struct thread *t)
{
	int fd = file_of(t, CHAR_NODE);

	for (unsigned i = 0; i < QUEUES * DEPTH; i++)
		send_io(t, fd, UBD_IO_FETCH_REQ, i / DEPTH, i % DEPTH, 0);
}

static void send_any_io(struct thread *t)
{
	send_io(t, file_of(t, CHAR_NODE), UBD_IO_FETCH_REQ + below(t, 4), below(t, QUEUES + 1),
		below(t, DEPTH + 1), one_in(t, 2) ? (int)draw(t) : 4096);
}

static void change_state(struct thread *t)
{
	static const uint32_t ops[] = { UBD_CMD_START_RECOVERY, UBD_CMD_END_RECOVERY,
					UBD_CMD_QUIESCE, UBD_CMD_STOP_DEV, UBD_CMD_DEL_DEV };

	send_control(t, file_of(t, CONTROL_FD), ops[below(t, sizeof(ops) / sizeof(*ops))], NULL, 0);
}

static void start(struct thread *t)
{
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_START_DEV, NULL, 0);
}

static void send_any_control(struct thread *t)
{
	uint8_t data[256];
	size_t bytes = one_in(t, 2) ? sizeof(struct ubdsrv_ctrl_dev_info) : below(t, sizeof(data));

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = one_in(t, 3) ? draw(t) : 0;
	send_control(t, file_of(t, below(t, KINDS)), below(t, 0x18), data, bytes);
}

static void open_by_id(struct thread *t)
{
	struct ubd_open_dev arg = { .dev_id = any_id(t) };
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);

	send_control(t, fd, UBD_CMD_OPEN_DEV, &arg, sizeof(arg));
	take_answers(t);
	keep_file(t, CONTROL_NODE, fd);
}

static void close_one(struct thread *t)
{
	int fd = atomic_exchange(&files[below(t, KINDS)][below(t, PER_KIND)], -1);

	if (fd >= 0)
		close(fd);
}

static void cancel(struct thread *t)
{
	struct io_uring_sqe *sqe = new_sqe(t);

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, UBD_IO_FETCH_REQ, IORING_ASYNC_CANCEL_ANY);
	sqe->user_data = 0;
}

static void change_ring(struct thread *t)
{
	io_uring_queue_exit(&t->ring);
	if (io_uring_queue_init(32, &t->ring, 0))
		_exit(0);
}

/* A user of the disk: a process of its own, for it may have to wait. */
static void use_disk(struct thread *t)
{
	unsigned id = any_id(t);
	uint64_t off = (uint64_t)below(t, 4096) * 4096;

	if (fork())
		return;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file_of(t, DISK));
	int fd = open(one_in(t, 2) ? path : block_node(id), O_RDWR | O_DIRECT | O_CLOEXEC);
	void *memory = aligned(4096);

	if (one_in(t, 2))
		(void)!pread(fd, memory, 4096, off);
	else
		(void)!pwrite(fd, memory, 4096, off);
	fsync(fd);
	_exit(0);
}

/* A child with what we have open does some of the above and goes. */
static void act(struct thread *t);

static void child_acts(struct thread *t)
{
	if (fork())
		return;
	if (!io_uring_queue_init(32, &t->ring, 0))
		for (unsigned i = below(t, 8); i; i--)
			act(t);
	_exit(0);
}

static void act(struct thread *t)
{
	static void (*const actions[])(struct thread *) = {
		add,
		add,
		set_params,
		set_params,
		open_char,
		open_char,
		map,
		fetch_all,
		fetch_all,
		fetch_all,
		start,
		start,
		start,
		send_any_io,
		send_any_io,
		change_state,
		send_any_control,
		open_by_id,
		open_block,
		close_one,
		use_disk,
		use_disk,
	};

	tally->actions++;
	if (one_in(t, 60))
		child_acts(t);
	else if (one_in(t, 60))
		cancel(t);
	else if (one_in(t, 80))
		change_ring(t);
	else
		actions[below(t, sizeof(actions) / sizeof(*actions))](t);
	take_answers(t);
}

/* What a server does, but for the chance in it. */
static void live(struct thread *t)
{
	static void (*const steps[])(struct thread *) = {
		add, set_params, open_char, map, fetch_all, start,
	};

	for (unsigned i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		steps[i](t);
		take_answers(t);
	}
	for (unsigned i = 0; i < 200; i++) {
		if (one_in(t, 10))
			act(t);
		take_answers(t);
	}
}

/* ---- rounds ---- */

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	if (io_uring_queue_init(32, &t->ring, 0))
		_exit(0);
	for (;;) {
		if (t->is_server)
			live(t);
		else
			act(t);
	}
	return NULL;
}

static void round_main(uint64_t seed)
{
	static struct thread threads[THREADS];
	struct thread chance = { .state = seed };
	pthread_t thread;

	setpgid(0, 0);
	buffers = aligned((size_t)QUEUES * DEPTH * IO_BYTES);
	memset(files, 0xff, sizeof(files));
	memset(served, 0xff, sizeof(served));
	usual_id = DEVICES;
	for (unsigned i = 0; i < THREADS; i++) {
		threads[i].state = draw(&chance);
		threads[i].is_server = i == 0;
		if (pthread_create(&thread, NULL, thread_main, &threads[i]))
			_exit(0);
	}
	usleep(200000 + below(&chance, 1800000));
	if (one_in(&chance, 2))
		_exit(0);
	pause();
}

static bool is_left(int group)
{
	return kill(-group, 0) == 0;
}

/* Where in the kernel the processes are that cannot be killed. */
static void tell_hang(void)
{
	fflush(stdout);
	(void)!system("for t in /proc/[0-9]*/task/*; do"
		      " case $(cat $t/comm)$(cat $t/stack) in driver-fuzz*|*ubd_*)"
		      " echo \"# $t $(cat $t/comm) $(grep State $t/status)\";"
		      " sed 's/^/#   /' $t/stack;; esac; done");
}

/* Devices with recovery keep their requests for a server that never comes. Returns how many. */
static unsigned delete_all(void)
{
	struct dirent *entry;
	unsigned id, count = 0;
	DIR *dir = opendir("/dev");
	int fd;

	while ((entry = readdir(dir))) {
		if (sscanf(entry->d_name, "ubdc%u", &id) != 1)
			continue;
		count++;
		fd = open_dev(id);
		if (fd < 0)
			continue;
		control(fd, UBD_CMD_DEL_DEV, NULL, 0);
		close(fd);
	}
	closedir(dir);
	return count;
}

static void run_round(uint64_t seed)
{
	int pid = fork();

	CHECK(pid >= 0);
	if (!pid)
		round_main(seed);
	usleep(2000000);
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	delete_all();
	waitpid(pid, NULL, WNOHANG);
	for (double end = now() + SECONDS_TO_END; is_left(pid) && now() < end; usleep(2000))
		waitpid(pid, NULL, WNOHANG);
	if (is_left(pid)) {
		tell_hang();
		fail("a round is not over %d s after it was killed\n", SECONDS_TO_END);
	}
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 10;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	unsigned rounds = 0;

	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	CHECK(tally != MAP_FAILED);
	for (double end = now() + seconds; now() < end; rounds++)
		run_round((seed + rounds) * 0x9e3779b97f4a7c15ull | 1);
	for (double end = now() + SECONDS_TO_END; delete_all() && now() < end;)
		usleep(2000);
	if (delete_all()) {
		tell_hang();
		fail("devices are left that cannot be deleted\n");
	}
	printf("seed %llu: %u rounds, %lu actions, %lu devices added, %lu started, %lu requests "
	       "served, %lu mappings, %lu recoveries, %lu disks opened\n",
	       (unsigned long long)seed, rounds, tally->actions, tally->added, tally->started,
	       tally->served, tally->mapped, tally->recovered, tally->opened);
	fflush(stdout);
	/* Else it tests less than it says. */
	CHECK(tally->added && tally->started && tally->served && tally->mapped);
	puts("ok the interfaces withstand random use");
	return 0;
}
