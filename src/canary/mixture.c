/* The logarithms depend on bin and bet only, so a table of them makes log E a sum of products: a full one takes a microsecond. */
#include "canary/mixture.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#define TOP (MIXTURE_BINS - 1)
#define PRECISION 1e-12
#define SUBTRACTION_ERROR 0x1p-51

const double mixture_bets[MIXTURE_BETS] = { 0.05, 0.090845421105146320, 0.16505781071542724, 0.29989492642273030, 0.54488161756339600, 0.99 };

/* The last bin b with (b - zero)/per <= v. The test is on the quotients, as doubles: 0.29 times 100 is not 29, but 29/100 is 0.29. */
static unsigned bin_down(double v, int zero, double per)
{
    int b = (int)lround(v * per) + zero;
    if ((b - zero) / per > v)
        b--;
    assert(b >= 0 && b <= TOP);
    return (unsigned)b;
}

unsigned mixture_score_down(double score) { return bin_down(score, 0, TOP); }

/* 0.9 - 1 is not -0.1 in doubles, nor 0.7 - 0.4 0.3. A difference of two scores is known to that error only; it is less than what the sum of logarithms
 * itself is off by. */
unsigned mixture_difference_down(double d)
{
    double most = d + SUBTRACTION_ERROR;
    return bin_down(most < 1 ? most : 1, TOP / 2, TOP / 2.0);
}

unsigned mixture_difference_up(double d) { return TOP - mixture_difference_down(-d); }

/* What a value z adds to the bet f against a mean of at most m0. */
static double step(double f, double z, double m0) { return log1p(f * (z / m0 - 1)); }

void mixture_above(struct mixture *m, double m0)
{
    assert(m0 > 0 && m0 < 1);
    for (unsigned j = 0; j < MIXTURE_BETS; j++)
        for (unsigned b = 0; b < MIXTURE_BINS; b++)
            m->step[b][j] = step(mixture_bets[j], (double)b / TOP, m0);
}

void mixture_below(struct mixture *m, double m0)
{
    assert(m0 > 0 && m0 < 1);
    for (unsigned j = 0; j < MIXTURE_BETS; j++)
        for (unsigned b = 0; b < MIXTURE_BINS; b++)
            m->step[b][j] = step(mixture_bets[j], (double)(TOP - b) / TOP, 1 - m0);
}

static double log_mean_exp(const double sum[MIXTURE_BETS])
{
    double most = sum[0], all = 0;
    for (unsigned j = 1; j < MIXTURE_BETS; j++)
        most = sum[j] > most ? sum[j] : most;
    for (unsigned j = 0; j < MIXTURE_BETS; j++)
        all += exp(sum[j] - most);
    return most + log(all / MIXTURE_BETS);
}

double mixture_log_e(const struct mixture *m, const uint32_t count[MIXTURE_BINS])
{
    double sum[MIXTURE_BETS] = { 0 };
    for (unsigned b = 0; b < MIXTURE_BINS; b++) {
        if (!count[b])
            continue;
        for (unsigned j = 0; j < MIXTURE_BETS; j++)
            sum[j] += count[b] * m->step[b][j];
    }
    return log_mean_exp(sum);
}

/* log E against "the mean is at most m0", of the counts or of their mirror image, without a table: m0 is another one each time. */
static double log_e_at(const uint32_t count[MIXTURE_BINS], bool mirror, double m0)
{
    double sum[MIXTURE_BETS] = { 0 };
    for (unsigned b = 0; b < MIXTURE_BINS; b++) {
        uint32_t c = count[mirror ? TOP - b : b];
        for (unsigned j = 0; c && j < MIXTURE_BETS; j++)
            sum[j] += c * step(mixture_bets[j], (double)b / TOP, m0);
    }
    return log_mean_exp(sum);
}

/* log E falls as m0 rises: the smallest m0 at which it is below the threshold. */
static double lowest(const uint32_t count[MIXTURE_BINS], bool mirror, double level)
{
    double threshold = -log(level), out = 0, in = 1;
    while (in - out > PRECISION) {
        double middle = (out + in) / 2;
        if (log_e_at(count, mirror, middle) < threshold)
            in = middle;
        else
            out = middle;
    }
    return out;
}

double mixture_lower(const uint32_t count[MIXTURE_BINS], double level) { return lowest(count, false, level); }
double mixture_upper(const uint32_t count[MIXTURE_BINS], double level) { return 1 - lowest(count, true, level); }
