"""Penn Treebank words of a caption as COCO's scores count them: lower case, less punctuation.

Reproduces the PTBTokenizer of Stanford CoreNLP 3.4.1 (Java, ``-preserveLines -lowerCase``) by rules: at each place the
longest match wins, of equally long ones the first. Known differences are listed in docs/guides/evaluate.md.
"""
# ruff: noqa: SIM905 (lists of words read better as words)

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

#: what COCO leaves out of a caption; brackets stay, because it looks for -LRB- after everything became lower case
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

#: superscripts, fractions and the like, which Python counts as parts of words
_NUMERALS = "".join(c for c in map(chr, range(0x80, 0x3000)) if c.isnumeric() and not c.isdecimal() and not c.isalpha())
_LETTER = rf"[^\W\d_{_NUMERALS}]"
_ALNUM = rf"[^\W_{_NUMERALS}]"
_APOS = "['’]"

#: abbreviations that keep their period; the first letter may be a capital, or all of them
_ABBREVIATIONS = (
    "adj adm adv al ala alex apr ariz assn attys aug ave bancorp bhd bldg blvd brig bros calif capt cf cie cmdr co col "
    "colo conn corp cos cpl ct dak dec dept det dr drs ens esq est etc ext feb fla fri ft ga gen gov govs hon inc ind "
    "intl jan jos jr jul jun kan kans ky lieut lt ltd maj mar md messrs mfg mich minn mme mo mon mont mr mrs ms mt mtg "
    "neb nev nov oct okla penn pfc ph plc pres prof profs pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq "
    "sr st ste supt supts sys tel tenn thu thurs tue tues univ va vs vt wed wis wisc wm wyo"
).split()
#: abbreviations only where they begin with a capital, since they are words otherwise
_CAPITALISED = "ark az del ill la mass miss ore pa pte pty tex wash".split()
#: abbreviations only before a number: "no. 5", but not "no. there is none"
_BEFORE_NUMBER = "art ca fig figs no nos op pp prop".split()
#: after "5 m." a new sentence begins with one of these, and its period is a full stop
_SENTENCE_STARTS = (
    "A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Now Once "
    "One Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You"
).split()


def _any(words: Sequence[str]) -> str:
    return "(?:" + "|".join(sorted(words, key=lambda word: (-len(word), word))) + ")"


def _cased(words: Sequence[str]) -> list[str]:
    return [form for word in words for form in (word.capitalize(), word.upper())]


_STARTS = _any(sorted({*_SENTENCE_STARTS, *(word.upper() for word in _SENTENCE_STARTS if len(word) > 1)}))
_ACRONYM = r"[A-Za-z](?:\.[A-Za-z])+"

_CLITIC = rf"{_APOS}(?i:[msd]|re|ve|ll)(?!{_LETTER})"
_FILES = (
    "avi bmp c class cpp doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 mp4 mpg pdf php pl png ppt ps py sql "
    "tar txt wav x xml zip"
).split()

# Repetitions are bounded where a rule may look far ahead in vain, so that time does not grow with the square of length.
# A rule with a group takes only that group off the text, but competes with the length of all it matched.
_WORD_RULES = tuple(
    re.compile(rule)
    for rule in (
        r"(?i:(can)not|(gim|lem)me|(gon|wan)na|(got)ta)",
        rf"({_LETTER}*(?![nN]){_LETTER})[nN]['’`][tT]",  # ca|n't
        r"[nN]['’`][tT]",
        rf"({_ALNUM}+){_CLITIC}",  # he|'ll
        rf"(?i:{_any(_ABBREVIATIONS)})\.",
        rf"{_any(_cased(_CAPITALISED))}\.",
        rf"((?i:{_any(_BEFORE_NUMBER)})\.)\s?\d",
        rf"([A-Za-z])\.\s+{_STARTS}\s",  # 5 m. The
        r"[A-Za-z]\.",
        rf"{_ACRONYM}\.",
        r"(?i:ph\.d)\.",
        rf"((?:[dDoOlL]{_APOS})?{_ALNUM}+(?:[-.,]{_ALNUM}+){{0,9}}\.)[,;:]",
        rf"{_LETTER}{_ALNUM}*(?:[.!?]{_LETTER}{_ALNUM}*)*",
        rf"(?:[dDoOlL]{_APOS}{_ALNUM})?{_ALNUM}+(?:-(?:[dDoOlL]{_APOS}{_ALNUM})?{_ALNUM}+)*",  # o'clock, two-seater
        rf"{_ALNUM}(?:{_ALNUM}|[.,]){{0,99}}(?:-(?:{_ACRONYM}\.|{_ALNUM}+))+",  # 2.5-inch
        r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",  # and/or
        r"[A-Z]+(?:(?:[&+]|&amp;)[A-Z]+)+",  # AT&T
        rf"[A-HJ-XZn]{_APOS}{_LETTER}{{2,}}",  # X'mas
        rf"{_LETTER}+[aeiouyAEIOUY]{_APOS}[aeiouA-Z]{_LETTER}*",  # ma'am
        rf"[lLdDjJ]{_APOS}|[yY]{_APOS}(?=[A-Za-rt-z])|(?i:ol|somethin|dunkin)'",
        r"(?i:pro|anti)-",
        r"(?i:cap'n|c'mon|e'er|ev'ry|li'l|nat'l|nor'easter|s'mores|cont'd\.)",
        r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+|[cC]\+\+|[cCfF]#",
        r"(?:US|HK|[A-Z])\$",
        r"(?i:https?)://[^\s\"<>|()]*[^\s\"<>|.!?(){},-]",
        r"www\.(?:[^\s\"<>|.!?(){},/@-]+\.)+[A-Za-z]{2,4}(?:/[^\s\"<>|()]*[^\s\"<>|.!?(){},-])?",
        r"(?:[^\s\"<>|.!?(){},/@-]{1,63}\.){1,9}(?:com|net|org|edu)",
        rf"[A-Za-z0-9]+(?:\.[A-Za-z0-9]+){{0,9}}\.{_any(_FILES)}(?!{_ALNUM})",
        r"[A-Za-z0-9][\w.%+-]{0,63}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?",
        r"[oO]_[oO]|[TX]_[TX]",
    )
)
_NUMBER_RULES = tuple(
    re.compile(rule)
    for rule in (
        r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}",
        r"(?:\d{1,4}[- \xa0])?\d{1,4}[/⁄]\d{1,4}",
        r"[-+]?(?:\d*(?:[.:,]\d+)+|\d+)",
        r"(?:\(\d{2,3}\)[ \xa0]?|(?:\+\+?)?(?:\d{2,4}[- \xa0])?\d{2,4}[- \xa0])\d{3,4}[- \xa0]?\d{3,5}",  # telephone
        r"(?:\+\+?)?\d{2,4}\.\d{2,4}\.\d{3,4}\.\d{3,5}",
    )
)
_OTHER_RULES = tuple(
    re.compile(rule)
    for rule in (
        _CLITIC,
        r"('[tT])(?i:is|was)",
        rf"{_APOS}[nN](?:{_APOS}|(?!{_ALNUM}))|{_APOS}[2-9]0s|{_APOS}\d\d(?=\s)|{_APOS}(?i:em|till?|cause)",
        r"<[!?/]?[A-Za-z][A-Za-z0-9_.:-]*(?: [^<>\r\n]*|/)?>|<!--[^<>\r\n]*-->",
        r"<[A-Za-z0-9][\w.%+-]*@[\w.-]+>",
        r"&(?:lt|gt|amp|quot|apos|nbsp|mdash|[aeiouAEIOU](?:acute|grave|uml)|#\d+);",
        r"[<>]?[:;=][-o*']?[()DdPpO\\@|\[\]](?![A-Za-z0-9])|\^_\^|-_-",
        r"#[A-Za-z]+|@[A-Za-z_]\w*",
        r"''|``|[!?]+|\*+|#+|_+|<<|>>",
        r"\.{3,}|-+",
    )
)
_NAMED = {"&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": "''", "&apos;": "'", "&nbsp;": "", "&mdash;": "--"}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_SYMBOLS = {"£": "#", "€": "$", "¢": "cents", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
_REPLACED = {**_NAMED, **_BRACKETS, **_SYMBOLS}
_DROPPED = frozenset("\"“”«»‘’‛‹›`'–—―‒…‥\u2010\u2011")  #: COCO's punctuation, in other shapes
_DASHES_OR_DOTS = re.compile(r"-{1,4}|\.+")
_CONTRACTED = re.compile(r"(?i)(n?)’(t|[msd]|re|ve|ll)")
_PLAIN_WORD = re.compile(r"[A-Za-z]{2,}(?=,? )")
#: ends of lines after which the next line matters
_READS_ON = re.compile(rf"(?<![A-Za-z0-9])(?:(?i:{_any(_BEFORE_NUMBER)})\.|[A-Za-z]\.\s*)$")
#: text that needs no rules, which is most answers
_PLAIN = re.compile(r"(?:[A-Za-z]+ )*(?:[A-Za-z]+|[A-Za-z]{2,}\.)")
_NOT_PLAIN = frozenset(["cannot", "gimme", "lemme", "gonna", "wanna", "gotta", *_ABBREVIATIONS, *_CAPITALISED])


@lru_cache(maxsize=1 << 16)
def caption_words(text: str, following: str = "") -> tuple[str, ...]:
    """Split a caption: ``("it", "'s", "a", "two-seater", "-lrb-", "red", "-rrb-")``.

    Args:
        following: the next line of the file, see :func:`split_captions`.
    """
    if not following and _PLAIN.fullmatch(text):
        words = text.lower().rstrip(".").split(" ")
        if _NOT_PLAIN.isdisjoint(words):
            return tuple(words)
    return tuple(_words(text.replace("\xad", ""), following))


def split_captions(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Split captions as the lines of one file.

    COCO's tokenizer can depend on the next line: "No." keeps its period where a number follows, "5 m." loses it where a
    sentence begins.
    """
    following, words = "", []
    for text in reversed(texts):
        words.append(caption_words(text, following if _READS_ON.search(text) else ""))
        following = f"{text}\n" if text.strip() else f"{text}\n{following}"
    return words[::-1]


def _words(text: str, following: str) -> Iterator[str]:
    length = len(text)
    text = f"{text}\n{following}"
    place = 0
    while place < length:
        if text[place].isspace():
            place += 1
            continue
        word = _PLAIN_WORD.match(text, place)
        if word and (plain := word[0].lower()) not in _NOT_PLAIN:
            place = word.end()
            yield plain
            continue
        token = _longest(text, place)
        place += len(token)
        token = _REPLACED.get(token, token)
        if len(token) == 1 and (token in _DROPPED or not token.isprintable() or ord(token) > 0xFFFF):
            continue
        token = _CONTRACTED.sub(r"\1'\2", token) if _CONTRACTED.fullmatch(token) else token
        token = token.lower().replace(" ", "\xa0").replace("(", "-lrb-").replace(")", "-rrb-")
        if token and token not in PUNCTUATION and not _DASHES_OR_DOTS.fullmatch(token):
            yield token


def _longest(text: str, place: int) -> str:
    """Return the token that begins at ``place``; a single character where no rule matches."""
    first = text[place]
    rules = _WORD_RULES + _NUMBER_RULES if first.isalnum() else _NUMBER_RULES + _OTHER_RULES
    longest, token = 0, first
    for rule in rules:
        match = rule.match(text, place)
        if match and match.end() - place > longest:
            longest = match.end() - place
            token = match[match.lastindex or 0]
    return token
