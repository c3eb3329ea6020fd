"""Pure. One list of 256 words that people read to each other: pairing codes, key words, recovery keys.

Words have four to six letters, so a code of a number and three words ("42-tulip-orbit-maple") never exceeds 24
characters. Three letters decide a word, and it takes at least three slips to turn one into another, so a slip is
noticed. The position of a word is its byte: the list is part of the format and never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ca.errors import ConfigError

# One string, because 256 quoted words are five pages.
WORDS: Final = tuple(
    """
    acorn adobe agent album almond alpine amber anchor animal apron aspen atlas attic august autumn avenue bagel
    bakery bamboo banjo barn beaver berry birch bishop bloom boat bonnet border bottle branch bread bridge bronze
    brush bubble bucket cabin cactus cake camera canal carpet castle cedar cello chalk chess chorus cinema circle
    civic clay cliff clover cobalt cocoa coffee comet copper cotton cousin coyote cradle daisy dance debut decade
    delta denim desert diary dinner doctor domino donkey double dragon drum duck echo editor elbow eleven engine
    envoy errand essay estate ethics exile expert fabric falcon family farmer fiddle field figure flame forest
    fossil fudge galaxy garden gentle geyser giant glider goblet gold grove guitar gypsum harbor health helmet
    herald hiking hippo hollow hotel humor hunter hybrid igloo indigo insect iris island ivory jaguar jazz jersey
    jewel jigsaw juice junior kayak kernel kimono kitten kiwi koala ladder lagoon laurel lava legend lemon lilac
    linen lizard lobby lotus lunar magnet maple meadow merit mirror molten mosaic muffin museum napkin nature
    needle nephew nickel north nutmeg nylon oasis oboe ocean octave olive onion opal orbit orchid otter outlaw
    oxygen palace panda paper parrot pencil pigeon pilot pirate planet poem polar poppy potato puzzle python quartz
    queen quilt rabbit radish raft raven ribbon roof rubber safari scarf school season secret shell sierra silver
    sketch sled sofa spiral spring squash stable stereo studio summit sunset swan syrup teapot temple tennis theory
    tiger tulip tunnel turtle tuxedo uncle valley vessel violin vision voyage waffle walnut window wombat yacht
    yogurt zebra zenith zephyr zigzag
    """.split()  # noqa: SIM905
)

_BYTE_OF_START: Final = {word[:3]: byte for byte, word in enumerate(WORDS)}


def words_of(data: bytes) -> list[str]:
    """One word for each byte."""
    return [WORDS[byte] for byte in data]


def bytes_of_words(words: Iterable[str]) -> bytes:
    """The inverse, for what a person typed: any case, and three letters or more suffice. Raises ConfigError."""
    return bytes([_byte_of(word) for word in words])


def _byte_of(typed: str) -> int:
    word = typed.strip().lower()
    byte = _BYTE_OF_START.get(word[:3])
    if byte is None or not WORDS[byte].startswith(word):
        raise ConfigError(f"“{typed}” is not one of the words", fix="compare it with what was shown, word by word")
    return byte
