/* io/loop.h: the event loop: descriptors, timers, wake-ups. Includes: core, libuv (in loop.c alone).
 *
 * One loop belongs to one thread; nothing here may be called from another, but io_wake_send() and io_loop_stop().
 * Callbacks record what happened and step a machine. Every object is owned by the caller and embedded in its struct;
 * after io_*_close() the memory must stay until the callback given there has run (libuv's rule).
 *
 * Sockets are plain non-blocking descriptors that are read and written directly; a watch only says when that is worth
 * trying (level-triggered). That costs fewer system calls than libuv's streams (4.2 against 5.1 a call). */
#ifndef HEARTH_IO_LOOP_H
#define HEARTH_IO_LOOP_H

#include "core/err.h"
#include "core/str.h"

#include <stdatomic.h>

struct io_loop;

enum err io_loop_new(struct io_loop **out);
void io_loop_free(struct io_loop *l);               /* everything must have been closed; asserts it */
void io_loop_run(struct io_loop *l);                /* until io_loop_stop() */
bool io_loop_run_once(struct io_loop *l);           /* one turn without waiting: for tests; true while handles are active */
void io_loop_stop(struct io_loop *l);               /* from any thread: run() returns after this turn */
/* Monotonic, as of the start of this turn, without the time in which the process stood still: what deadlines are measured by. Timers run by the
 * system's time, so one that stands for a deadline looks here when it fires, and waits for the rest. */
int64_t io_now_ms(struct io_loop *l);
/* Runs at the end of every turn that did something, before the loop sleeps: flush what was collected (one wake per turn). */
void io_loop_on_turn(struct io_loop *l, void (*fn)(void *ctx), void *ctx);
/* A buffer of 64 KiB shared by everything on this loop: valid until the next callback. Reads land here first. */
#define IO_SCRATCH 65536
char *io_loop_scratch(struct io_loop *l);

/* ---- descriptors ---- */
enum { IO_READ = 1, IO_WRITE = 2, IO_HANGUP = 4 };  /* IO_HANGUP: the peer has closed its side (EPOLLRDHUP) */

struct io_watch {
    union { void *align; char space[200]; } uv;     /* a uv_poll_t; its size is asserted in loop.c */
    void (*on_ready)(struct io_watch *w, int events);       /* events may hold IO_HANGUP and errors as IO_READ|IO_WRITE */
    void (*on_closed)(struct io_watch *w);
    struct io_loop *loop;
    int fd, events;
};
enum err io_watch_init(struct io_loop *l, struct io_watch *w, int fd, void (*on_ready)(struct io_watch *, int));
void io_watch_set(struct io_watch *w, int events);  /* 0: nothing. No system call where nothing changes. */
void io_watch_close(struct io_watch *w, void (*on_closed)(struct io_watch *));   /* does not close the descriptor */

/* ---- timers ---- */
struct io_timer {
    union { void *align; char space[200]; } uv;
    void (*on_fire)(struct io_timer *t);
    void (*on_closed)(struct io_timer *t);
    struct io_loop *loop;
};
void io_timer_init(struct io_loop *l, struct io_timer *t, void (*on_fire)(struct io_timer *));
void io_timer_start(struct io_timer *t, int64_t in_ms);      /* once; starting again moves it */
void io_timer_stop(struct io_timer *t);
void io_timer_close(struct io_timer *t, void (*on_closed)(struct io_timer *));

/* ---- wake-ups from other threads ---- */
struct io_wake {
    union { void *align; char space[200]; } uv;      /* for closing alone */
    void (*on_wake)(struct io_wake *w);              /* several sends may become one call */
    void (*on_closed)(struct io_wake *w);
    struct io_loop *loop;
    struct io_wake *next;                            /* of this loop */
    atomic_bool sent;
};
enum err io_wake_init(struct io_loop *l, struct io_wake *w, void (*on_wake)(struct io_wake *));
void io_wake_send(struct io_wake *w);                /* any thread, also a signal handler */
void io_wake_close(struct io_wake *w, void (*on_closed)(struct io_wake *));

/* ---- signals ---- */
struct io_signal {
    union { void *align; char space[240]; } uv;
    void (*on_signal)(struct io_signal *s, int signum);
    void (*on_closed)(struct io_signal *s);
    struct io_loop *loop;
};
enum err io_signal_init(struct io_loop *l, struct io_signal *s, int signum, void (*on_signal)(struct io_signal *, int));
void io_signal_close(struct io_signal *s, void (*on_closed)(struct io_signal *));

#endif
