/* guard/rules.h: every rule of the finder, in one list. Includes: guard/find.h.
 *
 * The name is what audits and reports show, and stays. Numbers of rules do not: they are the order of this list. */
#ifndef HEARTH_GUARD_RULES_H
#define HEARTH_GUARD_RULES_H

#include "guard/find.h"

/* name, type */
#define RULES(X)                      \
    X(email, EMAIL)                   \
    X(email_encoded, EMAIL)           \
    X(phone_e164, PHONE)              \
    X(phone_national, PHONE)          \
    X(phone_field, PHONE)             \
    X(card, CREDIT_CARD)              \
    X(card_field, CREDIT_CARD)        \
    X(iban, IBAN)                     \
    X(us_ssn, US_SSN)                 \
    X(id_br_cpf, NATIONAL_ID)         \
    X(id_es_nif, NATIONAL_ID)         \
    X(id_es_nie, NATIONAL_ID)         \
    X(id_it_cf, NATIONAL_ID)          \
    X(id_nl_bsn, NATIONAL_ID)         \
    X(id_pl_pesel, NATIONAL_ID)       \
    X(id_se_pnr, NATIONAL_ID)         \
    X(id_fi_hetu, NATIONAL_ID)        \
    X(id_no_fnr, NATIONAL_ID)         \
    X(id_uk_nhs, NATIONAL_ID)         \
    X(id_uk_nino, NATIONAL_ID)        \
    X(id_de_steuerid, NATIONAL_ID)    \
    X(id_fr_nir, NATIONAL_ID)         \
    X(id_in_aadhaar, NATIONAL_ID)     \
    X(id_in_pan, NATIONAL_ID)         \
    X(id_ca_sin, NATIONAL_ID)         \
    X(id_au_tfn, NATIONAL_ID)         \
    X(id_cn_ric, NATIONAL_ID)         \
    X(id_kr_rrn, NATIONAL_ID)         \
    X(id_za_id, NATIONAL_ID)          \
    X(id_be_nrn, NATIONAL_ID)         \
    X(id_pt_nif, NATIONAL_ID)         \
    X(id_ch_ahv, NATIONAL_ID)         \
    X(id_tr_tckn, NATIONAL_ID)        \
    X(id_mx_curp, NATIONAL_ID)        \
    X(id_sg_nric, NATIONAL_ID)        \
    X(id_dk_cpr, NATIONAL_ID)         \
    X(id_ro_cnp, NATIONAL_ID)         \
    X(id_cz_rc, NATIONAL_ID)          \
    X(id_cl_rut, NATIONAL_ID)         \
    X(id_ar_cuit, NATIONAL_ID)        \
    X(id_tw, NATIONAL_ID)             \
    X(id_th, NATIONAL_ID)             \
    X(id_ee, NATIONAL_ID)             \
    X(id_il, NATIONAL_ID)             \
    X(id_hr_oib, NATIONAL_ID)         \
    X(id_us_itin, NATIONAL_ID)        \
    X(passport, PASSPORT)             \
    X(ipv4, IP_ADDRESS)               \
    X(ipv6, IP_ADDRESS)               \
    X(mac, MAC_ADDRESS)               \
    X(birth_date, DATE_OF_BIRTH)      \
    X(birth_date_field, DATE_OF_BIRTH) \
    X(secret_prefix, SECRET)          \
    X(secret_jwt, SECRET)             \
    X(secret_pem, SECRET)             \
    X(secret_uri, SECRET)             \
    X(secret_field, SECRET)           \
    X(secret_bearer, SECRET)          \
    X(secret_webhook, SECRET)         \
    X(person_field, PERSON)           \
    X(person_greeting, PERSON)        \
    X(person_mail, PERSON)            \
    X(person_column, PERSON)          \
    X(person_list, PERSON)            \
    X(person_tagger, PERSON)          \
    X(person_again, PERSON)           \
    X(address_field, ADDRESS)         \
    X(address_form, ADDRESS)          \
    X(address_column, ADDRESS)        \
    X(address_tagger, ADDRESS)        \
    X(custom, CUSTOM)                 \
    X(own_word, OWN)                  \
    X(own_pattern, OWN)

enum rule {
    RULE_NONE,
#define X(name, type) RULE_##name,
    RULES(X)
#undef X
    N_RULES
};

#endif
