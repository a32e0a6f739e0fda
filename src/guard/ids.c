/* guard/ids.c: numbers of people, by the forms they are written in. A form is matched at one position; what it takes without its separators goes to the check
 * of its kind. Forms whose check leaves little to chance stand alone; of the others the words before them must say what they are. */
#include "guard/check.h"
#include "guard/hunt.h"

/* A pattern: 'd' a digit, 'A' a capital, 'N' either, '*' at most one of " -.", '_' exactly one of these; everything else stands for itself. */
static const struct form { enum rule rule; const char *pattern; check_fn *check; uint8_t alone; uint32_t words; } forms[] = {
    { RULE_id_br_cpf, "ddd.ddd.ddd-dd", check_br_cpf, 90, W_ID },
    { RULE_id_br_cpf, "ddddddddddd", check_br_cpf, 0, W_ID },
    { RULE_id_es_nif, "dddddddd*A", check_es_nif, 85, W_ID },
    { RULE_id_es_nif, "dd.ddd.ddd*A", check_es_nif, 90, W_ID },
    { RULE_id_es_nie, "A*ddddddd*A", check_es_nie, 85, W_ID },
    { RULE_id_it_cf, "AAAAAANNANNANNNA", check_it_cf, 90, W_ID },
    { RULE_id_it_cf, "AAA AAA NNANN ANNNA", check_it_cf, 90, W_ID },
    { RULE_id_nl_bsn, "dddd.dd.ddd", check_nl_bsn, 80, W_ID },
    { RULE_id_nl_bsn, "ddddddddd", check_nl_bsn, 0, W_ID },
    { RULE_id_nl_bsn, "ddd ddd ddd", check_nl_bsn, 0, W_ID },
    { RULE_id_pl_pesel, "ddddddddddd", check_pl_pesel, 55, W_ID },
    { RULE_id_se_pnr, "dddddddd-dddd", check_se_pnr, 80, W_ID },
    { RULE_id_se_pnr, "dddddd-dddd", check_se_pnr, 70, W_ID },
    { RULE_id_se_pnr, "dddddd+dddd", check_se_pnr, 75, W_ID },
    { RULE_id_se_pnr, "dddddddddd", check_se_pnr, 0, W_ID },
    { RULE_id_se_pnr, "dddddddddddd", check_se_pnr, 0, W_ID },
    { RULE_id_fi_hetu, "dddddd-dddN", check_fi_hetu, 80, W_ID },
    { RULE_id_fi_hetu, "dddddd+dddN", check_fi_hetu, 80, W_ID },
    { RULE_id_fi_hetu, "ddddddAdddN", NULL, 75, W_ID },
    { RULE_id_no_fnr, "ddddddddddd", check_no_fnr, 70, W_ID },
    { RULE_id_no_fnr, "dddddd ddddd", check_no_fnr, 75, W_ID },
    { RULE_id_uk_nhs, "ddd_ddd_dddd", check_uk_nhs, 0, W_ID },
    { RULE_id_uk_nhs, "dddddddddd", check_uk_nhs, 0, W_ID },
    { RULE_id_uk_nino, "AAddddddA", check_uk_nino, 70, W_ID },
    { RULE_id_uk_nino, "AA_dd_dd_dd_A", check_uk_nino, 85, W_ID },
    { RULE_id_uk_nino, "AA_dddddd_A", check_uk_nino, 80, W_ID },
    { RULE_id_de_steuerid, "ddddddddddd", check_de_steuerid, 0, W_ID },
    { RULE_id_de_steuerid, "dd ddd ddd ddd", check_de_steuerid, 70, W_ID },
    { RULE_id_fr_nir, "d*dd*dd*dN*ddd*ddd*dd", check_fr_nir, 85, W_ID },
    { RULE_id_in_aadhaar, "dddd_dddd_dddd", check_in_aadhaar, 0, W_ID },
    { RULE_id_in_aadhaar, "dddddddddddd", check_in_aadhaar, 0, W_ID },
    { RULE_id_in_pan, "AAAAAddddA", check_in_pan, 55, W_ID },
    { RULE_id_ca_sin, "ddd_ddd_ddd", check_ca_sin, 0, W_ID },
    { RULE_id_ca_sin, "ddddddddd", check_ca_sin, 0, W_ID },
    { RULE_id_au_tfn, "ddd_ddd_ddd", check_au_tfn, 0, W_ID },
    { RULE_id_au_tfn, "ddddddddd", check_au_tfn, 0, W_ID },
    { RULE_id_cn_ric, "dddddddddddddddddN", check_cn_ric, 90, W_ID },
    { RULE_id_kr_rrn, "dddddd-ddddddd", check_kr_rrn, 85, W_ID },
    { RULE_id_kr_rrn, "ddddddddddddd", check_kr_rrn, 0, W_ID },
    { RULE_id_za_id, "ddddddddddddd", check_za_id, 0, W_ID },
    { RULE_id_za_id, "dddddd dddd ddd", check_za_id, 80, W_ID },
    { RULE_id_be_nrn, "dd.dd.dd-ddd.dd", check_be_nrn, 90, W_ID },
    { RULE_id_be_nrn, "dd.dd.dd_ddd_dd", check_be_nrn, 85, W_ID },
    { RULE_id_be_nrn, "ddddddddddd", check_be_nrn, 0, W_ID },
    { RULE_id_pt_nif, "ddd_ddd_ddd", check_pt_nif, 0, W_ID },
    { RULE_id_pt_nif, "ddddddddd", check_pt_nif, 0, W_ID },
    { RULE_id_ch_ahv, "ddd.dddd.dddd.dd", check_ch_ahv, 95, W_ID },
    { RULE_id_ch_ahv, "ddddddddddddd", check_ch_ahv, 60, W_ID },
    { RULE_id_ch_ahv, "ddd dddd dddd dd", check_ch_ahv, 90, W_ID },
    { RULE_id_tr_tckn, "ddddddddddd", check_tr_tckn, 0, W_ID },
    { RULE_id_mx_curp, "AAAAddddddAAAAAANd", check_mx_curp, 90, W_ID },
    { RULE_id_sg_nric, "AdddddddA", check_sg_nric, 70, W_ID },
    { RULE_id_dk_cpr, "dddddd-dddd", check_dk_cpr, 65, W_ID },
    { RULE_id_dk_cpr, "dddddd-dddd", check_dk_day, 0, W_ID },
    { RULE_id_dk_cpr, "dddddddddd", check_dk_day, 0, W_ID },
    { RULE_id_dk_cpr, "dddddd dddd", check_dk_day, 0, W_ID },
    { RULE_id_ro_cnp, "ddddddddddddd", check_ro_cnp, 0, W_ID },
    { RULE_id_cz_rc, "dddddd/dddd", check_cz_rc, 75, W_ID },
    { RULE_id_cz_rc, "dddddddddd", check_cz_rc, 0, W_ID },
    { RULE_id_cl_rut, "dd.ddd.ddd-N", check_cl_rut, 85, W_ID },
    { RULE_id_cl_rut, "dddddddd-N", check_cl_rut, 0, W_ID },
    { RULE_id_ar_cuit, "dd-dddddddd-d", check_ar_cuit, 85, W_ID },
    { RULE_id_ar_cuit, "ddddddddddd", check_ar_cuit, 0, W_ID },
    { RULE_id_tw, "Addddddddd", check_tw_id, 65, W_ID },
    { RULE_id_th, "d-dddd-ddddd-dd-d", check_th_id, 90, W_ID },
    { RULE_id_th, "ddddddddddddd", check_th_id, 0, W_ID },
    { RULE_id_ee, "ddddddddddd", check_ee_id, 0, W_ID },
    { RULE_id_il, "ddddddddd", check_il_id, 0, W_ID },
    { RULE_id_hr_oib, "ddddddddddd", check_hr_oib, 0, W_ID },
    { RULE_id_us_itin, "ddd-dd-dddd", check_us_itin, 0, W_ID | W_SSN },
    { RULE_us_ssn, "ddd-dd-dddd", check_us_ssn, 75, W_SSN | W_ID },
    { RULE_us_ssn, "ddd dd dddd", check_us_ssn, 0, W_SSN | W_ID },
    { RULE_us_ssn, "ddd.dd.dddd", check_us_ssn, 0, W_SSN | W_ID },
    { RULE_us_ssn, "ddddddddd", check_us_ssn, 0, W_SSN },
};

static bool is_separator(char c) { return c == ' ' || c == '-' || c == '.'; }

/* How far `pattern` matches from `i`: its end, with the value in v[0, *n); or 0. */
static size_t matched(const struct hunt *h, size_t i, const char *pattern, char v[CHECK_ROOM], size_t *n)
{
    *n = 0;
    for (; *pattern; pattern++) {
        char c = hunt_at(h, i);
        switch (*pattern) {
        case '*': i += is_separator(c) && hunt_at(h, i); continue;
        case '_':
            if (!is_separator(c))
                return 0;
            i++;
            continue;
        case 'd':
        case 'A':
        case 'N':
            if (!is(c, *pattern == 'd' ? C_DIGIT : *pattern == 'A' ? C_UPPER : C_DIGIT | C_UPPER))
                return 0;
            v[(*n)++] = c;
            break;
        default:
            if (c != *pattern)
                return 0;
        }
        i++;
    }
    return i;
}

/* FI_HETU with a letter for the century: the letter is no part of the checked number. */
static bool hetu_of_letter(char v[CHECK_ROOM])
{
    if (!strchr("ABCDEFUVWXY", v[6]))
        return false;
    memmove(v + 6, v + 7, 4);
    return check_fi_hetu(v, 10);
}

enum { LEADS = 25, CAPITALS = 8, FORMS_MAX = 48 };

/* Forms by the digits that they start with, then by the capitals. What follows these: `next`, 0 for anything; and behind a separator `second` digits, or `more`
 * than so many. `plain`: digits and nothing else. */
struct start { uint8_t form, second; char next; bool more, plain; };
struct forms { uint8_t n[LEADS + CAPITALS]; struct start of[LEADS + CAPITALS][FORMS_MAX]; };

static void forms_add(struct forms *x, size_t row, size_t form, const char *rest)
{
    if (x->n[row] == FORMS_MAX)
        return;
    struct start *s = &x->of[row][x->n[row]++];
    bool any = !*rest || strchr("*dAN", *rest);
    size_t second = any ? 0 : strspn(rest + 1, "d");
    *s = (struct start){ .form = (uint8_t)form, .second = (uint8_t)second, .next = any ? '\0' : *rest, .more = second && strchr("*N", rest[1 + second]), .plain = !*rest };
}

struct forms *forms_new(struct arena *a)
{
    struct forms *x = arena_new(a, struct forms, 1);
    for (size_t i = 0; x && i < sizeof forms / sizeof *forms; i++) {
        const char *pattern = forms[i].pattern;
        size_t digits = strspn(pattern, "d"), lead = digits ? digits : strspn(pattern, "A"), from = digits ? 0 : LEADS, end = digits ? LEADS : LEADS + CAPITALS;
        forms_add(x, from + lead, i, pattern + lead);
        if (pattern[lead] == 'N' || (digits && pattern[lead] == '*'))       /* which one more of the kind may stand for, or leave out */
            for (size_t more = from + lead + 1; more < end; more++)
                forms_add(x, more, i, "*");
    }
    return x;
}

/* What else `row` asks for, of the byte behind the first digits or capitals and the number of digits that follow it. */
static bool may_match(const struct start *s, char after, size_t second)
{
    if (!s->next)
        return true;
    return (s->next == '_' ? is_separator(after) : s->next == after) && (!s->second || second == s->second || (s->more && second > s->second));
}

bool rule_ids(struct hunt *h, size_t at)
{
    size_t digits = hunt_run(h, at, C_DIGIT, LEADS), lead = digits ? digits : hunt_run(h, at, C_UPPER, CAPITALS - 1), n, end, best_end = 0;
    size_t row = digits ? digits : LEADS + lead, second = hunt_run(h, at + lead + 1, C_DIGIT, LEADS);
    char v[CHECK_ROOM] = "", after = hunt_at(h, at + lead);
    enum rule best = RULE_NONE;
    unsigned score = 0;
    uint32_t context = 0;
    bool asked = false;
    for (size_t k = 0; digits < LEADS && k < h->forms->n[row]; k++) {
        const struct start *start = &h->forms->of[row][k];
        const struct form *f = &forms[start->form];
        if (!may_match(start, after, second))
            continue;
        if (!f->alone && !asked) {
            context = hunt_context(h, at);
            asked = true;
        }
        if (!f->alone && !(context & f->words))
            continue;                   /* whatever its digits are */
        end = at + (n = lead);
        if (start->plain)
            memcpy(v, h->p + at, n);
        else
            end = matched(h, at, f->pattern, v, &n);
        if (!end || end < best_end || !hunt_alone_after(h, end) || !(f->check ? f->check(v, n) : hetu_of_letter(v)))
            continue;
        context = asked ? context : hunt_context(h, at);
        asked = true;
        unsigned s = context & f->words & W_SSN ? 97 : context & f->words ? 95 : context & (W_OTHER | W_VERSION) ? 0 : f->alone;
        if (s > score || (s && end > best_end)) {
            score = s;
            best = f->rule;
            best_end = end;
        }
    }
    if (!score)
        return false;
    hunt_add(h, at, best_end, best, score);
    h->done = best_end;
    return true;
}
