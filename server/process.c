// SPDX-License-Identifier: GPL-2.0-or-later
/* What the server does to its own process; see process.h. */
#include "process.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "pages.h"
#include "report.h"

/* Enough for the loop and GLib; the work is done on the stacks of coroutines. */
#define THREAD_STACK_SIZE (256 << 10)
/* How much of the stack of a thread is touched in advance. */
#define TOUCHED_STACK	  (32 << 10)

/* ---- daemon ---- */

static int daemon_parent_fd = -1;
static pid_t daemon_parent; /* 0: this is not a daemon, or it is live */

/* Waits until the child is live or dead; never returns. */
static void wait_for_child(pid_t child, int fd)
{
	char byte;
	ssize_t n;
	int status;

	do {
		n = read(fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	/* _exit(): the child writes what was buffered before the fork. */
	if (n == 1)
		_exit(0);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		report_error("ended by signal %d before the device was live", WTERMSIG(status));
	_exit(1);
}

int daemon_begin(GError **err)
{
	pid_t parent = getpid(), child;
	int fds[2];
	int error;

	if (pipe2(fds, O_CLOEXEC) < 0)
		goto fail;
	child = fork();
	if (child < 0) {
		error = errno;
		close(fds[0]);
		close(fds[1]);
		errno = error;
		goto fail;
	}
	if (child > 0) {
		close(fds[1]);
		wait_for_child(child, fds[0]);
	}
	close(fds[0]);
	daemon_parent_fd = fds[1];
	setsid();
	daemon_parent = parent;
	daemon_follow_parent();
	return 0;
fail:
	error = errno;
	return error_set(err, -error, "cannot become a daemon");
}

/* The parent waits until the device is live; a signal to the parent before that ends both. */
void daemon_follow_parent(void)
{
	if (!daemon_parent)
		return;
	prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	/* It has ended before that. */
	if (getppid() != daemon_parent)
		kill(getpid(), SIGTERM);
}

void daemon_live(bool keeps_stderr)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (!keeps_stderr)
		report_to_syslog();
	if (chdir("/") < 0)
		report_error("/: %s", g_strerror(errno));
	for (int fd = 0; null_fd >= 0 && fd <= 2; fd++)
		if (fd != STDERR_FILENO || !keeps_stderr)
			dup2(null_fd, fd);
	if (null_fd > 2)
		close(null_fd);
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	daemon_parent = 0;
	if (write(daemon_parent_fd, "", 1) < 0)
		report_verbose("no process waits for the device");
	close(daemon_parent_fd);
}

/* ---- signals ---- */

static void end_by_signal(int number)
{
	_exit(128 + number);
}

void process_heed_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action;

	for (size_t i = 0; getpid() == 1 && i < sizeof(signals) / sizeof(*signals); i++)
		if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler == SIG_DFL)
			signal(signals[i], end_by_signal);
}

/* ---- systemd ---- */

void process_mark(char **argv)
{
	if (argv[0] && argv[0][0])
		argv[0][0] = '@';
}

/* ---- memory ---- */

int process_be_io_flusher(void)
{
	return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int process_shun_oom_killer(void)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "we");

	if (!file)
		return -errno;
	fputs("-1000", file);
	return fclose(file) ? -errno : 0;
}

/* RLIMIT_CORE does not apply to programs that receive dumps. */
void process_forbid_core_dumps(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		report_note("cannot disable core dumps: %s", g_strerror(errno));
}

/* That of a shell or a service is low for the sake of select(2), which is not used here. */
void process_raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

void process_touch_stack(void)
{
	volatile char room[TOUCHED_STACK];

	for (size_t i = 0; i < sizeof(room); i += 1024)
		room[i] = 0;
}

/* Large ones that no request needs: GLib's, and those of the start. */
static bool is_never_needed(const char *path)
{
	static const char *const names[] = { "libpcre2-8.", "libm.", "libseccomp.", "libcap-ng." };
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* The program or a library: all of its code and data is read into memory, and stays, or goes. */
static int lock_object(struct dl_phdr_info *info, size_t bytes, void *arg)
{
	bool is_needed = !is_never_needed(info->dlpi_name);
	int *res = arg;

	for (unsigned i = 0; i < info->dlpi_phnum && !*res; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		void *start = (void *)(info->dlpi_addr + part->p_vaddr);

		if (part->p_type != PT_LOAD)
			continue;
		if (is_needed && mlock(start, part->p_memsz) < 0)
			*res = -errno;
		/* It is read from the file again if it is needed nevertheless. */
		if (!is_needed && !(part->p_flags & PF_W))
			pages_give_back(start, part->p_memsz);
	}
	return 0;
}

/*
 * Code that is not in memory would have to be read, perhaps from the disk that we serve, so it is
 * locked as a whole. Everything else is locked page by page as it is touched: what must not wait
 * for memory touches it beforehand, and the rest takes none. A page that is touched later is got
 * without any I/O (process_be_io_flusher()).
 */
int process_lock_memory(void)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	pthread_attr_t attr;
	int res = 0;

	/*
	 * The capabilities are dropped later, but the limit stays: later allocations must be
	 * allowed to lock memory. They would fail where we may not raise the limit.
	 */
	if (setrlimit(RLIMIT_MEMLOCK, &all) < 0)
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
	pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		return -errno;
	dl_iterate_phdr(lock_object, &res);
	process_touch_stack();
	return res;
}

/* ---- privileges ---- */

static bool has_none(const struct __user_cap_data_struct *data)
{
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		if (data[i].effective | data[i].permitted | data[i].inheritable)
			return false;
	return true;
}

/* libcap-ng would also read the process's file in /proc twice, for sets that are not asked for. */
int process_may_have_admin(bool *ret_may)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*ret_may = data[CAP_TO_INDEX(CAP_SYS_ADMIN)].permitted & CAP_TO_MASK(CAP_SYS_ADMIN);
	return 0;
}

int process_drop_privileges(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_capset, &header, data) < 0)
		return -errno;
	/* A system call filter may have answered instead of the kernel. */
	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	return has_none(data) && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : -EPERM;
}

/*
 * The commands of ublk_drv and nbd.ko; socket buffers for nbd.ko; and what writes back the disk and
 * sees who uses it, whoever's namespaces and files those are.
 */
int process_limit_keeper(void)
{
	static const unsigned kept[] = { CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SYS_PTRACE,
					 CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH };
	bool has[G_N_ELEMENTS(kept)];

	for (size_t i = 0; i < G_N_ELEMENTS(kept); i++)
		has[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
	capng_clear(CAPNG_SELECT_CAPS);
	for (size_t i = 0; i < G_N_ELEMENTS(kept); i++)
		if (has[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]);
	prctl(PR_SET_NAME, "ubd-control", 0, 0, 0);
	process_forbid_core_dumps();
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || capng_apply(CAPNG_SELECT_CAPS) < 0
		       ? -EPERM
		       : 0;
}
