"""Languages of streams, as containers name them."""

import re

from vidx4.media.formats.containers import MATROSKA

_TABLE = """
aa aar Afar; ab abk Abkhazian; ae ave Avestan; af afr Afrikaans; ak aka Akan; am amh Amharic; an arg
Aragonese; ar ara Arabic; as asm Assamese; av ava Avaric; ay aym Aymara; az aze Azerbaijani; ba bak Bashkir;
be bel Belarusian; bg bul Bulgarian; bh bih Bihari; bi bis Bislama; bm bam Bambara; bn ben Bengali; bo bod
Tibetan; br bre Breton; bs bos Bosnian; ca cat Catalan; ce che Chechen; ch cha Chamorro; co cos Corsican; cr
cre Cree; cs ces Czech; cu chu Church Slavic; cv chv Chuvash; cy cym Welsh; da dan Danish; de deu German; dv
div Divehi; dz dzo Dzongkha; ee ewe Ewe; el ell Greek; en eng English; eo epo Esperanto; es spa Spanish; et
est Estonian; eu eus Basque; fa fas Persian; ff ful Fulah; fi fin Finnish; fj fij Fijian; fo fao Faroese; fr
fra French; fy fry Western Frisian; ga gle Irish; gd gla Gaelic; gl glg Galician; gn grn Guarani; gu guj
Gujarati; gv glv Manx; ha hau Hausa; he heb Hebrew; hi hin Hindi; ho hmo Hiri Motu; hr hrv Croatian; ht hat
Haitian; hu hun Hungarian; hy hye Armenian; hz her Herero; ia ina Interlingua; id ind Indonesian; ie ile
Interlingue; ig ibo Igbo; ii iii Sichuan Yi; ik ipk Inupiaq; io ido Ido; is isl Icelandic; it ita Italian;
iu iku Inuktitut; ja jpn Japanese; jv jav Javanese; ka kat Georgian; kg kon Kongo; ki kik Kikuyu; kj kua
Kuanyama; kk kaz Kazakh; kl kal Kalaallisut; km khm Central Khmer; kn kan Kannada; ko kor Korean; kr kau
Kanuri; ks kas Kashmiri; ku kur Kurdish; kv kom Komi; kw cor Cornish; ky kir Kirghiz; la lat Latin; lb ltz
Luxembourgish; lg lug Ganda; li lim Limburgan; ln lin Lingala; lo lao Lao; lt lit Lithuanian; lu lub
Luba-Katanga; lv lav Latvian; mg mlg Malagasy; mh mah Marshallese; mi mri Maori; mk mkd Macedonian; ml mal
Malayalam; mn mon Mongolian; mr mar Marathi; ms msa Malay; mt mlt Maltese; my mya Burmese; na nau Nauru; nb
nob Norwegian Bokmål; nd nde North Ndebele; ne nep Nepali; ng ndo Ndonga; nl nld Dutch; nn nno Norwegian
Nynorsk; no nor Norwegian; nr nbl South Ndebele; nv nav Navajo; ny nya Chichewa; oc oci Occitan; oj oji
Ojibwa; om orm Oromo; or ori Oriya; os oss Ossetian; pa pan Panjabi; pi pli Pali; pl pol Polish; ps pus
Pushto; pt por Portuguese; qu que Quechua; rm roh Romansh; rn run Rundi; ro ron Romanian; ru rus Russian; rw
kin Kinyarwanda; sa san Sanskrit; sc srd Sardinian; sd snd Sindhi; se sme Northern Sami; sg sag Sango; si
sin Sinhala; sk slk Slovak; sl slv Slovenian; sm smo Samoan; sn sna Shona; so som Somali; sq sqi Albanian;
sr srp Serbian; ss ssw Swati; st sot Southern Sotho; su sun Sundanese; sv swe Swedish; sw swa Swahili; ta
tam Tamil; te tel Telugu; tg tgk Tajik; th tha Thai; ti tir Tigrinya; tk tuk Turkmen; tl tgl Tagalog; tn tsn
Tswana; to ton Tonga; tr tur Turkish; ts tso Tsonga; tt tat Tatar; tw twi Twi; ty tah Tahitian; ug uig
Uighur; uk ukr Ukrainian; ur urd Urdu; uz uzb Uzbek; ve ven Venda; vi vie Vietnamese; vo vol Volapük; wa wln
Walloon; wo wol Wolof; xh xho Xhosa; yi yid Yiddish; yo yor Yoruba; za zha Zhuang; zh zho Chinese; zu zul
Zulu
"""
"""Languages with a code of two letters (ISO 639-1), their codes of three letters (ISO 639-2/T) and their
names, of several the first. From the Library of Congress, the registration authority of ISO 639-2:
https://www.loc.gov/standards/iso639-2/ISO-639-2_utf-8.txt"""
_ROWS = [row.split(maxsplit=2) for row in _TABLE.split(";")]
_BY_CODE = {short: code for short, code, _ in _ROWS}
_BY_NAME = {name.lower(): code for _, code, name in _ROWS}
_THREE_LETTERS = re.compile("[a-z]{3}")
_QUICKTIME = {
    **{"cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "hye": "arm", "isl": "ice"},
    **{"bod": "tib", "kat": "geo", "mkd": "mac", "msa": "may", "mya": "bur", "nld": "dut", "sqi": "alb"},
    **{"zho": "chi", "fao": "fo ", "hrv": "hr ", "pan": "pa ", "srp": "sr ", "swe": "sve"},
}
"""FFmpeg's names of languages of QuickTime that differ from ISO 639-2/T (`mov_mdhd_language_map` in isom.c);
QuickTime numbers about a hundred languages, and holds no others."""
_ODD = {name: code for code, name in _QUICKTIME.items() if name == "sve" or name.endswith(" ")}
"""Such names that nothing else uses."""
_MAX_IN_TS = 63
"""The most languages of a stream in MPEG-TS: each takes four of the 255 bytes of a descriptor."""
UNDETERMINED = "und"


def written_language(language: str, muxer: str) -> str:
    """Return how a container names a language; an empty string if it can't.

    Matroska takes any name. MP4 and MPEG-TS take three lower-case letters of ISO 639-2, MPEG-TS several of
    them, separated by commas. QuickTime takes some languages, most by the same letters.

    Args:
        language: as a file names it, such as `en`, `ENG`, `de-DE`, `English` or `eng,deu`.
        muxer: FFmpeg's name of the container.
    """
    if muxer in MATROSKA:
        return _ODD.get(language, language)
    codes = [code for part in language.split(",") if (code := _code(part))]
    if muxer == "mpegts":
        return ",".join(codes[:_MAX_IN_TS])
    first = codes[0] if codes else ""
    return _QUICKTIME.get(first, first) if muxer == "mov" else first


def is_same_language(language: str, written: str) -> bool:
    """Return whether a language that is written says all that the given one does."""
    parts = language.split(",")
    if language == written or not written or any(re.search("[-_]", part) for part in parts):
        return language == written
    codes = ",".join(map(_code, parts))
    return written in (codes, _QUICKTIME.get(codes))


def _code(language: str) -> str:
    """Return the code of ISO 639-2 for a language, an empty string if there is none."""
    name = language.strip().lower()
    if name in _BY_NAME or name in _ODD:
        return _BY_NAME.get(name) or _ODD[name]
    code = re.split("[-_]", name)[0]  # the rest of `de-DE` is a region
    return _BY_CODE.get(code, code if _THREE_LETTERS.fullmatch(code) else "")
