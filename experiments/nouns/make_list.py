"""Make dollhouse/questions/nouns.txt.gz and not_typos.txt.gz from WordNet 3.0's files (Debian: wordnet-base).

A line is a noun, with "!" behind it where a room may hold such an object under another name: it is a kind, a part or a
more general word of a default label, so questions about absent objects do not use it.
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from dollhouse.questions.nouns import LIST as OUT
from dollhouse.questions.nouns import NOT_TYPOS
from dollhouse.questions.wording import LEAST_TYPO, _edits, _targets
from dollhouse.scenes.labels import LabelMap, default_labels

ANIMAL, ARTEFACT, FOOD, PERSON, PLANT = 5, 6, 13, 18, 20
QUOTAS = {ARTEFACT: 5600, ANIMAL: 1700, FOOD: 1500, PLANT: 1200, PERSON: 1800}
UP, DOWN, PARTS = ("@", "@i"), ("~", "~i"), ("%p", "%m", "%s", "#p")
#: what rooms consist of or hold without a box, and people
ROOM = """floor wall ceiling room furniture furnishing appliance object article thing item artefact artifact tool
instrument container vessel equipment device decoration ornament textile cloth fabric drawer handle knob tile brick
skirting baseboard molding moulding ledge sill windowsill frame pane glass wood board plank panel cable cord wire plug
socket outlet switch pipe tap faucet hinge leg screen lid cover sheet blanket duvet mattress paper person photo man
woman child boy girl adult corner surface top base bulb shade tray basket holder stand rack hook hanger fixture ware
hardware seat cushion"""
FUNCTION_WORDS = """
that this these those them they then than there their what when where which while with will would could
should shall might must have been were some such same into onto from does done your mine ours here each both more most
much many very just only also even ever never because about above after again against among around before below between
beyond down during over under until upon without within whose whom"""


def rank(word: str) -> str:
    """Return a fixed random order."""
    return blake2b(word.encode(), digest_size=8).hexdigest()


def write_not_typos(folder: Path, senses: Iterable[str]) -> None:
    """Write the words of WordNet, with their inflections, that are one edit from a word that typos are corrected to."""
    words = set(senses) | set(FUNCTION_WORDS.split()) | {f"{word}s" for word in senses}
    for part in ("verb", "adj", "adv", "noun"):
        lines = (folder / f"index.{part}").read_text().splitlines()
        lemmas = {line.split()[0] for line in lines if not line.startswith("  ")}
        words |= lemmas | {line.split()[0] for line in (folder / f"{part}.exc").read_text().splitlines()}
        for lemma in lemmas if part != "noun" else ():
            stem = lemma.removesuffix("e")
            words |= {f"{lemma}s", f"{lemma}es", f"{stem}ing", f"{stem}ed", f"{stem}er", f"{stem}est"}
    plain = {word for word in words if len(word) >= LEAST_TYPO and re.fullmatch("[a-z]+", word)} - _targets()
    kept = sorted(word for word in plain if any(edited in _targets() for edited in _edits(word)))
    NOT_TYPOS.write_bytes(gzip.compress("\n".join(kept).encode(), 9, mtime=0))
    print(f"{NOT_TYPOS}: {len(kept)} words")


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    folder: Path = parser.parse_args().wordnet
    kind, lemmas, pointers = {}, {}, defaultdict(list)
    for line in (folder / "data.noun").read_text().splitlines():
        if line.startswith("  "):
            continue
        fields = line.split(" ")
        synset, count = fields[0], int(fields[3], 16)
        kind[synset] = int(fields[1])
        lemmas[synset] = [fields[4 + 2 * i].replace("_", " ") for i in range(count)]
        start = 5 + 2 * count
        for i in range(int(fields[4 + 2 * count])):
            symbol, target, part = fields[start + 4 * i : start + 4 * i + 3]
            if part == "n":
                pointers[synset].append((symbol, target))
    senses, tagged = {}, {}
    for line in (folder / "index.noun").read_text().splitlines():
        if line.startswith("  "):
            continue
        fields = line.split()
        word, synsets = fields[0].replace("_", " "), int(fields[2])
        senses[word], tagged[word] = fields[-synsets:], int(fields[-synsets - 1])

    def closure(start: set[str], symbols: tuple[str, ...]) -> set[str]:
        found, open_ = set(start), list(start)
        while open_:
            for symbol, target in pointers[open_.pop()]:
                if symbol in symbols and target not in found:
                    found.add(target)
                    open_.append(target)
        return found

    mapping = LabelMap(default_labels())
    words = {word for label in default_labels() for word in (label, *mapping.aliases(label))}
    roots = {synset for word in words for synset in senses.get(word, ())[:3] if kind[synset] in (ARTEFACT, PLANT)}
    related = closure(roots, UP) | closure(roots, DOWN)
    related |= {target for synset in closure(roots, DOWN) for symbol, target in pointers[synset] if symbol in PARTS}
    words |= set(ROOM.split())
    kept: dict[str, bool] = {}
    groups = defaultdict(list)
    for word, synsets in senses.items():
        first = kind[synsets[0]]
        plain = re.fullmatch(r"[a-z]{3,14}(?: [a-z]{3,12})?", word)
        if first in QUOTAS and plain and (" " not in word or first == ARTEFACT) and mapping.map(word) is None:
            cased = any(word == lemma for synset in synsets[:1] for lemma in lemmas[synset])  # no proper names
            if cased:
                groups[first].append(word)
    for group, quota in QUOTAS.items():
        ordered = sorted(groups[group], key=lambda word: (not tagged[word], " " in word, rank(word)))
        for word in ordered[:quota]:
            kept[word] = bool(related & set(senses[word])) or bool(set(word.split()) & words)
    lines = [word + "!" * kept[word] for word in sorted(kept)]
    OUT.write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
    write_not_typos(folder, senses)
    print(f"{OUT}: {len(lines)} nouns, {sum(kept.values())} marked, {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
