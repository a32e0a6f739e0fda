/* guard/check.h: check digits. Includes: core/str.h.
 *
 * Each takes the value without its separators: digits, and capitals where the kind has them. What a kind demands beside the check digit (a date that exists,
 * a range that is given out) is part of the check. `v` has CHECK_ROOM readable bytes, also when `n`, which must be the kind's own, is less. */
#ifndef HEARTH_GUARD_CHECK_H
#define HEARTH_GUARD_CHECK_H

#include "core/str.h"

enum { CHECK_ROOM = 40 };

bool check_luhn(const char *v, size_t n);           /* ISO/IEC 7812-1, annex B */
bool check_card(const char *v, size_t n);           /* Luhn, and the length that the issuer's prefix has */
bool check_iban(const char *v, size_t n);           /* ISO 13616: the country's length, and mod 97 = 1 */
size_t check_iban_length(const char *v);            /* of the country in v[0] and v[1]; 0: none has such numbers */
bool check_us_ssn(const char *v, size_t n);         /* no area 000, 666, 9xx; no group 00; no serial 0000 */
bool check_date(unsigned year, unsigned month, unsigned day);

/* National identity and tax numbers. */
typedef bool check_fn(const char *v, size_t n);
check_fn check_br_cpf, check_es_nif, check_es_nie, check_it_cf, check_nl_bsn, check_pl_pesel, check_se_pnr, check_fi_hetu, check_no_fnr, check_uk_nhs, check_uk_nino,
    check_de_steuerid, check_fr_nir, check_in_aadhaar, check_in_pan, check_ca_sin, check_au_tfn, check_cn_ric, check_kr_rrn, check_za_id, check_be_nrn, check_pt_nif,
    check_ch_ahv, check_tr_tckn, check_mx_curp, check_sg_nric, check_dk_cpr, check_dk_day, check_ro_cnp, check_cz_rc, check_cl_rut, check_ar_cuit, check_tw_id, check_th_id, check_ee_id,
    check_il_id, check_hr_oib, check_us_itin;

#endif
