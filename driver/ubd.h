/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ubd.ko: block devices served by a process through io_uring.
 *
 *   main.c     module, and /dev/ubd-control: ADD_DEV, OPEN_DEV
 *   control.c  control fds and the commands on them
 *   device.c   the life of a device, from ADD_DEV to its release
 *   state.c    its state, what its life work is asked to do, and waiting for either
 *   params.c   what its server says about the disk
 *   identity.c the names by which the disk is found again
 *   recovery.c when the server goes away and another one takes over
 *   unprivileged.c  limits of devices that no administrator has added
 *   char.c     /dev/ubdcN: its one opener, and the mapping
 *   node.c     /dev/ubdcN: its owner, and its attributes in sysfs
 *   block.c    /dev/ubdbN without its node
 *   suspend.c  time that counts towards no limit
 *   queue.c    requests: how one gets from blk-mq to the server
 *   io.c       the I/O commands: how it comes back, and the next one is asked for
 *   batch.c    FETCH_BATCH: many requests at once to the server
 *   copy.c     the data of requests
 *   tag.c      how a request leaves its tag; what is done to all tags at once; their memory
 *   compat.h   differences between kernel versions
 *   trace.h    tracepoints
 *
 * Files that call each other in a circle
 *   queue.c, batch.c, copy.c, tag.c and recovery.c, as a tag's states lead from one to the next.
 *   A request is handed over (queue.c, or batch.c for a FETCH_BATCH) with its data (copy.c). If the
 *   server is found gone meanwhile, it loses all tags (recovery.c, tag.c). A tag that is taken from
 *   a server, or whose last hold is dropped (copy.c), ends its request or hands it over (tag.c,
 *   queue.c). All other files call each other one way; tests/layers checks that.
 *
 * Lifetimes
 *   struct ubd_device is counted by its struct device. References are held by its registration
 *   (dropped by the life work when it deletes the device, after cancelling the watch and deadline
 *   works), by every control file, by the open file of /dev/ubdcN, by its disk until the last
 *   opener has closed it, and by every other queued work item. A pending FETCH holds the file of
 *   /dev/ubdcN.
 *   @nr_control counts control files. When it drops to 0 the device is aborted and deleted, unless
 *   it outlives its server (ubd_outlives_server()).
 *   The module is held by each of our open files, by every disk, and by every device until the life
 *   work has deleted it. That is after the last request has ended, so the module is held whenever
 *   io_uring may call us: it completes commands, which hold their file, and releases pages, which
 *   hold their request.
 *
 * Who does what
 *   Only the life work starts, stops and deletes a disk, so these never overlap; commands ask for
 *   it and wait. It runs on a workqueue and not in the command's own task because add_disk() and
 *   del_gendisk() wait for I/O that the server must answer: if a thread of the server slept in
 *   there, SIGKILL could not end it, its files would stay open, and nobody would notice the death.
 *   ubd_device_abort() fails the requests in flight and refuses later ones. It may run at any time,
 *   even while the life work waits in del_gendisk().
 *   ubd_server_gone() is called by all code that finds the server dead or leaving. It aborts the
 *   device; or, if the device outlives its server, it takes all requests and commands from the tags
 *   as the device's flags say and leaves the device QUIESCED. Meanwhile the caller keeps the next
 *   server out: through the server's open file, through a command, which holds that file, or
 *   through @nr_checks.
 *
 * Locks, in taking order
 *   lock                     guards
 *   io_uring's uring_lock    taken by io_uring around our command and task work
 *                            handlers and when buffers come and go; never by us
 *   ubd_devices' xa_lock     which ids exist
 *   gendisk.open_mutex       taken by TRY_STOP_DEV, so that nobody opens the disk meanwhile
 *   ubd_device.lock          state, nr_changes, asked, starting, start_error, resizing, params,
 *                            identity, opened, opener, untrusted, left_ns, detached, waits_since,
 *                            nr_checks, nr_control, added; sets and clears UBD_AWAY, UBD_DRAINING
 *                            and UBD_FAILING
 *   ubd_queue.lock           fetch and busy of one queue
 *   ubd_tag.lock             all of one tag that is not constant
 *   ubd_rate.lock            the rest of struct ubd_rate; may be taken under a tag's lock
 *   ubd_users_lock           the users of unprivileged.c; never taken together with another
 * No two of the three locks before ubd_rate.lock are ever held together, and none is held across
 * anything that sleeps, completes a command or ends a request. UBD_ABORTED, UBD_AWAY and
 * UBD_DRAINING are set before all tags and queues are visited, and are read under the tag's or
 * queue's lock by any code that puts a command or a request there: what the visit has missed is
 * refused. Except for UBD_ABORTED, they are cleared by the open of ubdcN, when no command is left.
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
 * A request with little or no data to copy skips MOVING and COMMITTING, under the tag's lock. If
 * memory of the server is missing, the copying task puts the tag back to HANDOVER or SERVED, faults
 * the memory in, and looks at what has become of the tag.
 *
 * "cmd" is a FETCH of that tag. If requests come in batches (UBD_F_BATCH), it is an entry of a
 * COMMIT_BATCH that has said the same, and the queue has one command for all, see batch.c. In
 * either case the tag is "armed".
 *
 * When io_uring cancels the command, ubd_cancel_fetch() takes it out of READY. When the device is
 * aborted or its server is gone, ubd_detach_tags() takes cmd out of READY, HANDOVER and HELD, and
 * takes rq out of QUEUED, HANDOVER and SERVED or leaves it in QUEUED. MOVING and COMMITTING belong
 * to the task that copies data, which does not sleep; it checks the device's flags when it has
 * finished.
 *
 * While a request is SERVED, users of its pages may hold them: a user copy in another thread, or
 * io_uring as a fixed buffer. If a request is held when it should end, or should wait for the next
 * server, it becomes HELD, and does so when the last hold is dropped (ubd_settle()):
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
	UBD_TAG_HELD,	    /* rq, perhaps cmd: settled, but its data is in use */
};

struct ubd_tag {
	spinlock_t lock; /* of all below but queue, which is constant */
	enum ubd_tag_state state;
	bool fetched;		  /* this server has sent a FETCH */
	bool armed;		  /* the server waits for a request here */
	struct io_uring_cmd *cmd; /* by this FETCH; NULL with UBD_F_BATCH */
	struct request *rq;
	unsigned int holds;  /* users of rq's data, not counting MOVING and COMMITTING */
	bool keep;	     /* QUEUED, HELD: rq waits for a FETCH; else it ends with status */
	blk_status_t status; /* with keep: not OK if rq must end at that FETCH */
	unsigned int turn;   /* changes whenever the server gets or loses rq */
	u64 addr;	     /* the server's buffer or its index, from the last FETCH */
	const void *ring;    /* of the ring in which rq's pages are a fixed buffer */
	u32 buffer;	     /* its index; ring is NULL if nowhere, or being undone */
	unsigned long since; /* jiffies: when rq came, or was given to this server */
	struct ubd_queue *queue;
} ____cacheline_aligned_in_smp;

struct ubd_queue {
	struct ubd_device *dev;
	struct llist_head batch;      /* FETCHes with requests, until the batch is sent */
	unsigned long answered;	      /* jiffies: when the server last answered a request */
	unsigned long told;	      /* @answered when the log last reported a silence */
	struct ubdsrv_io_desc *descs; /* vmalloc_user(), mapped by the server */
	struct ubd_tag *tags;

	/* With UBD_F_BATCH, see batch.c. */
	unsigned long *pending;	    /* atomic bits: tags in HANDOVER yet to be reported */
	spinlock_t lock;	    /* of fetch and busy */
	struct io_uring_cmd *fetch; /* the FETCH_BATCH */
	bool busy;		    /* its task work is queued or running, and owns what follows */
	unsigned int next_word;	    /* of pending */
	u16 buf_group;
};

/* ubd_device.flags */
#define UBD_ABORTED    0 /* no request is accepted any more; never cleared */
#define UBD_DELETED    1 /* the nodes are gone; never cleared */
#define UBD_AWAY       2 /* the server is gone: neither FETCH nor COMMIT */
#define UBD_DRAINING   3 /* the server must leave: no FETCH */
#define UBD_FAILING    4 /* no request is accepted before END_RECOVERY */
#define UBD_LOST       5 /* acknowledged data may be lost: no flush succeeds; never cleared */

/* ubd_device.asked: what the life work must do. STOP and DELETE stay set. */
#define UBD_ASK_START  BIT(0)
#define UBD_ASK_STOP   BIT(1)
#define UBD_ASK_DELETE BIT(2)
#define UBD_ASK_RESIZE BIT(3)
#define UBD_ASK_TELL   BIT(4)

/* How fast an unprivileged device writes. The window spans time in which there are writes. */
struct ubd_rate {
	spinlock_t lock; /* of all below */
	unsigned int in_flight;
	u64 counted_ns;	   /* with writes in flight: the time up to here is in @busy_ns */
	u64 busy_ns;	   /* in this window */
	u64 written_bytes; /* in this window */
	bool too_slow;	   /* in some window */
};

struct ubd_device {
	/* Constant once ADD_DEV has returned. */
	struct device device; /* ubdcN; its count is that of the struct */
	struct cdev cdev;
	u32 id; /* not reused until nr_id_users is 0 */
	u32 max_io_bytes;
	u64 features;	      /* UBD_F_* */
	u32 recovery_timeout; /* seconds; 0: none */
	kuid_t owner_uid;
	kgid_t owner_gid;
	struct ubd_user *user; /* charged for the device if it is unprivileged */
	struct ubd_rate rate;  /* if it is unprivileged */
	struct blk_mq_tag_set tag_set;
	struct ubd_queue *queues; /* tag_set.nr_hw_queues of tag_set.queue_depth tags */

	atomic_t nr_id_users;	  /* the device until it is deleted, and its disk */
	unsigned long flags;	  /* atomic bits */
	atomic_t nr_unfetched;	  /* tags without a FETCH by this server so far */
	atomic_t nr_buffers;	  /* tags whose ring is not NULL */
	unsigned int next_orphan; /* the tag at which the next search continues */
	/* Rings that were lost with their server and have no buffers left, by hash. */
	const void *swept[1 << UBD_SWEPT_BITS];
	wait_queue_head_t wait; /* for nr_unfetched, flags, and all that lock guards */

	spinlock_t lock;	 /* of what follows, see above */
	u16 state;		 /* UBD_S_DEV_*; set by ubd_set_state() */
	u32 nr_changes;		 /* of state, and of the device's part of GET_DEV_INFO's flags */
	unsigned int nr_control; /* open control files */
	bool added;		 /* nr_control counts: ADD_DEV has got that far */
	unsigned int asked;
	bool starting;	 /* a START_DEV is under way */
	int start_error; /* how the life work's last start ended */
	bool resizing;	 /* an UPDATE_SIZE is under way */
	bool has_params;
	bool untrusted; /* ubdcN's last opener lacked CAP_SYS_ADMIN; read without lock */
	bool opened;	/* ubdcN was opened, perhaps closed again; until START_RECOVERY */
	bool detached;	/* ubd_detach_tags() is done with the last server; until the next open */
	unsigned long waits_since; /* jiffies: when it lost its server; unused while LIVE */
	u64 left_ns; /* CLOCK_REALTIME: when the last server had closed ubdcN; 0: none has */
	unsigned int nr_checks; /* running checks of the server; no other server may come */
	struct ubd_params params;
	struct ubd_identity identity;

	/*
	 * The server: set by the open of ubdcN, constant while that file is open. opener is also
	 * read without the file, under lock.
	 */
	struct pid *opener;		 /* thread group */
	fl_owner_t opener_files;	 /* its file table; only compared */
	struct wait_queue_entry on_exit; /* on opener->wait_pidfd */

	struct gendisk *disk; /* set and cleared by the life work, under lock */
	struct vfsmount *mnt; /* of block.c, from the first OPEN_BLOCK on */
	struct work_struct life_work;
	struct work_struct check_work;	/* does the server live, and does it answer? */
	struct delayed_work watch_work; /* the same, from time to time */
	struct delayed_work deadline_work;
};

/* ---- control.c ---- */

/* The fields of a control command, read once from the SQE and checked. */
struct ubd_ctrl_args {
	u16 queue_id;
	u16 len;
	void __user *buf;
};

/*
 * Reads @cmd's argument; -EINVAL if a reserved field or a command flag is set. Every control
 * command may sleep, so -EAGAIN sends it to an io_uring worker.
 */
int ubd_ctrl_begin(struct io_uring_cmd *cmd, unsigned int issue_flags,
		   struct ubd_ctrl_args *ret_args);

/* Copy the command's struct. -EINVAL unless the buffer has its size; -EFAULT. */
int ubd_ctrl_copy_in(const struct ubd_ctrl_args *args, void *ret_data, size_t size);
int ubd_ctrl_copy_out(const struct ubd_ctrl_args *args, const void *data, size_t size);

/* What GET_DEV_INFO reports to the calling process. Returns nr_changes as of that moment. */
u32 ubd_device_info(struct ubd_device *dev, struct ubdsrv_ctrl_dev_info *ret_info);

/*
 * Returns a control file, which takes over one count of nr_control and one reference. On failure
 * (ERR_PTR) both are dropped.
 */
struct file *ubd_control_file(struct ubd_device *dev);

/* ---- device.c ---- */

int ubd_devices_init(void);
void ubd_devices_exit(void);

/*
 * Returns a new device with its node, one nr_control and one reference. The caller has checked that
 * @info's reserved fields are zero. Unless @privileged, @info is cut down to what the caller may
 * have. ERR_PTR: -EINVAL; -EEXIST if the wanted id is in use; -ENOSPC if no id is free; -EPERM,
 * -EDQUOT and -EINTR from unprivileged.c; -ENOMEM.
 */
struct ubd_device *ubd_device_add(struct ubdsrv_ctrl_dev_info *info, bool privileged);

/* Returns the device with this id, with one more nr_control and reference, or NULL. */
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

/* Drops one control file. After the last one, most devices are aborted and deleted. */
void ubd_device_put_control(struct ubd_device *dev);

/* Control commands that wait until they are done or the task is killed. */
int ubd_device_start(struct ubd_device *dev);
int ubd_device_stop(struct ubd_device *dev);
int ubd_device_try_stop(struct ubd_device *dev);
int ubd_device_delete(struct ubd_device *dev);

/* ---- state.c ---- */

int ubd_work_init(void);
void ubd_work_exit(void);

/* For work that detects dead servers. state.c says why it has its own queue. */
extern struct workqueue_struct *ubd_check_wq;

/*
 * Both under dev->lock. The second is for anything else that GET_DEV_INFO reports; it makes pollers
 * look again.
 */
void ubd_set_state(struct ubd_device *dev, u16 state);
void ubd_note_change(struct ubd_device *dev);

/* Somebody has asked for the end of the device. Under dev->lock. */
bool ubd_is_ending(const struct ubd_device *dev);

/*
 * Make the life work do @what (UBD_ASK_*) and wake all waiters. Any context; the first is for
 * callers that hold dev->lock.
 */
void ubd_ask(struct ubd_device *dev, unsigned int what);
void ubd_device_ask(struct ubd_device *dev, unsigned int what);

/* Queues a work item of the device, which holds a reference while it is pending. */
void ubd_queue_work(struct ubd_device *dev, struct workqueue_struct *wq, struct work_struct *work);

/*
 * For control commands that wait: calls @try, once and whenever dev->wait is woken, until it does
 * not return -EAGAIN. -EINTR if the task is killed meanwhile.
 */
int ubd_wait(struct ubd_device *dev, int (*try)(struct ubd_device *dev));

/* ---- params.c ---- */

/* Control commands; the second waits until it is done or the task is killed. */
int ubd_device_set_params(struct ubd_device *dev, const struct ubd_params *params);
int ubd_device_update_size(struct ubd_device *dev, u64 sectors);

/*
 * For the life work: make a disk that will be added (ERR_PTR); give an existing disk its new
 * capacity.
 */
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

/* Returns a file like the open of ubdcN does, for tasks that cannot reach that node; or ERR_PTR. */
struct file *ubd_char_file(struct ubd_device *dev);

/* ---- node.c ---- */

extern const struct device_type ubd_device_type;

/* ---- block.c ---- */

/* Returns a file of the disk like the open of ubdbN does; or ERR_PTR. */
struct file *ubd_block_file(struct ubd_device *dev);

/* ---- unprivileged.c ---- */

/* What GET_FEATURES reports. */
u64 ubd_features(void);

/* Cuts @info down to what a task without CAP_SYS_ADMIN may have, or returns -EPERM. */
int ubd_restrict_info(struct ubdsrv_ctrl_dev_info *info);

/* Makes @dev one of the task's unprivileged devices; -EDQUOT if it has too many. */
int ubd_charge(struct ubd_device *dev);

/*
 * Whether somebody without CAP_SYS_ADMIN chooses the content of the disk. If so, nothing may look
 * into it unasked.
 */
static inline bool ubd_is_content_foreign(const struct ubd_device *dev)
{
	return dev->user || READ_ONCE(dev->untrusted);
}

/* The rest applies only to devices that were charged, and leaves others alone. */
void ubd_uncharge(struct ubd_device *dev);
u32 ubd_min_id(const struct ubd_device *dev);
void ubd_restrict_disk(const struct ubd_device *dev, struct gendisk *disk);

/*
 * Opening such a disk can mean a long wait. The mode of its node does not protect others from that,
 * since the owner can change it.
 */
bool ubd_may_open_disk(const struct ubd_device *dev);

/* Returns the request timeout in seconds, 0 for none. */
unsigned int ubd_limit_timeout(const struct ubd_device *dev, unsigned int seconds);

/*
 * Called before anything that notifies udev: waits until the device's user may do so. -EINTR if the
 * task is killed; then it may not.
 */
int ubd_pace(const struct ubd_device *dev);

/*
 * The server gets a request; it has answered the request. The check work ends a server that is too
 * slow.
 */
void ubd_rate_begin(struct ubd_device *dev, const struct request *rq);
void ubd_rate_end(struct ubd_device *dev, const struct request *rq);

/* ---- suspend.c ---- */

int ubd_suspend_init(void);
void ubd_suspend_exit(void);

/*
 * True if @limit jiffies have passed since @since, not counting time in which the system was
 * suspended. Any context.
 */
bool ubd_is_late_since(unsigned long since, unsigned long limit);

/* True if the system may have been suspended at some time since @since, in jiffies. Any context. */
bool ubd_was_frozen_since(unsigned long since);

/* ---- recovery.c ---- */

void ubd_recovery_init(struct ubd_device *dev);

static inline bool ubd_recovers(const struct ubd_device *dev)
{
	return dev->features & UBD_F_USER_RECOVERY;
}

/* The device waits for a new server when its server goes away, or does so now. Under dev->lock. */
bool ubd_outlives_server(const struct ubd_device *dev);

/*
 * The server is gone, or has lost what it needs to serve. The device waits for the next server, or
 * is aborted. Any process context.
 */
void ubd_server_gone(struct ubd_device *dev);

/*
 * The server is gone for good or of no use: from now on all requests fail, FETCH commands end, and
 * the disk is removed. Any process context.
 */
void ubd_device_abort(struct ubd_device *dev);

/* Control commands that wait until they are done or the task is killed. */
int ubd_device_quiesce(struct ubd_device *dev);
int ubd_device_start_recovery(struct ubd_device *dev);
int ubd_device_end_recovery(struct ubd_device *dev);

/* ---- queue.c ---- */

extern const struct blk_mq_ops ubd_mq_ops;

/* Ends a request that was on a tag. Process context, no lock held. */
void ubd_end_request(struct request *rq, blk_status_t status);

/*
 * The same, perhaps not before ubd_end_batch(), which must be called before anything that sleeps.
 * Without a batch, ubd_end_batch() does nothing.
 */
void ubd_end_in_batch(struct request *rq, blk_status_t status, struct io_comp_batch *batch);
void ubd_end_batch(struct io_comp_batch *batch);

/*
 * Gives a tag's request to the server, through its FETCH, or through the FETCH_BATCH if @cmd is
 * NULL. The tag is in HANDOVER, which keeps @cmd from being completed in any other way.
 */
void ubd_hand_over(struct ubd_tag *tag, struct io_uring_cmd *cmd);

/*
 * True if the task work of @cmd is not running in the thread that sent it, or if the thread or the
 * ring is about to go away. There is no address space to copy to then, and the server is gone.
 */
bool ubd_has_left_task(const struct ubd_device *dev, struct io_uring_cmd *cmd);

/*
 * In task work of @cmd: hands the tag's request to the server, or fails it if @err is not 0.
 * Returns UBD_IO_RES_OK if the server has it; -EIOCBQUEUED if it failed and the tag waits for the
 * next one; otherwise @cmd, if it belongs to that tag, must end with this result.
 */
int ubd_move(struct ubd_tag *tag, struct io_uring_cmd *cmd, int err, unsigned int issue_flags);

/*
 * Ends a FETCH that has been taken from its tag. Uses task work, since the caller may hold the lock
 * of one ring and then cannot complete a command of another.
 */
void ubd_abort_fetch(struct io_uring_cmd *cmd);

/* The driver's part of a FETCH. */
struct ubd_cmd {
	union {
		struct ubd_tag *tag;
		struct ubd_queue *queue; /* of a FETCH_BATCH */
	};
	struct llist_node next; /* in HANDOVER: in ubd_queue.batch, or of the same task work */
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
 * True in a thread that is being killed. It will be gone soon, and its memory may be out of reach
 * already: a copy that fails there says nothing about the request.
 */
bool ubd_is_dying(void);

static inline bool ubd_has_data(const struct request *rq)
{
	return req_op(rq) == REQ_OP_READ || req_op(rq) == REQ_OP_WRITE;
}

/* Checks what a FETCH of the tag says about data. */
bool ubd_is_addr_valid(const struct ubd_tag *tag, u64 addr);

/* Whether the data of a request needs work before the server gets the request. */
static inline bool ubd_brings_data(const struct ubd_tag *tag)
{
	u64 features = tag->queue->dev->features;

	if (features & UBD_F_ZERO_COPY)
		return ubd_has_data(tag->rq);
	return !(features & UBD_F_USER_COPY) && req_op(tag->rq) == REQ_OP_WRITE;
}

/* How far the driver has got in copying a request's data to or from the server's buffer. */
struct ubd_copy {
	u64 addr; /* of the buffer */
	size_t done, bytes;
	unsigned int turn; /* the tag's; if it has changed, the tag has another request */
	bool is_write;
};

/*
 * Does that work: copies, or registers with the ring of @cmd if possible, in the task that fetched.
 * -EAGAIN: memory is missing; the caller must drop the lock, call ubd_fault_in() and try again with
 * the same @copy, whose @done is 0 at first. Another error: it cannot copy. Sets @ret_op_flags, for
 * the descriptor, or leaves it unchanged. Under tag->lock, which may be dropped meanwhile, in
 * MOVING.
 */
int ubd_bring_data(struct ubd_tag *tag, struct io_uring_cmd *cmd, unsigned int issue_flags,
		   struct ubd_copy *copy, u32 *ret_op_flags);

/*
 * Copies the data of a READ that the server has answered successfully, unless that is up to the
 * server. As ubd_bring_data(), in COMMITTING.
 */
int ubd_take_data(struct ubd_tag *tag, struct ubd_copy *copy);

/*
 * Waits for the memory that @copy has reached, for as long as its provider takes; the request may
 * be taken away meanwhile. -EFAULT if there is none. No lock may be held.
 */
int ubd_fault_in(const struct ubd_copy *copy);

/* The data is a fixed buffer of a ring other than @cmd's. Under tag->lock. */
static inline bool ubd_is_elsewhere(const struct ubd_tag *tag, struct io_uring_cmd *cmd)
{
	return tag->ring && tag->ring != ubd_cmd_ring(cmd);
}

/*
 * Whether the data is a fixed buffer of @cmd's ring. If so, it no longer counts as one, and the
 * caller must call ubd_cmd_unregister(). Under tag->lock.
 */
bool ubd_take_buffer(struct ubd_tag *tag, struct io_uring_cmd *cmd, u32 *ret_index);

/*
 * The server is gone, but its ring may live on in a child: removes our buffers from the ring of
 * @cmd. In task work.
 */
void ubd_take_buffers(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* pread() and pwrite() of /dev/ubdcN. */
ssize_t ubd_read_iter(struct kiocb *iocb, struct iov_iter *data);
ssize_t ubd_write_iter(struct kiocb *iocb, struct iov_iter *data);

/* ---- batch.c ---- */

/* As ->uring_cmd: -EIOCBQUEUED if @cmd is now the queue's FETCH_BATCH. */
int ubd_fetch_batch(struct ubd_queue *q, struct io_uring_cmd *cmd, unsigned int issue_flags);

/* The tag is in HANDOVER. A call of ubd_kick() must follow, one for many tags. */
void ubd_add_pending(struct ubd_tag *tag);

/* Makes the FETCH_BATCH, if there is one, report what is pending, or end if it must. */
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

/* A FETCH is refused: the device has ended, or the server that sends it must leave. */
static inline bool ubd_takes_no_fetch(const struct ubd_device *dev)
{
	return READ_ONCE(dev->flags) & (BIT(UBD_ABORTED) | BIT(UBD_AWAY) | BIT(UBD_DRAINING));
}

/* The server waits for a request here, and wants its data at @addr. Under tag->lock. */
static inline void ubd_arm(struct ubd_tag *tag, struct io_uring_cmd *cmd, u64 addr)
{
	tag->armed = true;
	tag->cmd = cmd;
	tag->addr = addr;
}

/* It no longer does. Returns the command, if any, for the caller to deal with. Under tag->lock. */
static inline struct io_uring_cmd *ubd_disarm(struct ubd_tag *tag)
{
	struct io_uring_cmd *cmd = tag->cmd;

	tag->armed = false;
	tag->cmd = NULL;
	return cmd;
}

/* Whatever the server has or sends is no longer of use. */
static inline bool ubd_is_server_lost(const struct ubd_device *dev)
{
	return READ_ONCE(dev->flags) & (BIT(UBD_ABORTED) | BIT(UBD_AWAY));
}

/* The same for a tag's server. Under tag->lock. */
static inline bool ubd_has_lost_server(const struct ubd_tag *tag)
{
	return ubd_is_server_lost(tag->queue->dev);
}

/* Counts through all tags of the device, queue by queue. */
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

/* Look up unchecked numbers; NULL if out of range. */
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
 * Decides what becomes of the tag's request, now or when the last hold is dropped. It ends with
 * @status; or, with @keep, it waits for the next FETCH, which gives it to the server if @status is
 * BLK_STS_OK and otherwise ends it. Returns the request if the caller must end it. tag->cmd is NULL
 * or a FETCH that goes on waiting. Under tag->lock.
 */
struct request *ubd_settle(struct ubd_tag *tag, bool keep, blk_status_t status);

/* The same for a request whose server is gone, as the device's flags say. Under tag->lock. */
struct request *ubd_settle_lost(struct ubd_tag *tag);

/*
 * Arms the tag with @cmd for its next request, or for one that was waiting: if the tag is in
 * HANDOVER afterwards, the caller must hand it over. The caller must end the request that is
 * returned, if any. Under tag->lock.
 */
struct request *ubd_add_fetch(struct ubd_tag *tag, struct io_uring_cmd *cmd, u64 addr);

/* Drops one hold. No tag lock may be held. */
void ubd_drop_hold(struct ubd_tag *tag);

/* UBD_ABORTED or UBD_AWAY is set: ends every FETCH, and keeps or fails every request. */
void ubd_detach_tags(struct ubd_device *dev);

/*
 * io_uring gives up a FETCH because its ring or its thread is going away: so the server is gone.
 * Ends the command if it waits for a request; otherwise its current user does. May be called
 * repeatedly.
 */
void ubd_cancel_fetch(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* UBD_DRAINING is set: ends every FETCH without a request. */
void ubd_drain_tags(struct ubd_device *dev);

/*
 * True if there is a FETCH that can never be answered: anywhere, or among some of the tags,
 * different ones each time.
 */
bool ubd_has_orphans(struct ubd_device *dev, bool everywhere);

/*
 * True if the server has left requests unanswered for longer than it may. If it has no limit, this
 * only logs a warning.
 */
bool ubd_has_overdue(struct ubd_device *dev);

/* The server has answered a request of the queue. */
static inline void ubd_note_answer(struct ubd_queue *q)
{
	unsigned long now = jiffies;

	/*
	 * Most answers come within the same tick, and then other CPUs keep their copy of the line.
	 */
	if (READ_ONCE(q->answered) != now)
		WRITE_ONCE(q->answered, now);
}

#endif
