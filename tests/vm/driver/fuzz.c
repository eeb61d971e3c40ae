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
 * some time after it was killed is a hang.
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define THREADS	       3
#define SECONDS_TO_END 60

struct tally *tally;
uint64_t features;

/* ---- rounds ---- */

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	open_ring(t);
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
	begin_round(&chance);
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
	for (double end = now() + 2; waitpid(pid, NULL, WNOHANG) == 0 && now() < end;)
		usleep(2000);
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	delete_all();
	waitpid(pid, NULL, WNOHANG);
	for (double end = now() + SECONDS_TO_END; is_left(pid) && now() < end; usleep(2000))
		waitpid(pid, NULL, WNOHANG);
	if (is_left(pid)) {
		tell_tasks();
		fail("a round is not over %d s after it was killed\n", SECONDS_TO_END);
	}
}

static int ask_features(void)
{
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);
	int res = control(fd, UBD_CMD_GET_FEATURES, &features, sizeof(features));

	close(fd);
	return res;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 10;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	unsigned rounds = 0;

	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	CHECK(tally != MAP_FAILED);
	CHECK_EQ(ask_features(), 0);
	for (double end = now() + seconds; now() < end; rounds++)
		run_round((seed + rounds) * 0x9e3779b97f4a7c15ull | 1);
	for (double end = now() + SECONDS_TO_END; delete_all() && now() < end;)
		usleep(2000);
	if (delete_all()) {
		tell_tasks();
		fail("devices are left that cannot be deleted\n");
	}
	printf("seed %llu: %u rounds, %lu actions, %lu devices added, %lu started, %lu requests "
	       "served, %lu copies, %lu by the ring, %lu transfers of fixed buffers, %lu mappings, "
	       "%lu recoveries, %lu disks opened, %lu requests by batches\n",
	       (unsigned long long)seed, rounds, tally->actions, tally->added, tally->started,
	       tally->served, tally->copied, tally->copied_by_ring, tally->fixed, tally->mapped,
	       tally->recovered, tally->opened, tally->told);
	fflush(stdout);
	/* Else it tests less than it says. */
	CHECK(tally->added && tally->started && tally->served && tally->mapped);
	CHECK(tally->copied + tally->copied_by_ring + tally->fixed);
	CHECK(tally->told || !(features & UBD_F_BATCH));
	puts("ok the interfaces withstand random use");
	return 0;
}
