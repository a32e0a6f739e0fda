/* guard/words.c: the table of telling words, and its hash. Words that mean different things in two places have the bits of both. */
#include "guard/words.h"
#include "guard/run.h"

/* Bits, and the words that have them. */
static const struct { uint32_t bits; const char *words; } lists[] = {
    { W_PHONE | W_WEAK, "call called calling reach ring cell numéro numero numer nummer contact number" },
    { W_NAME | W_GIVEN, "full_name fullname first_name firstname last_name lastname surname given_name givenname family_name familyname forename prénom prenom apellido "
                        "apellidos cognome vorname nachname achternaam voornaam imię nazwisko account_holder accountholder cardholder card_holder holder kontoinhaber "
                        "titular customer_name contact_name patient reporter assignee assigned_to 姓名 名前 氏名 naam" },
    { W_PHONE, "phone telephone phones telefon telefono teléfono téléphone tel telf tél téléfono telefoon telefone telefoonnummer telefonnummer rufnummer mobile mobil "
               "móvil movil handy cellphone cellular mobiel celular cellulare sms texted whatsapp fax dial hotline msisdn portable "
               " komórka komórkowy tlf puhelin puhelinnumero telemóvel komorka kontaktnummer phonenumber phoneno contact_number 电话 手机 電話 携帯 "
               "телефон 전화번호 휴대폰 휴대전화 연락처 電話番号" },
    { W_CARD, "card cards visa mastercard amex karte kreditkarte carte tarjeta carta karta creditcard cardnumber pan kreditkort kaart cc discover" },
    { W_SSN | W_ID, "ssn social sozialversicherungsnummer" },
    { W_ID, "bsn burgerservicenummer sofinummer pesel dni nif nie cif nino nhs insurance steuer steuerid idnr identifikationsnummer steueridentifikationsnummer "
            "steuernummer nir sécurité insee sécu fiscale fiscal codice cf aadhaar aadhar uidai sin tfn abn tax personnummer personnumero pnr hetu henkilötunnus "
            "fødselsnummer fodselsnummer fnr cpr cprnr cnp cpf cnpj curp rfc rut nric fin ahv avs oib egn rijksregisternummer nrn niss insz national identity "
            "tckn kimlik rrn 주민등록번호 身份证 身份证号 身份证号码 identification nif contribuinte id_number idnumber national_id nationalid taxid tax_id taxnumber identitynumber "
            "personalausweis ausweis rodné číslo rc amka isikukood asmens kodas cuit cuil ppsn pps numero_fiscal said sa_id inn снилс инн teudat "
            "zehut itin citizen resident fiscale pan 税号 ssnr ahvn svnr maakt dowód osobisty henkilotunnus nationella idnumber" },
    { W_PASSPORT, "passport passeport reisepass pasaporte passaporto paszport paspoort passnummer passport_no passport_number passportno pasport "
                  "passaporte reisepassnummer pasaport 护照 護照 旅券 旅券番号 여권 여권번호 numero_passaporto paspoortnummer pasu passi passin passinumero" },
    { W_BIRTH, "dob born birth birthday birthdate dateofbirth geboren geburtsdatum geburtstag naissance né née nacimiento nacido nacida nata nato nascita data_nascita "
               "urodzenia urodzony urodzona ur geboortedatum birth_date date_of_birth bday nascimento nascido nascida född fødselsdato fødd syntynyt født narozen "
               "geb geburts syntymäaika födelsedatum fecha_nacimiento 出生 生日 生年月日 nac urodziła urodził doğum né(e) geboortedag ddn born_on narození 생년월일 생일" },
    { W_OTHER, "order orders ticket tickets invoice isbn ean sku part parts serial case build commit rev revision sha issue bestellung bestellnummer bestelnummer commande "
               "pedido ordine zamówienie rechnung facture factuur factura fattura faktura tracking epoch timestamp ticketnummer reference referenz référence referencia "
               "batch port pid size bytes offset count total amount price score seed page row index gtin upc asin order_id orderid barcode error code status job "
               "ids coordinates coordinate lat lon latitude longitude took duration ms limit ttl height width session return uint64 int long const trace span request "
               "auftrag auftragsnummer vorgang zlecenie pull merge pr bug hash digest checksum worker retries retry timeout quantity stock amount" },
    { W_VERSION, "version versions ver fw firmware release rel chrome firefox safari edge bump upgrade upgraded sdk driver kernel v policy standards-version wersja versie versión versione "
                 "build oid section chapter chromium opera webkit applewebkit gecko assembly fileversion productversion schema" },
    { W_DATE, "due until since created updated expires expiry exp valid order refund deadline appointment termin scheduled modified released release published until "
              "out confirmed paid" },
    { W_NAME, "name full_name fullname first_name firstname last_name lastname surname given given_name givenname family_name familyname forename nom prénom prenom "
              "nombre apellido apellidos cognome nome vorname nachname naam achternaam voornaam imię nazwisko imie customer reporter assignee assigned author holder "
              "account_holder accountholder cardholder card_holder contact contact_name contactname recipient sender patient employee owner_name client_name "
              "customer_name customername display_name displayname realname real_name person kunde kundin client cliente klient klant kontoinhaber titular beneficiary "
              "committer reviewer signatory attn attention insured tenant_name passenger guest signed 姓名 名前 氏名 imię_i_nazwisko nazwa_klienta lead manager "
              "fn caller requester approver nominativo titulaire bénéficiaire ansprechpartner mitarbeiter patientin geschäftsführer middle_name maiden_name nickname "
              "legal_name billing_name shipping_name username_full participant attendee student teacher doctor physician supervisor emergency_contact intestatario" },
    { W_ADDRESS, "adr address addr street street_address streetaddress adresse dirección direccion indirizzo adres anschrift strasse straße rue calle via ulica straat "
                 "shipping_address billing_address home_address ship_to delivery_address address_line address_line1 address1 line1 line postal_address mailing_address "
                 "lieferadresse rechnungsadresse wohnort domicilio domicile residenza residence zamieszkania woonadres endereço morada 地址 住所 adresa adress osoite "
                 "billing shipping home addressline1" },
    { W_PLACE, "city town zip zipcode zip_code postcode postal_code postalcode plz ort stadt ville code_postal cp ciudad città miasto plaats county state province cap" },
    { W_PASSWORD, "password passwd pwd passphrase passwort kennwort contraseña contrasena clave parola hasło haslo wachtwoord mot_de_passe motdepasse senha pword "
                  "userpass dbpass dbpassword passcode pincode 密码 パスワード пароль salasana lösenord" },
    { W_PASSWORD | W_WEAK, "pass pw" },
    { W_TOKEN, "token secret apikey api_key secret_key secretkey access_key accesskey private_key privatekey client_secret clientsecret auth_token authtoken "
               "access_token accesstoken refresh_token refreshtoken bearer encryption_key signing_key signingkey secret_access_key aws_secret_access_key credential "
               "credentials auth_key authkey session_token webhook_secret master_key masterkey account_key accountkey storage_key shared_key service_key "
               "app_secret appsecret consumer_secret jwt_secret secret_token x-api-key api-key authorization hmac_key license_key deploy_key secretaccesskey "
               "subscription_key connection_string id_token csrf_secret cookie_secret app_key appkey sas_token bot_token apitoken api_token user_key registry_auth auth" },
    { W_GREETING, "dear hi hello hallo hola ciao bonjour cher chère mr mrs ms miss dr madame monsieur herr frau señor señora sr sra signor signora pan pani beste "
                  "liebe lieber gentile estimado estimada szanowny szanowna drogi droga mme mlle prof sig geachte hey thanks todo fixme mein" },
    { W_CLOSING, "regards sincerely cheers best cordialement grüße grüßen grüssen mfg saludos saludo saluti groet groeten pozdrawiam pozdrowienia thanks salutations atentamente "
                 "truly faithfully yours wishes vriendelijke freundlichen gruß" },
    { W_COMMON, "the a an this that these those i we you they he she it is are was were be if when where what which who how why and or but not no yes in on at to for from "
                "all everyone team there sir madam customer support friend friends user users folks colleagues world again none null true false unknown anonymous admin root "
                "guest system test tester example client server service please thank thanks see use call called date subject re fwd kind best regards monday tuesday "
                "wednesday thursday friday saturday sunday english french german spanish italian polish dutch python java javascript ruby rust go string int bool "
                "object function class def return const let var new my your our his her their its ihr ihre sie der die das und oder nicht le la les un une des "
                "et ou el los las una y o il lo gli e di da dem den ein eine einer w z na do się jest to ist ich bin wir nous vous je buongiorno damen herren "
                "hiring manager hr it sales api http https json todo fixme note warning error info debug trace id name email phone number some any each help sales contact noreply reply mail office billing postmaster webmaster abuse security jobs career careers press newsletter hello dev ops root www "
                "no-reply marketing accounts finance legal privacy data research shop store orders feedback notifications alerts monitoring build ci bot git code demo web app request requests bugs list lists devel announce owner maintainers maintainer discuss add submit patches debian linux "
                "project package packages source sourceware software gnu foundation" },
    { W_IP, "ip addr address host server ipv4 client remote peer gateway dns ping src dst source destination listen bind inet ipv6 router" },
    { W_INTRO, "appelle soy llamo chiamo bin heiße heisse ben heet się client colleague kollege kollegin collègue kunde kundin cliente klant patient patientin ist sono suis am "
               "mevrouw meneer spoke met asked tell told email mail" },
    { W_COMPANY, "inc ltd llc gmbh corp ag s.a s.a. sa plc co company bv b.v. s.r.l srl spa s.p.a kg ohg limited corporation oy ab as nv sarl sp group foundation university" },
    { W_STREET, "street st road rd avenue ave lane ln drive dr court ct place pl square way boulevard blvd terrace close crescent gardens grove park hill mews row walk "
                "rue avenue allée allee chemin impasse quai cours route place passage ruelle villa calle avenida av paseo plaza camino ronda carrer rambla glorieta "
                "cuesta callejón acceso alameda cañada pasaje urbanización vial via viale piazza corso largo vicolo strada contrada canale borgo stretto rotonda incrocio "
                "ulica ul aleja al plac pl os osiedle trails turnpike ridge springs plaza" },
    { W_PARTICLE, "van von vorm de der den di da del della la le du des dos das zu zum ter ten op bin ibn al el y e d' mc" },
};

static const char *const months[] = {
    "january jan januar janvier enero gennaio stycznia styczeń januari janeiro jänner ene gen sty janv",
    "february feb februar février febrero febbraio lutego luty februari fevereiro fév febr lut",
    "march mar märz mars marzo marca marzec maart março mär mrz mrt",
    "april apr avril abril aprile kwietnia kwiecień avr abr kwi",
    "may mai mayo maggio maja maj mei maio mag",
    "june jun juni juin junio giugno czerwca czerwiec junho giu cze",
    "july jul juli juillet julio luglio lipca lipiec julho juil lug lip",
    "august aug août agosto sierpnia sierpień augustus ago sie aoû",
    "september sep sept septembre septiembre settembre września wrzesień setembro set wrz",
    "october oct oktober octobre octubre ottobre października październik outubro okt ott paź out",
    "november nov novembre noviembre listopada listopad novembro lis",
    "december dec dezember décembre diciembre dicembre grudnia grudzień dezembro dez dic gru déc",
};

enum { SLOTS = 4096, STARTS = 1024 };

/* `lengths` has by the first two bytes, without case, a bit for every length, so that most words, which are none of these, cost one look. Hashes stand apart from
 * what they are of, so that they stay in the nearest cache; 0: none. */
struct words {
    uint32_t lengths[STARTS], hashes[SLOTS];
    struct slot { const char *p; uint32_t bits; uint8_t n, month; } slots[SLOTS];
};

static inline size_t start_of(str s) { return (size_t)(s.p[0] & 31) << 5 | (s.p[s.n > 1] & 31); }

static void add(struct words *w, str text, uint32_t bits, uint8_t month)
{
    uint32_t x = words_hash(text) | 1;
    size_t i = x % SLOTS;
    w->lengths[start_of(text)] |= 1u << text.n;
    while (w->hashes[i] && !str_eq(str_slice(w->slots[i].p, w->slots[i].n), text))
        i = (i + 1) % SLOTS;
    struct slot *s = &w->slots[i];
    w->hashes[i] = x;
    *s = (struct slot){ text.p, s->bits | bits, (uint8_t)text.n, month ? month : s->month };
}

static void add_list(struct words *w, const char *list, uint32_t bits, uint8_t month)
{
    str rest = str_of(list), one;
    while (rest.n) {
        (void)str_cut(rest, ' ', &one, &rest);
        if (one.n && one.n <= WORD_LONGEST)
            add(w, one, bits, month);
    }
}

struct words *words_new(struct arena *a)
{
    struct words *w = arena_new(a, struct words, 1);
    for (size_t i = 0; w && i < sizeof lists / sizeof *lists; i++)
        add_list(w, lists[i].words, lists[i].bits, 0);
    for (size_t i = 0; w && i < 12; i++)
        add_list(w, months[i], W_MONTH, (uint8_t)(i + 1));
    return w;
}

/* NULL: it is none. */
static inline const struct slot *slot_of(const struct words *w, str text)
{
    if (!text.n || text.n > WORD_LONGEST || !(w->lengths[start_of(text)] >> text.n & 1))
        return NULL;
    uint32_t x = words_hash(text) | 1;
    for (size_t i = x % SLOTS; w->hashes[i]; i = (i + 1) % SLOTS)
        if (w->hashes[i] == x && str_ieq(str_slice(w->slots[i].p, w->slots[i].n), text))
            return &w->slots[i];
    return NULL;
}

uint32_t words_find(const struct words *w, str text)
{
    const struct slot *s = slot_of(w, text);
    return s ? s->bits : 0;
}

unsigned words_month(const struct words *w, str text)
{
    const struct slot *s = slot_of(w, text);
    return s ? s->month : 0;
}

/* Where a name is cut into parts, bit i for its byte i: `camel` is a capital behind a small letter, where a part begins; `between` is one of "_-. ", behind which
 * one begins; `other` is one of these, too, but '_'. */
struct cuts { uint64_t camel, between, other; };

static bool is_cut(str name, struct cuts *c)
{
    uint64_t upper = 0, lower = 0, letters = 0;
    run_bytes few = run_up_to(name);
    if (name.n <= RUN_STEP && !((run_mask(few, C_UPPER | C_DASH | C_UNDER) | run_equal(few, '.') | run_equal(few, ' ')) & ~1u))
        return false;                               /* most names are words, which have no parts, or numbers */
    *c = (struct cuts){ 0 };
    for (size_t i = 0; i < name.n; i += RUN_STEP) {
        run_bytes v = run_up_to(str_skip(name, i));
        upper |= (uint64_t)run_mask(v, C_UPPER) << i;
        lower |= (uint64_t)run_mask(v, C_LOWER) << i;
        letters |= run_mask(v, C_LETTER);
        c->between |= (uint64_t)run_equal(v, '_') << i;
        c->other |= (uint64_t)(run_equal(v, '-') | run_equal(v, '.') | run_equal(v, ' ')) << i;
    }
    c->camel = upper & lower << 1;
    c->between |= c->other;
    return letters && (c->camel || c->between > 1);
}

static size_t count_of(uint64_t bits) { return bits ? (size_t)__builtin_popcountll(bits) : 0; }

/* The word that the name is from `from` on, in lower snake case. */
static uint32_t find_ending(const struct words *w, str name, const struct cuts *c, size_t from)
{
    char text[WORD_LONGEST];
    uint64_t camel = c->camel >> from & ~(uint64_t)1;
    size_t n = name.n - from + count_of(camel), k = 0;
    if (n > WORD_LONGEST)
        return 0;
    if (!camel && !(c->other >> from))
        return words_find(w, str_skip(name, from));
    char second = (camel | c->other >> from) >> 1 & 1 ? '_' : name.p[from + 1];
    if (c->other >> from & 1 || !(w->lengths[(size_t)(name.p[from] & 31) << 5 | (second & 31)] >> n & 1))
        return 0;
    for (size_t i = 0; i < name.n - from; i++) {
        if (camel >> i & 1)
            text[k++] = '_';
        text[k++] = c->other >> from >> i & 1 ? '_' : name.p[from + i];
    }
    return words_find(w, str_slice(text, k));
}

/* Behind the part that begins at `from`: the next one begins at *next. False: it is the last. */
static bool next_part(const struct cuts *c, size_t from, size_t *end, size_t *next)
{
    uint64_t cuts = (c->between | (c->camel & ~(uint64_t)1 << from)) >> from;
    if (!cuts)
        return false;
    *end = from + (size_t)__builtin_ctzll(cuts);
    *next = *end + (c->between >> *end & 1);
    return true;
}

uint32_t words_find_name(const struct words *w, str name)
{
    struct cuts c;
    size_t end, next;
    uint32_t bits = words_find(w, name);
    if (bits || name.n > NAME_LONGEST || !is_cut(name, &c))
        return bits;
    while (name.n && name.n + count_of(c.camel & (((uint64_t)1 << (name.n - 1)) - 1)) >= NAME_LONGEST - 1)
        name.n--;                                   /* in snake case it would be too long */
    bits = c.camel || c.other ? find_ending(w, name, &c, 0) : 0;
    for (size_t i = 0; !bits && next_part(&c, i, &end, &next) && next < name.n; i = next)
        bits = find_ending(w, name, &c, next);
    for (size_t i = 0; next_part(&c, i, &end, &next) && end < name.n; i = next) {
        uint32_t before = words_find(w, str_slice(name.p + i, end - i));
        if (before & W_PHONE && !(before & W_WEAK))
            bits &= ~(uint32_t)W_WEAK;              /* "mobile_number" */
        bits |= before & ~(uint32_t)(W_NAME | W_ADDRESS | W_PASSWORD | W_TOKEN | W_GREETING | W_COMMON | W_GIVEN);
    }
    return bits;
}
