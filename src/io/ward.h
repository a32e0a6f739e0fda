/* io/ward.h: a process between hearth and a foreign server, which leaves nothing of it behind. Includes: core.
 *
 *     hearth ──life (a pipe)──► ward ──► server ──► workers, runners, and what they start
 *
 * A server such as vLLM or Ollama starts processes of its own, in groups and sessions as it likes, and most of them do not end with it. The ward
 * is what orphans below it fall to (PR_SET_CHILD_SUBREAPER), so it can end all of them, and it ends all of them when
 *
 *   - the server has ended, by itself or after the SIGTERM that the ward hands on to it (to it alone: it knows its own), or
 *   - the other end of `life` is closed: hearth asks for it so, and the kernel does when hearth was killed.
 *
 * Then the ward ends as the server did: with its status, or by its signal. What the server prints goes into a file that never grows past half
 * of `log_max` bytes: it is renamed to FILE.1 then, and a new one begun.
 *
 *   hearth --ward LIFE LOG LOG_MAX PROGRAM [ARGUMENT…]        LIFE: a descriptor; LOG "": nowhere */
#ifndef HEARTH_IO_WARD_H
#define HEARTH_IO_WARD_H

#define WARD_FLAG "--ward"
#define WARD_NOT_STARTED 127            /* the program is not there or cannot be run: the log's last line says why */

/* `argv` from LIFE on. Returns the status of this process. */
int ward_main(int argc, char **argv);

#endif
