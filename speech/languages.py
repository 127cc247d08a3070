"""The languages that Whisper knows: codes, names and scripts. Imports neither torch nor whisper."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

import langcodes

LANGUAGES = frozenset(
    """en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg
    lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so
    af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue""".split()
)
"""As `whisper.tokenizer.LANGUAGES` has them, such as "en" and "yue"."""

_NAMES = """en english; zh chinese mandarin cmn chs cht 中文 简体 繁體 繁体 简体中文 繁體中文; de german deutsch;
    es spanish espanol castellano; ru russian русский; ko korean 한국어; fr french francais; ja japanese 日本語;
    pt portuguese portugues; tr turkish turkce; pl polish polski; ca catalan; nl dutch; ar arabic العربية; sv swedish;
    it italian italiano; id indonesian; hi hindi हिन्दी; fi finnish; vi vietnamese; he hebrew עברית;
    uk ukrainian українська; el greek ελληνικα; ms malay; cs czech; ro romanian; da danish; hu hungarian; ta tamil;
    no norwegian nob nb; th thai ไทย; ur urdu; hr croatian; bg bulgarian; lt lithuanian; lv latvian; cy welsh;
    sk slovak; te telugu; fa persian farsi; bn bengali; sr serbian; sl slovenian; et estonian; eu basque; is icelandic;
    hy armenian; sq albanian; sw swahili; gl galician; km khmer; af afrikaans; ka georgian; my burmese;
    tl tagalog filipino fil; yue cantonese"""
_CODES = {name: line.split()[0] for line in _NAMES.split(";") for name in line.split()[1:]}


def language_code(name: str) -> str | None:
    """The code in LANGUAGES of a language's two or three letters (ISO 639), or of its name in English or its own, in any case."""
    name = name.lower()
    if name not in _CODES:
        marks = unicodedata.normalize("NFD", name)
        name = "".join(letter for letter in marks if not unicodedata.combining(letter))
    if name in LANGUAGES or name in _CODES:
        return _CODES.get(name, name)
    if len(name) > 3 or not name.isascii():
        return None
    try:
        code = langcodes.get(name).language
    except ValueError:
        return None
    return code if code in LANGUAGES else None


def language_name(code: str) -> str:
    """A language in English, such as `German`; its code where no name is listed."""
    names = next((line.split() for line in _NAMES.split(";") if line.split()[0] == code), [code, code])
    return names[1].title() if names[1] != code else code


_SCRIPTS = {
    "CJK": "zh yue ja ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "ARABIC": "ar fa ur ps sd",
    "CYRILLIC": "ru uk bg sr mk be kk mn tg tt ba",
    "HEBREW": "he yi",
    "DEVANAGARI": "hi mr ne sa",
    "GREEK": "el",
    "THAI": "th",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "TIBETAN": "bo",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "ETHIOPIC": "am",
    "BENGALI": "bn as",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
}
"""The languages that are written in a script, by the first word of its letters' names in Unicode; the most usual first."""
_IN_LATIN_TOO = frozenset("sr kk tt ba yi sa".split())
_IN_LATIN = LANGUAGES - {code for codes in _SCRIPTS.values() for code in codes.split()} | _IN_LATIN_TOO
LEAST_KANA = 0.05
"""The share of kana among the letters from which on a text with Chinese characters is Japanese."""


def written_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The languages that texts can be in by the script of most of their letters; empty where they have no letters.

    The first is the most usual one of a script that is not Latin.
    """
    letters = Counter(
        unicodedata.name(letter, "").split(" ")[0] for text in texts for letter in text if letter.isalpha()
    )
    if not letters:
        return ()
    if letters["HIRAGANA"] + letters["KATAKANA"] > LEAST_KANA * letters.total():
        return ("ja",)
    script = letters.most_common(1)[0][0]
    if script == "CJK" and letters["HANGUL"]:
        return ("ko",)
    return tuple(_SCRIPTS[script].split()) if script in _SCRIPTS else tuple(sorted(_IN_LATIN))
