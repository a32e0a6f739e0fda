/* cmd/report.h: what calls cost, how long they took and where they went, summed up. Includes: app.h.
 *
 * A call counts once, whatever it took; tokens and money are of all its tries. "Elsewhere" is what the tries outside of the zone cloud would have cost with the
 * reference of their task: its tokens, counted by the model that answered, times the prices of that reference. */
#ifndef HEARTH_CMD_REPORT_H
#define HEARTH_CMD_REPORT_H

#include "cmd/app.h"

/* Durations in classes that are 4.4 % wide: from 1 µs, sixteen to the doubling. */
enum { REPORT_CLASSES = 16 * 36 };

struct report_sum {
    int64_t calls, ok, local;           /* local: answered outside of the zone cloud; of calls that were answered */
    int64_t answered, tries;            /* tries: those that another followed */
    int64_t input_tokens, output_tokens;
    int64_t cost_micros, unpriced;      /* unpriced: answers of a cloud without a price */
    int64_t elsewhere_micros, incomparable;             /* incomparable: local answers without a reference that has a price */
    double energy_j;
    uint32_t classes[REPORT_CLASSES];   /* of answered calls, total_us */
};

struct report_line { str name; struct report_sum now, before; };
/* By task, model or key; what comes after the first REPORT_LINES names is summed up as "others". */
enum { REPORT_LINES = 200, REPORT_TABLES = 3 };
struct report_table { const char *title, *column; struct report_line *lines; size_t n; };

enum { REPORT_BUCKETS = 96 };
struct report_bucket { int64_t local, cloud, failed, cost_micros, elsewhere_micros; };

struct report {
    int64_t before_us, since_us, until_us;              /* the period, and the one of the same length before it */
    struct report_sum now, before;
    struct report_table tables[REPORT_TABLES];
    struct report_bucket buckets[REPORT_BUCKETS];       /* of the period now, each bucket_us long */
    size_t n_buckets;
    int64_t bucket_us;
    int64_t other_prices;               /* of the local answers now, those made under another configuration: today's prices are not theirs */
};

/* The share p of the calls took no longer, µs; 0: there are none. */
int64_t report_percentile(const struct report_sum *s, double p);
/* The page: one file that needs nothing else. */
void report_page(FILE *to, const struct report *r);
/* "$1.23", "$0.0042", "-" where nothing is known. */
char *report_money(int64_t micros, bool known, char out[24]);
/* "6 hours", "1 day": of a bucket. */
char *report_length(int64_t us, char out[24]);
/* "1,234", "1.2M". */
char *report_count(int64_t n, char out[24]);

#endif
