/* The formulas of the header, a value at a time. */
#include "canary/bound.h"

#include <math.h>
#include <string.h>

#define MOST 0.5 /* c */

/* The bet on the next value; made before it is seen. */
static double pace_bet(const struct bound_pace *p)
{
    double t = p->n + 1, variance = (0.25 + p->spread) / t;
    return sqrt(2 * p->log_level / (t * log1p(t) * variance));
}

static void pace_add(struct bound_pace *p, double x)
{
    p->n++;
    p->sum += x;
    double mean = fmin(1, (0.5 + p->sum) / (p->n + 1));
    p->spread += (x - mean) * (x - mean);
}

void bound_init(struct bound *b, double level) { *b = (struct bound) { .pace.log_level = -log(level) }; }

void bound_add(struct bound *b, double x)
{
    double bet = fmin(MOST, pace_bet(&b->pace)), price = -log1p(-bet) - bet, n = b->pace.n;
    double mean = n > 0 ? b->pace.sum / n : 0, mean_mirror = n > 0 ? 1 - mean : 0;
    b->bets += bet;
    b->gain += bet * x;
    b->gain_mirror += bet * (1 - x);
    b->cost += (x - mean) * (x - mean) * price;
    b->cost_mirror += (1 - x - mean_mirror) * (1 - x - mean_mirror) * price;
    pace_add(&b->pace, x);
}

static double end(const struct bound *b, double gain, double cost)
{
    return b->bets > 0 ? fmax(0, (gain - b->pace.log_level - cost) / b->bets) : 0;
}

double bound_lower(const struct bound *b) { return end(b, b->gain, b->cost); }
double bound_upper(const struct bound *b) { return 1 - end(b, b->gain_mirror, b->cost_mirror); }

void bound_capital_init(struct bound_capital *c, double alpha)
{
    memset(c, 0, sizeof *c);
    c->pace.log_level = -log(alpha / 2);
}

void bound_capital_add(struct bound_capital *c, double x)
{
    double bet = pace_bet(&c->pace);
    for (int i = 0; i < BOUND_GRID; i++) {
        double m = i / (BOUND_GRID - 1.0);
        c->log_above[i] += log1p(fmin(bet, MOST / m) * (x - m));
        c->log_below[i] += log1p(-fmin(bet, MOST / (1 - m)) * (x - m));
    }
    pace_add(&c->pace, x);
}

bool bound_capital_interval(const struct bound_capital *c, double *lower, double *upper)
{
    bool found = false;
    for (int i = 0; i < BOUND_GRID; i++) {
        /* Half of it against 1/alpha is all of it against 2/alpha. */
        if (fmax(c->log_above[i], c->log_below[i]) >= c->pace.log_level)
            continue;
        *upper = i / (BOUND_GRID - 1.0);
        *lower = found ? *lower : *upper;
        found = true;
    }
    return found;
}
