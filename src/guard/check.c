/* guard/check.c: check digits of cards, accounts and people. Sources: ISO/IEC 7812-1, ISO 13616 and SWIFT's registry of IBANs; for people the issuing
 * office's rule, as the names of the functions and the comments say. */
#include "guard/check.h"

static unsigned digit(char c) { return (unsigned)(c - '0'); }
static unsigned two(const char *v) { return 10 * digit(v[0]) + digit(v[1]); }

static uint64_t number(const char *v, size_t n)
{
    uint64_t x = 0;
    for (size_t i = 0; i < n; i++)
        x = 10 * x + digit(v[i]);
    return x;
}

static unsigned weighted(const char *v, const char *weights)
{
    unsigned sum = 0;
    for (size_t i = 0; weights[i]; i++)
        sum += digit(v[i]) * (weights[i] <= '9' ? digit(weights[i]) : (unsigned)(weights[i] - 'A' + 10));
    return sum;
}

static bool all_same(const char *v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (v[i] != v[0])
            return false;
    return true;
}

bool check_date(unsigned year, unsigned month, unsigned day)
{
    static const unsigned char days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (month < 1 || month > 12 || day < 1 || day > days[month - 1])
        return false;
    return month != 2 || day < 29 || (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

bool check_luhn(const char *v, size_t n)
{
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned d = digit(v[n - 1 - i]) << (i & 1);
        sum += d > 9 ? d - 9 : d;
    }
    return n > 1 && sum % 10 == 0;
}

bool check_card(const char *v, size_t n)
{
    static const struct { uint32_t from, to; uint8_t digits; uint32_t lengths; } issuers[] = {
        { 4, 4, 1, 1u << 13 | 1u << 16 | 1u << 19 },        { 51, 55, 2, 1u << 16 },   { 2221, 2720, 4, 1u << 16 },
        { 34, 34, 2, 1u << 15 },                            { 37, 37, 2, 1u << 15 },   { 6011, 6011, 4, 1u << 16 | 1u << 19 },
        { 644, 659, 3, 1u << 16 | 1u << 19 },               { 3528, 3589, 4, 1u << 16 | 1u << 19 }, { 300, 305, 3, 1u << 14 },
        { 36, 36, 2, 1u << 14 },                            { 38, 39, 2, 1u << 14 },   { 62, 62, 2, 1u << 16 | 1u << 17 | 1u << 18 | 1u << 19 },
        { 5018, 5018, 4, 1u << 16 },                        { 5020, 5020, 4, 1u << 16 },  { 5038, 5038, 4, 1u << 16 },
        { 6304, 6304, 4, 1u << 16 },                        { 6759, 6763, 4, 1u << 16 },  { 2200, 2204, 4, 1u << 16 },
        { 8100, 8171, 4, 1u << 16 },                        { 6521, 6522, 4, 1u << 16 },
    };
    if (n < 13 || n > 19 || all_same(v, n))
        return false;
    for (size_t i = 0; i < sizeof issuers / sizeof *issuers; i++) {
        uint64_t head = number(v, issuers[i].digits);
        if (head >= issuers[i].from && head <= issuers[i].to && issuers[i].lengths >> n & 1)
            return check_luhn(v, n);
    }
    return false;
}

size_t check_iban_length(const char *v)
{
    static const char lengths[] = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28"
                                  "HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29"
                                  "RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";
    for (size_t i = 0; lengths[i]; i += 4)
        if (lengths[i] == v[0] && lengths[i + 1] == v[1])
            return two(lengths + i + 2);
    return 0;
}

bool check_iban(const char *v, size_t n)
{
    unsigned rest = 0;
    if (n < 15 || n != check_iban_length(v))
        return false;
    for (size_t k = 0; k < n; k++) {
        char c = v[(k + 4) % n];
        rest = c <= '9' ? (rest * 10 + digit(c)) % 97 : (rest * 100 + (unsigned)(c - 'A' + 10)) % 97;
    }
    return rest == 1;
}

bool check_us_ssn(const char *v, size_t n)
{
    uint64_t area = number(v, 3);
    return n == 9 && area && area != 666 && area < 900 && two(v + 3) && number(v + 5, 4) && !all_same(v, n) && memcmp(v, "123456789", 9) != 0 && memcmp(v, "078051120", 9) != 0;
}

bool check_us_itin(const char *v, size_t n)
{
    unsigned group = two(v + 3);
    return n == 9 && v[0] == '9' && ((group >= 50 && group <= 65) || (group >= 70 && group <= 88) || (group >= 90 && group != 93));
}

/* ---- people: Latin America ---- */

bool check_br_cpf(const char *v, size_t n)
{
    unsigned a = weighted(v, "A98765432") * 10 % 11 % 10, b = weighted(v, "BA98765432") * 10 % 11 % 10;
    return n == 11 && !all_same(v, n) && a == digit(v[9]) && b == digit(v[10]);
}

bool check_cl_rut(const char *v, size_t n)
{
    unsigned sum = 0, want;
    for (size_t i = 0; i + 1 < n; i++)
        sum += digit(v[n - 2 - i]) * (unsigned)(2 + i % 6);
    want = 11 - sum % 11;
    return v[n - 1] == (want == 11 ? '0' : want == 10 ? 'K' : (char)('0' + want));
}

bool check_ar_cuit(const char *v, size_t n)
{
    unsigned head = two(v);
    bool given = head == 20 || head == 23 || head == 24 || head == 27 || head == 30 || head == 33 || head == 34;
    return n == 11 && given && (11 - weighted(v, "5432765432") % 11) % 11 == digit(v[10]);
}

bool check_mx_curp(const char *v, size_t n)
{
    static const char values[] = "0123456789ABCDEFGHIJKLMN*OPQRSTUVWXYZ";       /* Ñ stands at the star */
    unsigned sum = 0;
    if (n != 18 || !strchr("HMX", v[10]) || !check_date(2000, two(v + 6), two(v + 8)))
        return false;
    for (size_t i = 0; i < 17; i++)
        sum += (unsigned)(strchr(values, v[i]) - values) * (unsigned)(18 - i);
    return (10 - sum % 10) % 10 == digit(v[17]);
}

/* ---- people: southern Europe ---- */

static bool es_letter(uint64_t number_, char c) { return "TRWAGMYFPDXBNJZSQVHLCKE"[number_ % 23] == c; }
bool check_es_nif(const char *v, size_t n) { return n == 9 && es_letter(number(v, 8), v[8]) && !all_same(v, 8); }

bool check_es_nie(const char *v, size_t n)
{
    return n == 9 && v[0] >= 'X' && v[0] <= 'Z' && es_letter(number(v + 1, 7) + 10000000u * (unsigned)(v[0] - 'X'), v[8]);
}

/* Digits may stand as letters, to tell two people apart: L is 0, V is 9. */
static int it_digit(char c)
{
    static const char letters[] = "LMNPQRSTUV";
    const char *at = c >= 'A' ? strchr(letters, c) : NULL;
    return c <= '9' ? (int)digit(c) : at ? (int)(at - letters) : -1;
}

bool check_it_cf(const char *v, size_t n)
{
    static const unsigned char odd[] = { 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23 };
    static const char places[] = { 6, 7, 9, 10, 12, 13, 14 };
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof places; i++)
        if (it_digit(v[(int)places[i]]) < 0)
            return false;
    int day = it_digit(v[9]) * 10 + it_digit(v[10]);
    if (n != 16 || !strchr("ABCDEHLMPRST", v[8]) || !((day >= 1 && day <= 31) || (day >= 41 && day <= 71)))
        return false;
    for (size_t i = 0; i < 15; i++) {
        unsigned x = v[i] <= '9' ? digit(v[i]) : (unsigned)(v[i] - 'A');
        sum += i & 1 ? x : odd[x];
    }
    return v[15] == (char)('A' + sum % 26);
}

bool check_pt_nif(const char *v, size_t n)
{
    unsigned want = 11 - weighted(v, "98765432") % 11;
    return n == 9 && v[0] != '0' && v[0] != '4' && (want > 9 ? 0 : want) == digit(v[8]);
}

/* ---- people: western and central Europe ---- */

bool check_nl_bsn(const char *v, size_t n)
{
    unsigned sum = weighted(v, "98765432");
    return n == 9 && sum >= digit(v[8]) && (sum - digit(v[8])) % 11 == 0 && !all_same(v, n);
}

/* ISO/IEC 7064, MOD 11,10. */
static bool mod_11_10(const char *v, size_t n)
{
    unsigned product = 10;
    for (size_t i = 0; i + 1 < n; i++) {
        unsigned sum = (digit(v[i]) + product) % 10;
        product = (sum ? sum : 10) * 2 % 11;
    }
    return (11 - product) % 10 == digit(v[n - 1]);
}

bool check_hr_oib(const char *v, size_t n) { return n == 11 && mod_11_10(v, n); }

/* One of the first ten digits comes two or three times, and hardly more may be missing. */
bool check_de_steuerid(const char *v, size_t n)
{
    unsigned count[10] = { 0 }, missing = 0, most = 0;
    for (size_t i = 0; i < 10 && i < n; i++)
        count[digit(v[i])]++;
    for (int d = 0; d < 10; d++) {
        missing += count[d] == 0;
        most = count[d] > most ? count[d] : most;
    }
    return n == 11 && v[0] != '0' && most >= 2 && most <= 3 && missing >= 1 && missing <= 2 && mod_11_10(v, n);
}

bool check_fr_nir(const char *v, size_t n)
{
    char plain[15];
    uint64_t less = 0;
    if (n != 15 || (v[0] != '1' && v[0] != '2'))
        return false;
    memcpy(plain, v, sizeof plain);
    if (v[5] == '2' && (v[6] == 'A' || v[6] == 'B')) {      /* Corsica */
        less = v[6] == 'A' ? 1000000 : 2000000;
        plain[6] = '0';
    }
    for (size_t i = 0; i < n; i++)
        if (plain[i] > '9')
            return false;
    unsigned month = two(plain + 3);
    bool real = (month >= 1 && month <= 12) || (month >= 20 && month <= 42) || month >= 50;
    return real && 97 - (number(plain, 13) - less) % 97 == two(plain + 13);
}

bool check_be_nrn(const char *v, size_t n)
{
    uint64_t head = number(v, 9);
    unsigned want = two(v + 9), month = two(v + 2);
    if (n != 11 || month > 12 || two(v + 4) > 31)
        return false;
    return 97 - head % 97 == want || 97 - (head + 2000000000u) % 97 == want;
}

bool check_ch_ahv(const char *v, size_t n)
{
    return n == 13 && memcmp(v, "756", 3) == 0 && (10 - weighted(v, "131313131313") % 10) % 10 == digit(v[12]);
}

bool check_uk_nhs(const char *v, size_t n)
{
    unsigned want = 11 - weighted(v, "A98765432") % 11;
    return n == 10 && (want == 11 ? 0 : want) == digit(v[9]) && want != 10 && !all_same(v, n);
}

bool check_uk_nino(const char *v, size_t n)
{
    static const char never[] = "BG GB KN NK NT TN ZZ";
    if (n != 9 || strchr("DFIQUV", v[0]) || strchr("DFIQUVO", v[1]) || v[8] > 'D')
        return false;
    for (const char *p = never;; p += 3) {
        if (p[0] == v[0] && p[1] == v[1])
            return false;
        if (!p[2])
            return true;
    }
}

/* ---- people: northern and eastern Europe ---- */

bool check_pl_pesel(const char *v, size_t n)
{
    static const unsigned centuries[] = { 1900, 2000, 2100, 2200, 1800 };
    unsigned month = two(v + 2);
    return n == 11 && check_date(centuries[month / 20] + two(v), month % 20, two(v + 4)) && (10 - weighted(v, "1379137913") % 10) % 10 == digit(v[10]);
}

bool check_se_pnr(const char *v, size_t n)
{
    const char *ten = n == 12 ? v + 2 : v;
    unsigned day = two(ten + 4);
    if (n == 12 && two(v) != 19 && two(v) != 20)
        return false;
    return (n == 10 || n == 12) && check_date(2000, two(ten + 2), day > 60 ? day - 60 : day) && check_luhn(ten, 10);
}

bool check_fi_hetu(const char *v, size_t n)
{
    static const char letters[] = "0123456789ABCDEFHJKLMNPRSTUVWXY";
    uint64_t value = number(v, 6) * 1000 + number(v + 6, 3);
    return n == 10 && check_date(2000, two(v + 2), two(v)) && letters[value % 31] == v[9];
}

bool check_no_fnr(const char *v, size_t n)
{
    unsigned day = two(v), month = two(v + 2);
    unsigned a = (11 - weighted(v, "376189452") % 11) % 11, b = (11 - weighted(v, "5432765432") % 11) % 11;
    return n == 11 && check_date(2000, month > 40 ? month - 40 : month, day > 40 ? day - 40 : day) && a == digit(v[9]) && b == digit(v[10]);
}

/* Numbers given out since 2007 may fail the old mod 11: those are taken by context, with check_dk_day. */
bool check_dk_cpr(const char *v, size_t n) { return n == 10 && check_date(2000, two(v + 2), two(v)) && weighted(v, "4327654321") % 11 == 0; }

bool check_dk_day(const char *v, size_t n) { return n == 10 && check_date(2000, two(v + 2), two(v)); }

bool check_ee_id(const char *v, size_t n)
{
    unsigned sum = weighted(v, "1234567891") % 11;
    if (sum == 10)
        sum = weighted(v, "3456789123") % 11;
    return n == 11 && v[0] >= '1' && v[0] <= '8' && check_date(2000, two(v + 3), two(v + 5)) && sum % 10 == digit(v[10]);
}

bool check_cz_rc(const char *v, size_t n)
{
    unsigned month = two(v + 2) % 50;
    return n == 10 && check_date(2000, month > 20 ? month - 20 : month, two(v + 4)) && (number(v, 10) % 11 == 0 || (number(v, 9) % 11 == 10 && v[9] == '0'));
}

bool check_ro_cnp(const char *v, size_t n)
{
    unsigned want = weighted(v, "279146358279") % 11;
    return n == 13 && v[0] >= '1' && check_date(2000, two(v + 3), two(v + 5)) && (want == 10 ? 1 : want) == digit(v[12]);
}

bool check_tr_tckn(const char *v, size_t n)
{
    unsigned odd = digit(v[0]) + digit(v[2]) + digit(v[4]) + digit(v[6]) + digit(v[8]), even = digit(v[1]) + digit(v[3]) + digit(v[5]) + digit(v[7]);
    return n == 11 && v[0] != '0' && (odd * 7 + 10 * 9 - even) % 10 == digit(v[9]) && (odd + even + digit(v[9])) % 10 == digit(v[10]);
}

/* ---- people: the rest of the world ---- */

bool check_in_aadhaar(const char *v, size_t n)
{
    static const char d[10][11] = { "0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043", "8765932104", "9876543210" };
    static const char p[8][11] = { "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258" };
    unsigned c = 0;                                         /* Verhoeff's dihedral check */
    for (size_t i = 0; i < n; i++)
        c = digit(d[c][digit(p[i % 8][digit(v[n - 1 - i])])]);
    return n == 12 && v[0] >= '2' && c == 0;
}

bool check_in_pan(const char *v, size_t n) { return n == 10 && strchr("PCHFATBLJG", v[3]); }
bool check_ca_sin(const char *v, size_t n) { return n == 9 && v[0] != '0' && v[0] != '8' && check_luhn(v, n); }
bool check_au_tfn(const char *v, size_t n) { return n == 9 && weighted(v, "14375869A") % 11 == 0 && !all_same(v, n); }
bool check_il_id(const char *v, size_t n) { return n == 9 && check_luhn(v, n) && !all_same(v, n); }

bool check_cn_ric(const char *v, size_t n)
{
    unsigned sum = weighted(v, "79A584216379A5842");
    if (n != 18 || v[0] == '0' || (two(v + 6) != 19 && two(v + 6) != 20))
        return false;
    return check_date((unsigned)number(v + 6, 4), two(v + 10), two(v + 12)) && "10X98765432"[sum % 11] == v[17];
}

bool check_kr_rrn(const char *v, size_t n)
{
    return n == 13 && check_date(2000, two(v + 2), two(v + 4)) && (11 - weighted(v, "234567892345") % 11) % 10 == digit(v[12]);
}

bool check_za_id(const char *v, size_t n) { return n == 13 && check_date(2000, two(v + 2), two(v + 4)) && v[10] <= '2' && check_luhn(v, n); }

bool check_sg_nric(const char *v, size_t n)
{
    unsigned sum = weighted(v + 1, "2765432");
    if (n != 9 || !strchr("STFGM", v[0]))
        return false;
    if (v[0] == 'T' || v[0] == 'G')
        sum += 4;
    if (v[0] == 'M')
        return "KLJNPQRTUWX"[10 - (sum + 3) % 11] == v[8];
    return (v[0] == 'S' || v[0] == 'T' ? "JZIHGFEDCBA" : "XWUTRQPNMLK")[sum % 11] == v[8];
}

bool check_tw_id(const char *v, size_t n)
{
    static const unsigned char letters[] = { 10, 11, 12, 13, 14, 15, 16, 17, 34, 18, 19, 20, 21, 22, 35, 23, 24, 25, 26, 27, 28, 29, 32, 30, 31, 33 };
    unsigned letter = letters[v[0] - 'A'];
    return n == 10 && (v[1] == '1' || v[1] == '2') && (letter / 10 + letter % 10 * 9 + weighted(v + 1, "876543211")) % 10 == 0;
}

bool check_th_id(const char *v, size_t n)
{
    return n == 13 && v[0] != '0' && (11 - weighted(v, "DCBA98765432") % 11) % 10 == digit(v[12]);
}
