/* core/cores.h: how many cores this process may keep busy. Includes: libc.
 *
 * One for each core of the affinity mask, whatever hyperthreads it has (two threads of matrix products on one core are no faster than one), and no more than
 * the quota of a control group (version 2, cpu.max) allows. At least 1. */
#ifndef HEARTH_CORE_CORES_H
#define HEARTH_CORE_CORES_H

int cores_free(void);

/* What each of `models` gets of `budget` threads, of which some are `taken` already: equal shares, since a share that depended on the order of loading would
 * make a model another one every time. At least 1, so many models on few cores are more threads than cores. */
int cores_share(int budget, int taken, int models);

#endif
