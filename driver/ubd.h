/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ubd.ko: block devices served by a process through io_uring.
 *
 *   main.c     module, and /dev/ubd-control: ADD_DEV, OPEN_DEV
 *   control.c  control fds and the commands on them
 *   device.c   the life of a device, from ADD_DEV to its release
 *   state.c    its state, what is asked of its life work, and who waits
 *   params.c   what its server says of the disk
 *   identity.c by which names the disk is found again
 *   recovery.c when the server goes and another one comes
 *   unprivileged.c  what is limited where no administrator has added the device
 *   char.c     /dev/ubdcN: its one opener, and the mapping
 *   node.c     /dev/ubdcN: whose it is, and its attributes in sysfs
 *   block.c    /dev/ubdbN without its node
 *   suspend.c  time that counts for no limit
 *   queue.c    requests: how one goes from blk-mq to the server
 *   io.c       the I/O commands: how it comes back, and the next is asked for
 *   batch.c    FETCH_BATCH: many of them at once to the server
 *   copy.c     its data
 *   tag.c      how a request leaves its tag; what is done to all tags at once; their memory
 *   trace.h    tracepoints
 *
 * Files that call each other in a circle
 *   queue.c, batch.c, copy.c, tag.c and recovery.c, as a tag's states lead from one to the next.
 *   A request is handed over (queue.c, by a FETCH_BATCH batch.c) with its data (copy.c). A
 *   server that is found gone then loses all tags (recovery.c, tag.c). A tag that is taken from a
 *   server, or that nothing holds any more (copy.c), ends its request or hands it over (tag.c,
 *   queue.c). The other files call each other one way; tests/layers sees to that.
 *
 * Who keeps what alive
 *   struct ubd_device is counted by its struct device. References are held by
 *   its being registered (dropped by the life work when it deletes the device, which
 *   cancels the watch and deadline works first), by every control file, by the open file of
 *   /dev/ubdcN, by its disk until nobody has that open any more, and by every other work item
 *   queued. A pending FETCH holds the file of /dev/ubdcN.
 *   @nr_control counts control files; when it drops to 0 the device is aborted
 *   and deleted, unless it outlives its server (ubd_outlives_server()).
 *   The module is held by every open file of ours, by every disk, and by every device until the
 *   life work has deleted it. That is after the last request has ended, and so while io_uring may
 *   call us: it completes commands, which hold their file, and lets go of pages, which keep their
 *   request.
 *
 * Who does what
 *   Only the life work starts, stops and deletes a disk, so these never overlap;
 *   commands ask for it and wait. It runs on a workqueue and not in the command's
 *   own task since add_disk() and del_gendisk() wait for I/O that the server must
 *   answer: were a thread of the server to sleep in there, SIGKILL could not end
 *   it, its files would stay open, and nobody would notice the death.
 *   ubd_device_abort() fails what is in flight and refuses what is to come. It may
 *   run at any time, also while the life work waits in del_gendisk().
 *   ubd_server_gone() is called by whoever finds the server dead or leaving. It aborts
 *   the device, or, if that outlives its server, takes all requests and
 *   commands from the tags as the device's flags say and leaves it QUIESCED. Whoever calls
 *   it keeps the next server out meanwhile: by the server's file, which is open, a command,
 *   which holds that, or @nr_checks.
 *
 * Locks, in taking order
 *   lock                     guards
 *   io_uring's uring_lock    taken by io_uring around our command and task work
 *                            handlers and when buffers come and go; never by us
 *   ubd_devices' xa_lock     which ids there are
 *   gendisk.open_mutex       by TRY_STOP_DEV, so that nobody opens the disk meanwhile
 *   ubd_device.lock          state, nr_changes, asked, starting, start_error, resizing, params,
 *                            identity, opened, opener, untrusted, left_ns, detached, waits_since,
 *                            nr_checks, nr_control, added; sets and clears UBD_AWAY, UBD_DRAINING
 *                            and UBD_FAILING
 *   ubd_queue.lock           fetch and busy of one queue
 *   ubd_tag.lock             all of one tag that is not constant
 *   ubd_rate.lock            the rest of it; may be taken under a tag's lock
 * No two of the three before it are ever held together, nor across anything that sleeps, completes
 * a command or ends a request. UBD_ABORTED, UBD_AWAY and UBD_DRAINING are set before
 * the tags and queues are gone through and read under the tag's or queue's lock by whoever puts
 * a command or a request there: so what was not seen there is refused. They are cleared, but for
 * UBD_ABORTED, by the open of ubdcN, when no command is left.
 */
#ifndef UBD_H
#define UBD_H

#include <linux/blk-mq.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/nospec.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/ubd_cmd.h>

#include "compat.h"

#define UBD_MAX_DEVICES 4096
#define UBD_SWEPT_BITS	4

#define UBD_FLAGS_KNOWN                                                                            \
	(UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE | UBD_F_USER_RECOVERY_FAIL_IO |         \
	 UBD_F_USER_COPY | UBD_F_ZERO_COPY_HERE | UBD_F_BATCH_HERE | UBD_F_NO_AUTO_PART_SCAN)

/*
 * A tag's states. "cmd" and "rq" say which of the two the tag holds.
 *
 *              FETCH                queue_rq
 *   IDLE ----------------> READY -------------> HANDOVER
 *     |  queue_rq                   FETCH          ^ |  task work begins
 *     +----------> QUEUED -------------------------+ v
 *   ^                                              MOVING  (WRITE data to the server)
 *   | COMMIT_REQ                                     |
 *   +------------ COMMITTING <------------------- SERVED
 *      -> READY with COMMIT_AND_FETCH     COMMIT*
 *
 * What has no data to be copied, or little, passes MOVING and COMMITTING by, under the tag's lock.
 * If memory of the server's is missing, the copying task puts the tag back to HANDOVER or
 * SERVED, faults the memory in, and looks what has become of the tag.
 *
 * "cmd" is a FETCH of that tag. Where requests come in batches (UBD_F_BATCH) it is an entry of a
 * COMMIT_BATCH that has said the same, and the queue has one command for all: see batch.c. The tag
 * is "armed" in both cases.
 *
 * When io_uring cancels the command, ubd_cancel_fetch() takes it out of READY.
 * When the device is aborted or its server is gone, ubd_detach_tags() takes cmd out of
 * READY, HANDOVER and HELD, and rq out of QUEUED, HANDOVER and SERVED or leaves it behind in
 * QUEUED. MOVING and COMMITTING belong to the task that copies data, which does not sleep; it
 * looks at the device's flags when it has done so.
 *
 * While a request is SERVED its pages may be held by who uses them: a user copy in another
 * thread, or io_uring as a fixed buffer. A request that is to end, or to wait for the next
 * server, while it is held becomes HELD, and does so when the last hold is dropped
 * (ubd_settle()):
 *
 *   COMMITTING, SERVED --holds--> HELD ---> IDLE, or READY if there is a cmd: the request ends
 *                                   \----> QUEUED, or HANDOVER if there is one: the next server's
 */
enum ubd_tag_state {
	UBD_TAG_IDLE,	    /* neither */
	UBD_TAG_READY,	    /* cmd: waits for a request */
	UBD_TAG_QUEUED,	    /* rq: waits for a FETCH, after COMMIT_REQ or for a new server */
	UBD_TAG_HANDOVER,   /* cmd and rq: task work is queued */
	UBD_TAG_MOVING,	    /* cmd and rq: task work copies */
	UBD_TAG_SERVED,	    /* rq: the server has it */
	UBD_TAG_COMMITTING, /* rq: a COMMIT copies */
	UBD_TAG_HELD,	    /* rq, perhaps cmd: settled, but somebody uses its data */
};

struct ubd_tag {
	spinlock_t lock; /* of all below but queue, which is constant */
	enum ubd_tag_state state;
	bool fetched;		  /* this server has sent a FETCH */
	bool armed;		  /* the server waits for a request here */
	struct io_uring_cmd *cmd; /* by this FETCH; NULL with UBD_F_BATCH */
	struct request *rq;
	unsigned int holds;  /* who uses the data of rq, beside MOVING and COMMITTING */
	bool keep;	     /* QUEUED, HELD: rq waits for a FETCH; else it ends with status */
	blk_status_t status; /* with keep: not OK if rq is to end once there is that FETCH */
	unsigned int turn;   /* changes whenever the server gets or loses rq */
	u64 addr;	     /* the server's buffer or its index, from the last FETCH */
	const void *ring;    /* where the pages of rq are fixed buffer */
	u32 buffer;	     /* this; NULL if nowhere, or when that is being undone */
	unsigned long since; /* jiffies: when rq came, or was given to this server */
	struct ubd_queue *queue;
} ____cacheline_aligned_in_smp;

struct ubd_queue {
	struct ubd_device *dev;
	struct llist_head batch;      /* FETCHes with requests, before more that come at once */
	unsigned long answered;	      /* jiffies: when the server last answered a request */
	unsigned long told;	      /* @answered when the log last said that nothing is */
	struct ubdsrv_io_desc *descs; /* vmalloc_user(), mapped by the server */
	struct ubd_tag *tags;

	/* With UBD_F_BATCH, see batch.c. */
	unsigned long *pending;	    /* atomic bits: tags in HANDOVER that are to be told of */
	spinlock_t lock;	    /* of fetch and busy */
	struct io_uring_cmd *fetch; /* the FETCH_BATCH */
	bool busy;		/* its task work is queued or runs, and has it and what follows */
	unsigned int next_word; /* of pending */
	u16 buf_group;
};

/* ubd_device.flags */
#define UBD_ABORTED    0 /* no request is accepted any more; never cleared */
#define UBD_DELETED    1 /* the nodes are gone; never cleared */
#define UBD_AWAY       2 /* the server is gone: neither FETCH nor COMMIT */
#define UBD_DRAINING   3 /* the server is to leave: no FETCH */
#define UBD_FAILING    4 /* no request is accepted before END_RECOVERY */
#define UBD_LOST       5 /* acknowledged data may be lost: no flush succeeds; never cleared */

/* ubd_device.asked: what the life work is to do. STOP and DELETE stay set. */
#define UBD_ASK_START  BIT(0)
#define UBD_ASK_STOP   BIT(1)
#define UBD_ASK_DELETE BIT(2)
#define UBD_ASK_RESIZE BIT(3)
#define UBD_ASK_TELL   BIT(4)

/* How fast an unprivileged device writes. The window is of the time in which there are writes. */
struct ubd_rate {
	spinlock_t lock; /* of all below */
	unsigned int in_flight;
	u64 counted_ns;	   /* with writes in flight: up to when the time is in @busy_ns */
	u64 busy_ns;	   /* of this window */
	u64 written_bytes; /* of this window */
	bool too_slow;	   /* of some window */
};

struct ubd_device {
	/* Constant once ADD_DEV has returned. */
	struct device device; /* ubdcN; its count is that of the struct */
	struct cdev cdev;
	u32 id; /* nobody else's until nr_id_users is 0 */
	u32 max_io_bytes;
	u64 features;	      /* UBD_F_* */
	u32 recovery_timeout; /* seconds, 0: none */
	kuid_t owner_uid;
	kgid_t owner_gid;
	struct ubd_user *user; /* who is charged for the device, if it is unprivileged */
	struct ubd_rate rate;  /* of such a device */
	struct blk_mq_tag_set tag_set;
	struct ubd_queue *queues; /* tag_set.nr_hw_queues of tag_set.queue_depth tags */

	atomic_t nr_id_users;	  /* the device until it is deleted; its disk */
	unsigned long flags;	  /* atomic bits */
	atomic_t nr_unfetched;	  /* tags that had no FETCH by this server */
	atomic_t nr_buffers;	  /* tags whose ring is not NULL */
	unsigned int next_orphan; /* the tag at which to go on looking for one */
	/* Rings that the server has lost with it, and in which no buffers are left; by hash. */
	const void *swept[1 << UBD_SWEPT_BITS];
	wait_queue_head_t wait; /* for nr_unfetched, flags, and all that lock guards */

	spinlock_t lock;	 /* of what follows, see above */
	u16 state;		 /* UBD_S_DEV_*; set by ubd_set_state() */
	u32 nr_changes;		 /* of state, and of what GET_DEV_INFO's flags say of the device */
	unsigned int nr_control; /* open control files */
	bool added;		 /* nr_control counts: ADD_DEV has got that far */
	unsigned int asked;
	bool starting;	 /* a START_DEV is under way */
	int start_error; /* how the life work's last start ended */
	bool resizing;	 /* an UPDATE_SIZE is under way */
	bool has_params;
	bool untrusted; /* whoever opened ubdcN last had no CAP_SYS_ADMIN; read without the lock */
	bool opened;	/* ubdcN was opened, perhaps closed again; until START_RECOVERY */
	bool detached;	/* ubd_detach_tags() is done with the last server; until the next open */
	unsigned long waits_since; /* jiffies: when it lost its server; not while it is LIVE */
	u64 left_ns; /* CLOCK_REALTIME: when the last server had closed ubdcN; 0: none has */
	unsigned int nr_checks; /* those who look whether the server lives: no other one may come */
	struct ubd_params params;
	struct ubd_identity identity;

	/*
	 * The server: set by the open of ubdcN, constant while that file is open.
	 * opener is also read without the file, under lock.
	 */
	struct pid *opener;		 /* thread group */
	fl_owner_t opener_files;	 /* its file table; compared only */
	struct wait_queue_entry on_exit; /* on opener->wait_pidfd */

	struct gendisk *disk; /* set and cleared by the life work, under lock */
	struct vfsmount *mnt; /* of block.c, from the first OPEN_BLOCK on */
	struct work_struct life_work;
	struct work_struct check_work;	/* does the server live, and answer? */
	struct delayed_work watch_work; /* the same, now and then */
	struct delayed_work deadline_work;
};

/* ---- control.c ---- */

/* The fields of one control command, read from the SQE once and checked. */
struct ubd_ctrl_args {
	u16 queue_id;
	u16 len;
	void __user *buf;
};

/*
 * Reads @cmd's argument; -EINVAL if a reserved field or a command flag is set.
 * Every control command may sleep, so -EAGAIN sends it to an io_uring worker.
 */
int ubd_ctrl_begin(struct io_uring_cmd *cmd, unsigned int issue_flags,
		   struct ubd_ctrl_args *ret_args);

/* Copy the command's struct; -EINVAL unless the buffer has its size, -EFAULT. */
int ubd_ctrl_copy_in(const struct ubd_ctrl_args *args, void *ret_data, size_t size);
int ubd_ctrl_copy_out(const struct ubd_ctrl_args *args, const void *data, size_t size);

/* What GET_DEV_INFO says, as the calling process is to see it; returns nr_changes of that moment.
 */
u32 ubd_device_info(struct ubd_device *dev, struct ubdsrv_ctrl_dev_info *ret_info);

/*
 * A control file, which takes over one count of nr_control and one reference; on
 * failure (ERR_PTR) both are dropped.
 */
struct file *ubd_control_file(struct ubd_device *dev);

/* ---- device.c ---- */

int ubd_devices_init(void);
void ubd_devices_exit(void);

/*
 * A new device with its node, one nr_control and one reference. The caller has
 * checked that @info's reserved fields are zero. Unless it is @privileged, @info is cut down
 * to what it may be. ERR_PTR: -EINVAL, -EEXIST if the wanted id is in use, -ENOSPC if none
 * is free, -EPERM, -EDQUOT and -EINTR of unprivileged.c, -ENOMEM.
 */
struct ubd_device *ubd_device_add(struct ubdsrv_ctrl_dev_info *info, bool privileged);

/* The device of an id with one more nr_control and reference, or NULL. */
struct ubd_device *ubd_device_find(u32 id);

static inline struct ubd_device *ubd_device_get(struct ubd_device *dev)
{
	get_device(&dev->device);
	return dev;
}

static inline void ubd_device_put(struct ubd_device *dev)
{
	put_device(&dev->device);
}

/* One control file less; without any, most devices are aborted and deleted. */
void ubd_device_put_control(struct ubd_device *dev);

/* Control commands that wait, until they are done or the task is killed. */
int ubd_device_start(struct ubd_device *dev);
int ubd_device_stop(struct ubd_device *dev);
int ubd_device_try_stop(struct ubd_device *dev);
int ubd_device_delete(struct ubd_device *dev);

/* ---- state.c ---- */

int ubd_work_init(void);
void ubd_work_exit(void);

/* For what finds out that a server is dead; why it has one to itself is said in state.c. */
extern struct workqueue_struct *ubd_check_wq;

/* Each under dev->lock. The second is for what GET_DEV_INFO tells besides; pollers look again. */
void ubd_set_state(struct ubd_device *dev, u16 state);
void ubd_note_change(struct ubd_device *dev);

/* Somebody has asked for the end. Under dev->lock. */
bool ubd_is_ending(const struct ubd_device *dev);

/*
 * Has the life work do @what (UBD_ASK_*) and wakes whoever waits. Any context; the first is for
 * callers who hold dev->lock.
 */
void ubd_ask(struct ubd_device *dev, unsigned int what);
void ubd_device_ask(struct ubd_device *dev, unsigned int what);

/* Queues a work item of the device, which then holds a reference while it is pending. */
void ubd_queue_work(struct ubd_device *dev, struct workqueue_struct *wq, struct work_struct *work);

/*
 * For control commands that wait: calls @try, once and whenever dev->wait is woken, until it does
 * not return -EAGAIN. -EINTR if the task is killed meanwhile.
 */
int ubd_wait(struct ubd_device *dev, int (*try)(struct ubd_device *dev));

/* ---- params.c ---- */

/* Control commands; the second waits, until it is done or the task is killed. */
int ubd_device_set_params(struct ubd_device *dev, const struct ubd_params *params);
int ubd_device_update_size(struct ubd_device *dev, u64 sectors);

/* For the life work: a disk that is to be added (ERR_PTR); a new capacity to one that is there. */
struct gendisk *ubd_params_disk(struct ubd_device *dev);
void ubd_resize(struct ubd_device *dev);

/* ---- identity.c ---- */

/* Control commands. */
int ubd_device_set_identity(struct ubd_device *dev, const struct ubd_identity *identity);
void ubd_device_get_identity(struct ubd_device *dev, struct ubd_identity *ret_identity);

/* Attributes of a disk, whose private_data is its device. */
extern const struct attribute_group *ubd_disk_groups[];

/* ---- char.c ---- */

void ubd_char_init(struct ubd_device *dev);

/* A file as the open of ubdcN gives it, for a task that cannot reach that node; or ERR_PTR. */
struct file *ubd_char_file(struct ubd_device *dev);

/* ---- node.c ---- */

extern const struct device_type ubd_device_type;

/* ---- block.c ---- */

/* A file of the disk's, as the open of ubdbN gives it; or ERR_PTR. */
struct file *ubd_block_file(struct ubd_device *dev);

/* ---- unprivileged.c ---- */

/* What GET_FEATURES says. */
u64 ubd_features(void);

/* Cuts @info down to what a task without CAP_SYS_ADMIN may have, or -EPERM. */
int ubd_restrict_info(struct ubdsrv_ctrl_dev_info *info);

/* Makes @dev one of the unprivileged devices that the task has; -EDQUOT: it has too many. */
int ubd_charge(struct ubd_device *dev);

/*
 * Whether what is on the disk is chosen by somebody without CAP_SYS_ADMIN: nobody is to look into
 * it unasked.
 */
static inline bool ubd_is_content_foreign(const struct ubd_device *dev)
{
	return dev->user || READ_ONCE(dev->untrusted);
}

/* All that follows concerns devices that were charged only; others are as they are. */
void ubd_uncharge(struct ubd_device *dev);
u32 ubd_min_id(const struct ubd_device *dev);
void ubd_restrict_disk(const struct ubd_device *dev, struct gendisk *disk);

/*
 * Whoever opens such a disk can be made to wait, so that the mode of its node, which is its owner's
 * to change, is not enough.
 */
bool ubd_may_open_disk(const struct ubd_device *dev);

/* The request timeout in seconds, 0 for none. */
unsigned int ubd_limit_timeout(const struct ubd_device *dev, unsigned int seconds);

/* Before what tells udev: waits until its user may. -EINTR: the task is killed, and may not. */
int ubd_pace(const struct ubd_device *dev);

/* The server gets a request, and has answered it. Too slow a server ends by the check work. */
void ubd_rate_begin(struct ubd_device *dev, const struct request *rq);
void ubd_rate_end(struct ubd_device *dev, const struct request *rq);

/* ---- suspend.c ---- */

int ubd_suspend_init(void);
void ubd_suspend_exit(void);

/*
 * True if there were @limit jiffies since @since, not counting those in which the system was
 * suspended. Any context.
 */
bool ubd_is_late_since(unsigned long since, unsigned long limit);

/* ---- recovery.c ---- */

void ubd_recovery_init(struct ubd_device *dev);

static inline bool ubd_recovers(const struct ubd_device *dev)
{
	return dev->features & UBD_F_USER_RECOVERY;
}

/* The device waits for a new server when its server goes, or does so now. Under dev->lock. */
bool ubd_outlives_server(const struct ubd_device *dev);

/* The server is gone, or lost what it needs to serve. Any process context. */
void ubd_server_gone(struct ubd_device *dev);

/*
 * The server is gone or of no use: every request of it fails now and for ever,
 * its FETCH commands end, and the disk is removed. Any process context.
 */
void ubd_device_abort(struct ubd_device *dev);

/* Control commands that wait, until they are done or the task is killed. */
int ubd_device_quiesce(struct ubd_device *dev);
int ubd_device_start_recovery(struct ubd_device *dev);
int ubd_device_end_recovery(struct ubd_device *dev);

/* ---- queue.c ---- */

extern const struct blk_mq_ops ubd_mq_ops;

/* Ends a request that was on a tag. Process context, no lock held. */
void ubd_end_request(struct request *rq, blk_status_t status);

/*
 * The same, perhaps not before ubd_end_batch(), which must be called before anything that sleeps.
 * Without a batch ubd_end_batch() does nothing.
 */
void ubd_end_in_batch(struct request *rq, blk_status_t status, struct io_comp_batch *batch);
void ubd_end_batch(struct io_comp_batch *batch);

/*
 * Gives a tag's request to the server by its FETCH, or FETCH_BATCH if @cmd is NULL. The tag is in
 * HANDOVER, which keeps @cmd from being completed in any other way.
 */
void ubd_hand_over(struct ubd_tag *tag, struct io_uring_cmd *cmd);

/*
 * Task work of @cmd is not run by the thread that sent it, or the thread or the ring is about to
 * go: so there is no address space to copy to, and the server is gone.
 */
bool ubd_has_left_task(const struct ubd_device *dev, struct io_uring_cmd *cmd);

/*
 * In task work of @cmd: hands the tag's request to the server, @err being 0, or fails it.
 * UBD_IO_RES_OK if the server has it; -EIOCBQUEUED if it failed and the tag waits for the next one;
 * else @cmd, if it is of that tag, has to end with the result.
 */
int ubd_move(struct ubd_tag *tag, struct io_uring_cmd *cmd, int err, unsigned int issue_flags);

/*
 * Ends a FETCH that has been taken from its tag. By task work, since the caller may hold
 * the lock of a ring, and then can complete no command of another.
 */
void ubd_abort_fetch(struct io_uring_cmd *cmd);

/* What the driver keeps in a FETCH. */
struct ubd_cmd {
	union {
		struct ubd_tag *tag;
		struct ubd_queue *queue; /* of a FETCH_BATCH */
	};
	struct llist_node next; /* in HANDOVER: of ubd_queue.batch, or of the same task work */
};

static inline struct ubd_cmd *ubd_cmd(struct io_uring_cmd *cmd)
{
	BUILD_BUG_ON(sizeof(struct ubd_cmd) > sizeof(cmd->pdu));
	return (struct ubd_cmd *)cmd->pdu;
}

/* ---- io.c ---- */

/* ->uring_cmd of ubdcN. */
int ubd_io_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* ---- copy.c ---- */

/*
 * True in a thread that is being killed. It is soon gone, and its memory may be out of reach
 * already: what it fails to copy says nothing about the request.
 */
bool ubd_is_dying(void);

static inline bool ubd_has_data(const struct request *rq)
{
	return req_op(rq) == REQ_OP_READ || req_op(rq) == REQ_OP_WRITE;
}

/* What a FETCH of the tag says of data. */
bool ubd_is_addr_valid(const struct ubd_tag *tag, u64 addr);

/* Whether there is something to do for the data of a request before the server gets it. */
static inline bool ubd_brings_data(const struct ubd_tag *tag)
{
	u64 features = tag->queue->dev->features;

	if (features & UBD_F_ZERO_COPY)
		return ubd_has_data(tag->rq);
	return !(features & UBD_F_USER_COPY) && req_op(tag->rq) == REQ_OP_WRITE;
}

/* How far the driver has got with the data of a request, to or from the server's buffer. */
struct ubd_copy {
	u64 addr; /* of the buffer */
	size_t done, bytes;
	unsigned int turn; /* the tag's: if it has another, it has another request */
	bool is_write;
};

/*
 * Does it: copies, or registers with the ring of @cmd if that can be; in the task that fetched.
 * -EAGAIN: memory is missing; the caller drops the lock, calls ubd_fault_in() and tries again with
 * the same @copy, whose @done is 0 at first. Another error: it cannot copy. @ret_op_flags are for
 * the descriptor, else unchanged. Under tag->lock, which may be dropped meanwhile, in MOVING.
 */
int ubd_bring_data(struct ubd_tag *tag, struct io_uring_cmd *cmd, unsigned int issue_flags,
		   struct ubd_copy *copy, u32 *ret_op_flags);

/*
 * Copies a READ's data that the server has answered well, unless that is up to the server.
 * As ubd_bring_data(), in COMMITTING.
 */
int ubd_take_data(struct ubd_tag *tag, struct ubd_copy *copy);

/*
 * Waits for the memory that @copy has come to, for as long as whoever provides it likes; the
 * request may be taken away meanwhile. -EFAULT if there is none. No lock may be held.
 */
int ubd_fault_in(const struct ubd_copy *copy);

/* The data is a fixed buffer of another ring than @cmd's. Under tag->lock. */
static inline bool ubd_is_elsewhere(const struct ubd_tag *tag, struct io_uring_cmd *cmd)
{
	return tag->ring && tag->ring != ubd_cmd_ring(cmd);
}

/*
 * Whether the data is a fixed buffer of @cmd's ring, which it then is to be no more: the caller
 * calls ubd_cmd_unregister(). Under tag->lock.
 */
bool ubd_take_buffer(struct ubd_tag *tag, struct io_uring_cmd *cmd, u32 *ret_index);

/*
 * The server is gone, but its ring may live on in a child: takes out of the ring of @cmd what is
 * in it. In task work.
 */
void ubd_take_buffers(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* pread() and pwrite() of /dev/ubdcN. */
ssize_t ubd_read_iter(struct kiocb *iocb, struct iov_iter *data);
ssize_t ubd_write_iter(struct kiocb *iocb, struct iov_iter *data);

/* ---- batch.c ---- */

/* As ->uring_cmd: -EIOCBQUEUED when @cmd is now the queue's FETCH_BATCH. */
int ubd_fetch_batch(struct ubd_queue *q, struct io_uring_cmd *cmd, unsigned int issue_flags);

/* The tag is in HANDOVER; ubd_kick() follows, once for many. */
void ubd_add_pending(struct ubd_tag *tag);

/* The FETCH_BATCH, if there is one, tells of what is pending, or ends if it has to. */
void ubd_kick(struct ubd_queue *q);
void ubd_kick_all(struct ubd_device *dev);

/* As ubd_cancel_fetch(). */
void ubd_cancel_fetch_batch(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* True if there is a FETCH_BATCH that can never be answered. */
bool ubd_has_orphan_batch(struct ubd_device *dev);

/* ---- tag.c ---- */

int ubd_queues_alloc(struct ubd_device *dev);
void ubd_queues_free(struct ubd_device *dev);
size_t ubd_descs_size(const struct ubd_device *dev);

static inline bool ubd_tag_flag(const struct ubd_tag *tag, int flag)
{
	return test_bit(flag, &tag->queue->dev->flags);
}

/* A FETCH is refused: the device has ended, or the server that sends it is to. */
static inline bool ubd_takes_no_fetch(const struct ubd_device *dev)
{
	return READ_ONCE(dev->flags) & (BIT(UBD_ABORTED) | BIT(UBD_AWAY) | BIT(UBD_DRAINING));
}

/* The server waits for a request here, and would have its data at @addr. Under tag->lock. */
static inline void ubd_arm(struct ubd_tag *tag, struct io_uring_cmd *cmd, u64 addr)
{
	tag->armed = true;
	tag->cmd = cmd;
	tag->addr = addr;
}

/* It does not any more; returns what is to be done with by the caller, if anything. */
static inline struct io_uring_cmd *ubd_disarm(struct ubd_tag *tag)
{
	struct io_uring_cmd *cmd = tag->cmd;

	tag->armed = false;
	tag->cmd = NULL;
	return cmd;
}

/* Whatever the server has or sends is of no use any more. */
static inline bool ubd_is_server_lost(const struct ubd_device *dev)
{
	return READ_ONCE(dev->flags) & (BIT(UBD_ABORTED) | BIT(UBD_AWAY));
}

/* The same for a tag's server. Under tag->lock. */
static inline bool ubd_has_lost_server(const struct ubd_tag *tag)
{
	return ubd_is_server_lost(tag->queue->dev);
}

/* Of all tags of the device, queue by queue. */
static inline struct ubd_tag *ubd_nth_tag(struct ubd_device *dev, unsigned int n)
{
	unsigned int depth = dev->tag_set.queue_depth;

	return &dev->queues[n / depth].tags[n % depth];
}

static inline struct ubd_tag *ubd_request_tag(const struct request *rq)
{
	struct ubd_queue *q = rq->mq_hctx->driver_data;

	return &q->tags[rq->tag];
}

/* By numbers that nobody has checked; NULL if there is none. */
static inline struct ubd_queue *ubd_find_queue(struct ubd_device *dev, u64 q_id)
{
	unsigned int nr_queues = dev->tag_set.nr_hw_queues;

	return q_id < nr_queues ? &dev->queues[array_index_nospec(q_id, nr_queues)] : NULL;
}

static inline struct ubd_tag *ubd_find_tag(struct ubd_queue *q, u64 tag_nr)
{
	unsigned int depth = q->dev->tag_set.queue_depth;

	return tag_nr < depth ? &q->tags[array_index_nospec(tag_nr, depth)] : NULL;
}

/*
 * Settles what becomes of the tag's request, now or when the last hold is dropped. It ends with
 * @status, or with @keep waits for the next FETCH, which gives it to the server if @status is
 * BLK_STS_OK and otherwise ends it. Returns it if the caller has to end it. tag->cmd is NULL or the
 * FETCH that waits on. Under tag->lock.
 */
struct request *ubd_settle(struct ubd_tag *tag, bool keep, blk_status_t status);

/* The same for the request of a server that is gone, as the device's flags say. Under tag->lock. */
struct request *ubd_settle_lost(struct ubd_tag *tag);

/*
 * The tag waits for its next request by @cmd, or has got one that waited: the caller hands it over
 * if the tag is in HANDOVER now, and ends what is returned. Under tag->lock.
 */
struct request *ubd_add_fetch(struct ubd_tag *tag, struct io_uring_cmd *cmd, u64 addr);

/* One hold less. No tag lock may be held. */
void ubd_drop_hold(struct ubd_tag *tag);

/* UBD_ABORTED or UBD_AWAY is set: ends every FETCH, and keeps or fails every request. */
void ubd_detach_tags(struct ubd_device *dev);

/*
 * io_uring gives up a FETCH, since its ring or its thread goes: so the server is gone. Ends the
 * command if it waits for a request; else whoever has it does. May come more than once.
 */
void ubd_cancel_fetch(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* UBD_DRAINING is set: ends every FETCH that has no request. */
void ubd_drain_tags(struct ubd_device *dev);

/*
 * True if there is a FETCH that can never be answered: anywhere, or among some of the tags, which
 * are others each time.
 */
bool ubd_has_orphans(struct ubd_device *dev, bool everywhere);

/*
 * True if the server has left requests unanswered for longer than it may. If it may for ever,
 * the log says that it does.
 */
bool ubd_has_overdue(struct ubd_device *dev);

/* The server has answered a request of the queue. */
static inline void ubd_note_answer(struct ubd_queue *q)
{
	unsigned long now = jiffies;

	/* Most are within the same tick: so the other CPUs keep their copy. */
	if (READ_ONCE(q->answered) != now)
		WRITE_ONCE(q->answered, now);
}

#endif
