/* canary/detector.h: has a mean that was at least m0 dropped? For one that served well and then turns. Includes: libc, libm. Pure.
 *
 * The e-detector of Shin, Ramdas and Rinaldo ("E-detectors", 2023), a mixture of six of Shiryaev and Roberts with the bets of mixture.h:
 *
 *     M_j <- (M_j + 1) (1 + f_j ((1-z)/(1-m0) - 1)),     alarm when their mean reaches A
 *
 * As long as each value's mean, given all before it, is at least m0, an alarm comes after A values or more on average. Unlike an e-process it forgets: a
 * long good time before does not delay it. The order of values matters here.
 *
 * Two streams of a task: whether the checkers passed each call that the candidate served, m0 the task's floor (the lower bound of the reference's pass rate, less
 * 0.05); and (d + 1)/2 of audited pairs, m0 (1 - margin)/2. */
#ifndef HEARTH_CANARY_DETECTOR_H
#define HEARTH_CANARY_DETECTOR_H

#include "canary/mixture.h"

#define DETECTOR_LADDER 1000            /* A while the candidate's share grows: an alarm without a cause costs little there */
#define DETECTOR_PROMOTED 10000
#define DETECTOR_MOST 1e300             /* M_j goes no further */

/* A zeroed `sum` is one that has seen nothing; m0 is in (0,1). That is the whole state. */
struct detector { double m0, sum[MIXTURE_BETS]; };
void detector_add(struct detector *d, double z);        /* in [0,1] */
double detector_value(const struct detector *d);        /* to be held against A */

#endif
