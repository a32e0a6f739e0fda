/* Six products and a mean: with no logarithms, since each value is seen once and M falls back to little by itself. */
#include "canary/detector.h"

#include <assert.h>

void detector_add(struct detector *d, double z)
{
    assert(z >= 0 && z <= 1 && d->m0 > 0 && d->m0 < 1);
    double odds = (1 - z) / (1 - d->m0) - 1;
    for (unsigned j = 0; j < MIXTURE_BETS; j++) {
        double next = (d->sum[j] + 1) * (1 + mixture_bets[j] * odds);
        d->sum[j] = next < DETECTOR_MOST ? next : DETECTOR_MOST;
    }
}

double detector_value(const struct detector *d)
{
    double all = 0;
    for (unsigned j = 0; j < MIXTURE_BETS; j++)
        all += d->sum[j] / MIXTURE_BETS;
    return all;
}
