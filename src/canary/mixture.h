/* canary/mixture.h: evidence about a mean in [0,1] that may be looked at after every value. Includes: libc, libm. Pure.
 *
 * Values are counted in 201 bins, z_b = b/200, c_b of them. The mixture of six bets against "the mean is at most m0" (Waudby-Smith and
 * Ramdas, "Estimating means of bounded random variables by betting", 2024, with fixed bets, so that the order of values does not matter):
 *
 *     log E = logsumexp_j( sum_b c_b log(1 + f_j (z_b/m0 - 1)) ) - log 6,     f_j = 0.05 (0.99/0.05)^(j/5)
 *
 * Where each value's mean, given all before it, is at most m0, every factor has a mean of at most 1, and the chance that E ever
 * reaches 1/alpha is at most alpha (Ville). "The mean is at least m0" is the same with 1 - z and 1 - m0. A value that lies between two bins goes
 * to the one that speaks against what is to be shown: down where it is "above", up where it is "below"; to the nearest, E would hold nothing.
 *
 * log E is made from the counts each time: nothing adds up but integers, so replaying a record gives the same bits. */
#ifndef HEARTH_CANARY_MIXTURE_H
#define HEARTH_CANARY_MIXTURE_H

#include <stdint.h>

#define MIXTURE_BINS 201
#define MIXTURE_BETS 6

extern const double mixture_bets[MIXTURE_BETS];         /* f_j */

/* The bin of a score in [0,1], z = score, and of a difference of two scores, z = (d + 1)/2. A score in 200ths and a difference in hundredths have a bin of their own. */
unsigned mixture_score_down(double score);
unsigned mixture_difference_down(double d);
unsigned mixture_difference_up(double d);

/* What one value of each bin adds to each bet's logarithm. Made once for a hypothesis, then read only. */
struct mixture { double step[MIXTURE_BINS][MIXTURE_BETS]; };
void mixture_above(struct mixture *m, double m0);       /* evidence that the mean is above m0, which is in (0,1) */
void mixture_below(struct mixture *m, double m0);       /* that it is below */
double mixture_log_e(const struct mixture *m, const uint32_t count[MIXTURE_BINS]);

/* The ends of what E does not exclude at 1/level: for an interval of 95 %, 0.025 at each end. On the scale of z; a difference is 2z - 1. By
 * bisection to 1e-12: up to a millisecond, for display. */
double mixture_lower(const uint32_t count[MIXTURE_BINS], double level);
double mixture_upper(const uint32_t count[MIXTURE_BINS], double level);

#endif
