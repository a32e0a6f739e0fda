/* canary/bound.h: two confidence sequences of others for a mean in [0,1], to hold mixture.h against. Includes: libc, libm. Pure.
 *
 * Both are of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024), and the same as in its authors' package `confseq`:
 * the empirical Bernstein bound by a predictable mixture (predmix_empbern_twosided_cs) and hedged capital (betting_cs). No decision is made of them. The first
 * is what two separate intervals cost in bench/canary_sim; both are held against confseq in tests/canary/test_bound.c. The order of values matters, and what they
 * say after t values is for that t: nothing is intersected. */
#ifndef HEARTH_CANARY_BOUND_H
#define HEARTH_CANARY_BOUND_H

#include <stdbool.h>

/* What both bet by: with a = level,
 *     mu_t = min(1, (1/2 + sum x_i)/(t+1)),  s2_t = (1/4 + sum (x_i - mu_i)^2)/(t+1),  lam_t = sqrt(2 ln(1/a) / (t ln(1+t) s2_{t-1})) */
struct bound_pace { double log_level, n, sum, spread; };

/* L_t = max(0, (sum lam_i x_i - ln(1/a) - sum v_i psi(lam_i)) / sum lam_i), lam_i at most 1/2, v_t = (x_t - mean before)^2, psi(l) = -ln(1-l) - l; U_t = 1 - L_t of 1 - x. */
struct bound {
    struct bound_pace pace;
    double bets, gain, gain_mirror, cost, cost_mirror;
};
void bound_init(struct bound *b, double level);         /* of each end: 0.025 for 95 % */
void bound_add(struct bound *b, double x);
double bound_lower(const struct bound *b);
double bound_upper(const struct bound *b);

/* What is won by betting that the mean is above m, and that it is below, with lam_i at most c/m and c/(1-m), c = 1/2; m is excluded where the larger half reaches 1/alpha. */
#define BOUND_GRID 1001                                 /* m = i/1000 */
struct bound_capital {
    struct bound_pace pace;
    double log_above[BOUND_GRID], log_below[BOUND_GRID];
};
void bound_capital_init(struct bound_capital *c, double alpha);
void bound_capital_add(struct bound_capital *c, double x);
/* The first and the last m that are not excluded (betting_cs goes one further at each end); false: there is none. */
bool bound_capital_interval(const struct bound_capital *c, double *lower, double *upper);

#endif
