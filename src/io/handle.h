/* io/handle.h: the loop's libuv handle, for the files of io/ that start something on it. Includes: libuv. */
#ifndef HEARTH_IO_HANDLE_H
#define HEARTH_IO_HANDLE_H

struct io_loop;
void *io_loop_uv(struct io_loop *l);            /* a uv_loop_t */

#endif
