"""People, places and numbers of twelve countries for second_set.py: lists and rules of our own, nothing taken from a library, so the set is the same for ever.
Names are common ones put together by chance; numbers have their right check digits."""

LOCALES = {
    "pl_PL": {
        "lang": "pl", "first": "Agnieszka Bartosz Celina Dariusz Elżbieta Grzegorz Halina Igor Jadwiga Łukasz Małgorzata Zbigniew", "last": "Wójcik Szymańska Kaczmarek Zając Pawłowska Wróbel Jabłoński Dudek Stępień Górska Sikora Baran",
        "cities": "Kraków Gdynia Rzeszów Białystok Opole Szczecin", "streets": "Długa Ogrodowa Szkolna Lipowa Kościuszki Słoneczna", "address": "ul. {street} {n}/{m}, {d2}-{d3} {city}",
        "phones": ["+48 5## ### ###", "+48 22 ### ## ##", "6##-###-###", "(22) ### ## ##"], "dates": ["%d.%m.%Y", "%Y-%m-%d"],
        "label": {"name": "Imię i nazwisko", "phone": "Telefon", "birth": "Data urodzenia", "address": "Adres", "id": "PESEL", "mail": "E-mail", "passport": "Nr paszportu", "order": "Nr zamówienia"},
        "says": ["Dobry wieczór, piszę w sprawie reklamacji. Nazywam się {name}, numer PESEL {id}. Proszę dzwonić po 16 pod {phone}.",
                 "Przesyłkę proszę kierować do: {name}, {address}. Kontakt: {mail}."]},
    "sv_SE": {
        "lang": "sv", "first": "Astrid Björn Cecilia Emil Freja Gustav Hedvig Ingrid Jonas Linnéa Måns Åsa", "last": "Lindqvist Bergström Sjöberg Nyström Holmgren Ekdahl Åkesson Wallin Hellström Norberg Sandell Öberg",
        "cities": "Uppsala Örebro Linköping Malmö Umeå Västerås", "streets": "Storgatan Kungsgatan Skolvägen Björkvägen Drottninggatan Ängsstigen", "address": "{street} {n}, {d3} {d2} {city}",
        "phones": ["+46 70 ### ## ##", "070-### ## ##", "08-### ### ##", "+4673#######"], "dates": ["%Y-%m-%d", "%d/%m %Y"],
        "label": {"name": "Namn", "phone": "Telefon", "birth": "Födelsedatum", "address": "Adress", "id": "Personnummer", "mail": "E-post", "passport": "Passnummer", "order": "Ordernummer"},
        "says": ["Hej! Jag heter {name} och mitt personnummer är {id}. Ni kan nå mig på {phone} efter klockan fem.",
                 "Kan ni skicka fakturan till {name}, {address}? Kopia till {mail}, tack."]},
    "pt_BR": {
        "lang": "pt", "first": "Aline Bruno Camila Diego Fernanda Gustavo Helena João Larissa Márcio Rafaela Thiago", "last": "Oliveira Souza Rodrigues Almeida Nascimento Araújo Carvalho Barbosa Rocha Teixeira Cardoso Moreira",
        "cities": "Curitiba Recife Belo_Horizonte Fortaleza Manaus Porto_Alegre", "streets": "das_Flores XV_de_Novembro Sete_de_Setembro Bento_Gonçalves São_João Tiradentes", "address": "Rua {street}, {n} - Centro, {city} - {uf}, {d5}-{d3}",
        "phones": ["+55 11 9####-####", "(21) 9####-####", "(41) 3###-####", "+55 (31) 9####-####"], "dates": ["%d/%m/%Y"],
        "label": {"name": "Nome completo", "phone": "Telefone", "birth": "Data de nascimento", "address": "Endereço", "id": "CPF", "mail": "E-mail", "passport": "Passaporte", "order": "Pedido"},
        "says": ["Boa tarde, me chamo {name}, CPF {id}. Meu celular é {phone}, podem ligar a qualquer hora.",
                 "Favor entregar na {address}, aos cuidados de {name} ({mail})."]},
    "ja_JP": {
        "lang": "ja", "first": "美咲 翔太 由美子 健一 さくら 大輔 陽子 拓也 恵 直樹 花子 誠", "last": "佐藤 鈴木 高橋 渡辺 伊藤 中村 小林 加藤 吉田 山田 松本 井上",
        "cities": "札幌市中央区 大阪市北区 名古屋市中区 福岡市博多区 横浜市西区 仙台市青葉区", "streets": "本町 栄町 緑町 桜木 中央 南", "address": "〒{d3}-{d4} {city}{street}{m}丁目{n}-{m}",
        "phones": ["+81 90-####-####", "090-####-####", "03-3###-####", "080-####-####"], "dates": ["%Y年%m月%d日", "%Y/%m/%d"],
        "label": {"name": "氏名", "phone": "電話番号", "birth": "生年月日", "address": "住所", "id": "", "mail": "メール", "passport": "旅券番号", "order": "注文番号"},
        "says": ["お世話になっております。{name}と申します。電話番号は{phone}です。よろしくお願いいたします。",
                 "荷物は{address} {name}様宛でお願いします。連絡先: {mail}"]},
    "tr_TR": {
        "lang": "tr", "first": "Ayşe Burak Ceren Emre Fatma Gökhan Hülya İbrahim Merve Oğuz Şule Zeynep", "last": "Yılmaz Demir Çelik Şahin Öztürk Kılıç Aydın Arslan Doğan Koç Güneş Aksoy",
        "cities": "İzmir Bursa Antalya Konya Eskişehir Trabzon", "streets": "Atatürk Cumhuriyet İnönü Gazi İstiklal Fevzi_Çakmak", "address": "{street} Caddesi No: {n} D: {m}, {d5} {city}",
        "phones": ["+90 532 ### ## ##", "0532 ### ## ##", "0 (212) ### ## ##", "+90 (312) ### ## ##"], "dates": ["%d.%m.%Y", "%d/%m/%Y"],
        "label": {"name": "Ad Soyad", "phone": "Telefon", "birth": "Doğum tarihi", "address": "Adres", "id": "T.C. Kimlik No", "mail": "E-posta", "passport": "Pasaport No", "order": "Sipariş No"},
        "says": ["Merhaba, ben {name}. T.C. kimlik numaram {id}, bana {phone} numarasından ulaşabilirsiniz.",
                 "Teslimat adresi: {address}. Alıcı {name}, e-posta {mail}."]},
    "cs_CZ": {
        "lang": "cs", "first": "Alžběta Bohumil Dana Eliška František Hana Jiří Kateřina Ludmila Ondřej Šárka Zdeněk", "last": "Novotný Svobodová Dvořák Černá Procházka Kučerová Veselý Horáková Němec Marešová Pospíšil Růžičková",
        "cities": "Brno Ostrava Plzeň Olomouc Liberec Pardubice", "streets": "Dlouhá Husova Nádražní Komenského Zahradní Palackého", "address": "{street} {n}/{m}, {d3} {d2} {city}",
        "phones": ["+420 602 ### ###", "+420 7########", "602 ### ###", "+420 2## ### ###"], "dates": ["%d. %m. %Y", "%d.%m.%Y"],
        "label": {"name": "Jméno a příjmení", "phone": "Telefon", "birth": "Datum narození", "address": "Adresa", "id": "Rodné číslo", "mail": "E-mail", "passport": "Číslo pasu", "order": "Číslo objednávky"},
        "says": ["Dobrý den, jmenuji se {name}, rodné číslo {id}. Zavolejte mi prosím na {phone}.",
                 "Balík pošlete na adresu {address}, příjemce {name}. Můj e-mail je {mail}."]},
    "nl_NL": {
        "lang": "nl", "first": "Anouk Bram Daan Femke Gijs Hanneke Jeroen Lotte Maartje Pieter Roos Sjoerd", "last": "de_Vries Bakker van_Dijk Visser Smit Meijer de_Boer Mulder van_den_Berg Hoekstra Brouwer Dekker",
        "cities": "Utrecht Groningen Haarlem Leiden Breda Zwolle", "streets": "Kerkstraat Molenweg Schoolstraat Prinsengracht Dorpsstraat Wilhelminalaan", "address": "{street} {n}, {n4} {AA} {city}",
        "phones": ["+31 6 ########", "06-########", "030-#######", "+31 20 ### ####"], "dates": ["%d-%m-%Y"],
        "label": {"name": "Naam", "phone": "Telefoon", "birth": "Geboortedatum", "address": "Adres", "id": "BSN", "mail": "E-mailadres", "passport": "Paspoortnummer", "order": "Bestelnummer"},
        "says": ["Goedemiddag, u spreekt met {name}. Mijn BSN is {id} en u kunt mij bereiken op {phone}.",
                 "Graag bezorgen op {address}, ter attentie van {name}, mail: {mail}."]},
    "fi_FI": {
        "lang": "fi", "first": "Aino Eero Helmi Ilkka Johanna Kaarina Lauri Marjatta Niko Päivi Tapio Väinö", "last": "Korhonen Virtanen Mäkinen Nieminen Hämäläinen Laine Heikkinen Koskinen Järvinen Lehtonen Salonen Räsänen",
        "cities": "Tampere Turku Oulu Jyväskylä Lahti Kuopio", "streets": "Mannerheimintie Kauppakatu Rantatie Koulukatu Asematie Puistokatu", "address": "{street} {n} A {m}, {d5} {city}",
        "phones": ["+358 40 ### ####", "040 ### ####", "050-#######", "+358 9 ### ####"], "dates": ["%d.%m.%Y"],
        "label": {"name": "Nimi", "phone": "Puhelin", "birth": "Syntymäaika", "address": "Osoite", "id": "Henkilötunnus", "mail": "Sähköposti", "passport": "Passin numero", "order": "Tilausnumero"},
        "says": ["Hei, nimeni on {name} ja henkilötunnukseni on {id}. Puhelinnumeroni on {phone}.",
                 "Toimitusosoite: {address}, vastaanottaja {name}. Vahvistus osoitteeseen {mail}, kiitos."]},
    "ko_KR": {
        "lang": "ko", "first": "서연 민준 지우 하은 도윤 수빈 현우 예진 준호 은지 성민 유나", "last": "김 이 박 최 정 강 조 윤 장 임 한 오",
        "cities": "서울특별시_강남구 부산광역시_해운대구 대구광역시_수성구 인천광역시_남동구 광주광역시_서구 대전광역시_유성구", "streets": "테헤란로 세종대로 중앙로 해운대로 달구벌대로 대학로", "address": "{city} {street} {n}, {d5}",
        "phones": ["+82 10-####-####", "010-####-####", "02-###-####", "010 #### ####"], "dates": ["%Y년 %m월 %d일", "%Y-%m-%d"],
        "label": {"name": "성명", "phone": "전화번호", "birth": "생년월일", "address": "주소", "id": "주민등록번호", "mail": "이메일", "passport": "여권번호", "order": "주문번호"},
        "says": ["안녕하세요, {name}입니다. 제 주민등록번호는 {id}이고 연락처는 {phone}입니다.",
                 "배송지는 {address} 입니다. 받는 사람: {name}, 이메일 {mail}."]},
    "en_IN": {
        "lang": "en", "first": "Aarti Bhavesh Chitra Deepak Farhan Gayatri Harpreet Ishaan Kavya Lakshmi Nikhil Pooja", "last": "Sharma Iyer Reddy Chatterjee Patel Nair Banerjee Singh Kulkarni Menon Agarwal Desai",
        "cities": "Bengaluru Pune Hyderabad Chennai Kolkata Jaipur", "streets": "MG_Road Nehru_Marg Brigade_Road Station_Road Gandhi_Nagar Church_Street", "address": "{n}, {street}, Sector {m}, {city} {d6}",
        "phones": ["+91 98### #####", "098### #####", "+91-80-2### ####", "+9197########"], "dates": ["%d/%m/%Y", "%d-%b-%Y"],
        "label": {"name": "Applicant name", "phone": "Mobile", "birth": "Date of birth", "address": "Residential address", "id": "Aadhaar", "mail": "Email", "passport": "Passport no", "order": "Order no"},
        "says": ["Good evening, I am {name} and my Aadhaar is {id}. Kindly ring me on {phone} at the earliest.",
                 "Please courier it to {name}, {address}, and do the needful by mailing {mail}."]},
    "en_US": {
        "lang": "en", "first": "Brandon Caitlin Derek Estelle Garrett Imani Keisha Logan Marisol Nolan Priscilla Trevor", "last": "Whitaker Delgado Brooks Sandoval Pruitt Hargrove Lockhart Nguyen Castellano Mercer Oakley Vance",
        "cities": "Tulsa Boise Dayton Reno Mobile Eugene", "streets": "Maple Birchwood Lincoln Sycamore Juniper Ridgeview", "address": "{n}{d2} {street} {st}, {city}, {state} {d5}",
        "phones": ["(4%5) 6##-####", "4%5-7##-####", "+1 6%2 4## ####", "7%3.8##.####"], "dates": ["%m/%d/%Y", "%b %d, %Y"],
        "label": {"name": "Employee name", "phone": "Cell phone", "birth": "DOB", "address": "Home address", "id": "SSN", "mail": "E-mail", "passport": "Passport #", "order": "PO number"},
        "says": ["Hey, {name} here, last time you asked for my social, it's {id}. Text me at {phone}.",
                 "Ship the replacement to {name}, {address}; tracking goes to {mail}."]},
    "en_GB": {
        "lang": "en", "first": "Alastair Bethan Callum Dorothy Ewan Fiona Gareth Isla Nigel Pippa Rhys Tamsin", "last": "Ashworth Blackwood Cartwright Fairclough Hargreaves MacLeod Pemberton Rowlands Thistlewood Ward Yates Priestley",
        "cities": "Leeds Cardiff Exeter Inverness Norwich York", "streets": "Church High Victoria Mill Station Orchard", "address": "{m} {street} {st}, {city}, {AA}{m} {m}{AA}",
        "phones": ["+44 7### ######", "07### ######", "01%2 ### ####", "020 7### ####"], "dates": ["%d/%m/%Y", "%d %B %Y"],
        "label": {"name": "Patient", "phone": "Contact number", "birth": "Date of birth", "address": "Address", "id": "NHS number", "mail": "Email", "passport": "Passport number", "order": "Order ref"},
        "says": ["Afternoon. It's {name} speaking, NHS number {id}; best to get me on {phone}.",
                 "Could the parcel go to {address} instead? It's for {name}, and {mail} is the account."]},
}
PASSPORTS = {"pl_PL": "AA#######", "sv_SE": "########", "pt_BR": "AA######", "ja_JP": "AA#######", "tr_TR": "A########", "cs_CZ": "########", "nl_NL": "AA####A##", "fi_FI": "AA#######", "ko_KR": "A########",
             "en_IN": "A#######", "en_US": "5########", "en_GB": "9########"}


def digits(r, n, first=None):
    return (str(r.choice(first)) if first else str(r.randrange(10))) + "".join(str(r.randrange(10)) for _ in range(n - 1))


def shape(r, text):
    """#: a digit; %: one from 1 to 9; A: a capital."""
    return "".join(str(r.randrange(10)) if c == "#" else str(r.randrange(1, 10)) if c == "%" else r.choice("ABCEFGHJKLMNPRSTXYZ") if c == "A" else c for c in text)


def luhn(d):
    total = sum(sum(divmod(int(c) * (2 - i % 2), 10)) for i, c in enumerate(d[::-1]))
    return str(-total % 10)


def verhoeff(d):
    table = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6], [3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
             [5, 9, 8, 7, 6, 0, 4, 3, 2, 1], [6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]
    turn, row, check = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4], list(range(10)), 0
    rows = []
    for _ in range(8):
        rows.append(row)
        row = [row[turn[i]] for i in range(10)]
    for i, c in enumerate(d[::-1]):
        check = table[check][rows[(i + 1) % 8][int(c)]]
    return str([0, 4, 3, 2, 1, 5, 6, 7, 8, 9][check])


def weighted(d, weights):
    return sum(int(c) * w for c, w in zip(d, weights))


def national_id(r, locale, birth):
    """(text, sub-type) of the country's number; of the birth date where it holds one. Of Japan: none."""
    y, m, d = birth.year, birth.month, birth.day
    if locale == "pl_PL":
        n = f"{y % 100:02}{m + (20 if y > 1999 else 0):02}{d:02}" + digits(r, 4)
        return n + str(-weighted(n, [1, 3, 7, 9] * 3) % 10), "PL_PESEL"
    if locale == "sv_SE":
        n = f"{y % 100:02}{m:02}{d:02}" + digits(r, 3)
        n += luhn(n)
        return r.choice([f"{n[:6]}-{n[6:]}", f"{y // 100}{n[:6]}-{n[6:]}"]), "SE_PNR"
    if locale == "pt_BR":
        n = digits(r, 9)
        for size in (10, 11):
            n += str(weighted(n, range(size, 1, -1)) * 10 % 11 % 10)
        return f"{n[:3]}.{n[3:6]}.{n[6:9]}-{n[9:]}", "BR_CPF"
    if locale == "tr_TR":
        n = digits(r, 9, range(1, 10))
        n += str((7 * sum(map(int, n[0::2])) - sum(map(int, n[1::2]))) % 10)
        return n + str(sum(map(int, n)) % 10), "TR_TCKN"
    if locale == "cs_CZ":
        n = f"{y % 100:02}{m + r.choice([0, 50]):02}{d:02}" + digits(r, 3)
        check = int(n) % 11
        return (f"{n[:6]}/{n[6:]}{check}", "CZ_RC") if check < 10 else national_id(r, locale, birth)
    if locale == "nl_NL":
        n = digits(r, 8, range(1, 10))
        check = weighted(n, range(9, 1, -1)) % 11
        return (n + str(check), "NL_BSN") if check < 10 else national_id(r, locale, birth)
    if locale == "fi_FI":
        n, k = f"{d:02}{m:02}{y % 100:02}", f"{r.randrange(2, 900):03}"
        return n + ("A" if y > 1999 else "-") + k + "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(n + k) % 31], "FI_HETU"
    if locale == "ko_KR":
        n = f"{y % 100:02}{m:02}{d:02}" + str(r.choice([3, 4] if y > 1999 else [1, 2])) + digits(r, 5)
        return f"{n[:6]}-{n[6:]}{(11 - weighted(n, [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11) % 10}", "KR_RRN"
    if locale == "en_IN":
        n = digits(r, 11, range(2, 10))
        n += verhoeff(n)
        return f"{n[:4]} {n[4:8]} {n[8:]}", "IN_AADHAAR"
    if locale == "en_GB":
        n = digits(r, 9, [4, 6, 7])
        check = 11 - weighted(n, range(10, 1, -1)) % 11
        return (f"{n[:3]} {n[3:6]} {n[6:]}{check % 11}", "UK_NHS") if check != 10 else national_id(r, locale, birth)
    return None, None


def ssn(r):
    return f"{r.choice([n for n in range(101, 700) if n != 666])}-{r.randrange(11, 99)}-{r.randrange(1001, 9999)}"


def card(r, spaced):
    prefix, size = r.choice([("4", 16), ("51", 16), ("55", 16), ("2223", 16), ("37", 15), ("6011", 16), ("3528", 16)])
    n = prefix + digits(r, size - 1 - len(prefix))
    n += luhn(n)
    if not spaced:
        return n
    return f"{n[:4]} {n[4:10]} {n[10:]}" if size == 15 else r.choice(" -").join(n[i:i + 4] for i in range(0, 16, 4))


def iban(r, spaced, right=True):
    country, bban = r.choice([("PL", "#" * 24), ("SE", "#" * 20), ("CZ", "#" * 20), ("NL", "AAAA" + "#" * 10), ("FI", "#" * 14), ("TR", "#" * 22), ("PT", "#" * 21), ("CH", "#" * 17), ("NO", "#" * 11), ("GB", "AAAA" + "#" * 14)])
    bban = shape(r, bban)
    number = "".join(str(int(c, 36)) for c in bban + country + "00")
    check = 98 - int(number) % 97
    text = f"{country}{check if right else (check + 7) % 97:02}{bban}"
    return " ".join(text[i:i + 4] for i in range(0, len(text), 4)) if spaced else text
