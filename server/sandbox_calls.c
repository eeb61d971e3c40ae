// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * seccomp: which system calls the server makes; see sandbox_calls.h.
 *
 * Everything else fails with EPERM, so that a library that tries something new goes on without it.
 * What rings of io_uring are asked for is no system call: aio/ring_limits.c.
 */
#include "sandbox_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <liburing.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "annotations.h"

#define ALLOW(name) SCMP_SYS(name)

/* s390x has the stack first. */
#ifdef __s390x__
#define CLONE_FLAGS_ARGUMENT 1
#else
#define CLONE_FLAGS_ARGUMENT 0
#endif

/* Whatever the arguments are. */
static const int allowed[] = {
	/* files and descriptors */
	ALLOW(access),
	ALLOW(close),
	ALLOW(close_range),
	ALLOW(dup),
	ALLOW(dup2),
	ALLOW(dup3),
	ALLOW(faccessat),
	ALLOW(faccessat2),
	ALLOW(fadvise64),
	ALLOW(fallocate),
	ALLOW(fchdir),
	ALLOW(chdir),
	ALLOW(fdatasync),
	ALLOW(flock),
	ALLOW(fstat),
	ALLOW(fstatfs),
	ALLOW(fsync),
	ALLOW(ftruncate),
	ALLOW(getcwd),
	ALLOW(getdents64),
	ALLOW(linkat),
	ALLOW(lseek),
	ALLOW(lstat),
	ALLOW(newfstatat),
	ALLOW(open),
	ALLOW(openat),
	ALLOW(openat2),
	ALLOW(pread64),
	ALLOW(preadv),
	ALLOW(preadv2),
	ALLOW(pwrite64),
	ALLOW(pwritev),
	ALLOW(pwritev2),
	ALLOW(read),
	ALLOW(readlink),
	ALLOW(readlinkat),
	ALLOW(readv),
	ALLOW(stat),
	ALLOW(statfs),
	ALLOW(statx),
	ALLOW(sync),
	ALLOW(sync_file_range),
	ALLOW(syncfs),
	ALLOW(unlink),
	ALLOW(unlinkat),
	ALLOW(write),
	ALLOW(writev),
	/* waiting */
	ALLOW(clock_nanosleep),
	ALLOW(epoll_create1),
	ALLOW(epoll_ctl),
	ALLOW(epoll_pwait),
	ALLOW(epoll_wait),
	ALLOW(eventfd2),
	ALLOW(nanosleep),
	ALLOW(pipe2),
	ALLOW(poll),
	ALLOW(ppoll),
	ALLOW(pselect6),
	ALLOW(select),
	ALLOW(timerfd_create),
	ALLOW(timerfd_settime),
	/* sockets; which ones can be made is below */
	ALLOW(accept),
	ALLOW(accept4),
	ALLOW(connect),
	ALLOW(getpeername),
	ALLOW(getsockname),
	ALLOW(getsockopt),
	ALLOW(recvfrom),
	ALLOW(recvmsg),
	ALLOW(sendmmsg),
	ALLOW(sendmsg),
	ALLOW(sendto),
	ALLOW(setsockopt),
	ALLOW(shutdown),
	/* io_uring; of rings that are there, all of which are limited (aio/ring_limits.c) */
	ALLOW(io_uring_enter),
	/* memory; code only as it is */
	ALLOW(brk),
	ALLOW(madvise),
	ALLOW(membarrier),
	ALLOW(mlock),
	ALLOW(mlock2),
	ALLOW(mlockall),
	ALLOW(mremap),
	ALLOW(munlock),
	ALLOW(munmap),
	/* threads, signals, time */
	ALLOW(clock_getres),
	ALLOW(clock_gettime),
	ALLOW(exit),
	ALLOW(exit_group),
	ALLOW(futex),
	ALLOW(get_robust_list),
	ALLOW(getrandom),
	ALLOW(gettimeofday),
	ALLOW(restart_syscall),
	ALLOW(rseq),
	ALLOW(rt_sigaction),
	ALLOW(rt_sigpending),
	ALLOW(rt_sigprocmask),
	ALLOW(rt_sigreturn),
	ALLOW(rt_sigsuspend),
	ALLOW(rt_sigtimedwait),
	ALLOW(sched_getaffinity),
	ALLOW(sched_yield),
	ALLOW(set_robust_list),
	ALLOW(set_tid_address),
	ALLOW(sigaltstack),
	ALLOW(signalfd4),
	ALLOW(time),
	ALLOW(uname),
	/* the process itself; capset() only gives up what was not given up yet */
	ALLOW(capget),
	ALLOW(capset),
	ALLOW(getegid),
	ALLOW(geteuid),
	ALLOW(getgid),
	ALLOW(getpgrp),
	ALLOW(getpid),
	ALLOW(getppid),
	ALLOW(getrlimit),
	ALLOW(getrusage),
	ALLOW(gettid),
	ALLOW(getuid),
	ALLOW(sysinfo),
	ALLOW(umask),
	/* more of this: another layer only takes away */
	ALLOW(landlock_add_rule),
	ALLOW(landlock_create_ruleset),
	ALLOW(landlock_restrict_self),
	ALLOW(seccomp),
};

#if defined(UBD_ASAN) || defined(UBD_TSAN)
#define HAS_SANITIZER 1
/* What sanitizers do at the end of a program, and when they have found something. */
static const int allowed_to_sanitizers[] = {
	ALLOW(clone),  ALLOW(clone3),	 ALLOW(execve), ALLOW(kill),
	ALLOW(mmap),   ALLOW(mprotect),	 ALLOW(pipe),	ALLOW(prctl),
	ALLOW(ptrace), ALLOW(tgkill),	 ALLOW(vfork),	ALLOW(wait4),
	ALLOW(waitid), ALLOW(setrlimit), ALLOW(fork),	ALLOW(personality),
};
#endif

static int allow_all(scmp_filter_ctx filter, const int *calls, size_t nr)
{
	int res = 0;

	/* -EDOM: this machine has no such call. */
	for (size_t i = 0; i < nr && (!res || res == -EDOM); i++)
		res = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return res == -EDOM ? 0 : res;
}

/* With one of these values in the argument @arg. */
static int allow_values(scmp_filter_ctx filter, int call, unsigned arg, const int *values,
			size_t nr)
{
	int res = 0;

	for (size_t i = 0; i < nr && !res; i++)
		res = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
				       SCMP_CMP(arg, SCMP_CMP_EQ, values[i], 0));
	return res;
}

static int allow_prctl(scmp_filter_ctx filter)
{
	static const int options[] = { PR_GET_DUMPABLE, PR_GET_NAME,	     PR_GET_NO_NEW_PRIVS,
				       PR_SET_NAME,	PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG,
				       PR_SET_VMA };

	return allow_values(filter, SCMP_SYS(prctl), 0, options, G_N_ELEMENTS(options));
}

/*
 * What a ring in use needs. Not restrictions: a ring has them before it is used, for good; nor what
 * keeps the rights of the moment for later (IORING_REGISTER_PERSONALITY).
 */
static int allow_rings(scmp_filter_ctx filter)
{
	static const int operations[] = { IORING_REGISTER_ENABLE_RINGS,
					  IORING_REGISTER_BUFFERS_UPDATE, IORING_REGISTER_PBUF_RING,
					  IORING_UNREGISTER_PBUF_RING };

	return allow_values(filter, SCMP_SYS(io_uring_register), 1, operations,
			    G_N_ELEMENTS(operations));
}

/* Of the calling thread or the process; other processes of the user have these, too. */
static int allow_own_limits(scmp_filter_ctx filter)
{
	int res = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
				   SCMP_A0(SCMP_CMP_EQ, 0, 0));

	return res
		       ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sched_setaffinity), 1,
					   SCMP_A0(SCMP_CMP_EQ, 0, 0));
}

/* Not what has signals sent to other processes (F_SETOWN, F_SETSIG). */
static int allow_fcntl(scmp_filter_ctx filter)
{
	static const int commands[] = { F_ADD_SEALS, F_DUPFD,	  F_DUPFD_CLOEXEC, F_GETFD,
					F_GETFL,     F_GETLK,	  F_GETPIPE_SZ,	   F_GET_SEALS,
					F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW,	   F_SETFD,
					F_SETFL,     F_SETLK,	  F_SETLKW,	   F_SETPIPE_SZ };

	return allow_values(filter, SCMP_SYS(fcntl), 1, commands, G_N_ELEMENTS(commands));
}

/* New threads, but no processes. The C library goes on to clone() where there is no clone3(). */
static int allow_threads(scmp_filter_ctx filter, pid_t self)
{
	int res = seccomp_rule_add(
		filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
		SCMP_CMP(CLONE_FLAGS_ARGUMENT, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));

	res = res ?: seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* Of abort(), and of pthread_kill(). */
	return res
		       ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
					   SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)self, 0));
}

/* Name services load libraries. Nothing else becomes code. */
static int allow_memory(scmp_filter_ctx filter, bool with_code)
{
	scmp_datum_t refused = with_code ? 0 : PROT_EXEC;
	int res = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				   SCMP_A2(SCMP_CMP_MASKED_EQ, refused, 0));

	return res
		       ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
					   SCMP_A2(SCMP_CMP_MASKED_EQ, refused, 0));
}

/*
 * Of block devices, of sockets what waits in them, and what isatty() asks. Others may do anything,
 * such as typing on a terminal. The kernel ignores the upper half of the argument.
 */
static int allow_ioctls(scmp_filter_ctx filter)
{
	int res = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				   SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffff00, _IO(0x12, 0)));

	res = res
		      ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
					  SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, BLKGETSIZE64));
	res = res
		      ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
					  SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, SIOCOUTQ));
	return res
		       ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
					   SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, TCGETS));
}

static int allow_socket(scmp_filter_ctx filter, int family, int type)
{
	return seccomp_rule_add(
		filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, family, 0),
		SCMP_A1(SCMP_CMP_MASKED_EQ, ~(scmp_datum_t)(SOCK_CLOEXEC | SOCK_NONBLOCK), type));
}

/* Datagrams to the system log and to the service manager; what listens does so already. */
static int allow_sockets(scmp_filter_ctx filter, bool connects)
{
	int res = allow_socket(filter, AF_UNIX, SOCK_DGRAM);

	if (connects)
		res = res ?: seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 0);
	return res;
}

static int add_rules(scmp_filter_ctx filter, bool connects, pid_t self)
{
	int res = allow_all(filter, allowed, G_N_ELEMENTS(allowed));

	res = res ?: allow_sockets(filter, connects);
	res = res ?: allow_rings(filter);
	res = res ?: allow_ioctls(filter);
	res = res ?: allow_fcntl(filter);
	res = res ?: allow_own_limits(filter);
#ifdef HAS_SANITIZER
	return res ?: allow_all(filter, allowed_to_sanitizers, G_N_ELEMENTS(allowed_to_sanitizers));
#endif
	res = res ?: allow_prctl(filter);
	res = res ?: allow_threads(filter, self);
	return res ?: allow_memory(filter, connects);
}

scmp_filter_ctx sandbox_calls_new(bool connects, pid_t self)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int res;

	if (!filter)
		return NULL;
	res = add_rules(filter, connects, self);
	/* A tree, not a list: each call of the kernel costs a few comparisons. */
	res = res ?: seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!res)
		return filter;
	seccomp_release(filter);
	return NULL;
}
