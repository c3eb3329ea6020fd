"""Pure. One list of 256 words that people read to each other: pairing codes, key words, recovery keys.

Words have four to six letters, so a code of a number and three words ("42-tulip-orbit-maple") never exceeds 24
characters. No two words differ by a single letter, and the first four letters name a word, so a slip is noticed instead
of becoming another word. The position of a word is its byte: the list is part of the format and never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ca.errors import ConfigError

WORDS: Final = tuple(
    """
acid acorn actor adobe agent alarm album algae alley almond alpine amber anchor angle ankle apple apron arch arena armor arrow aspen atlas attic august avenue award axis
badge bagel bamboo banjo barn basil beach bean bench berry bicycle birch bison blanket bloom board boat bonus book border bottle brick bronze brush bubble bucket buffet bundle butter
cabin cactus cake camel candle carbon castle cedar cello center chalk cherry chimney cider cinema circle civic clay clever cliff clock cloud clover coast cobalt cocoa coffee comet copper coral cotton couch crane crystal cube curtain cycle
daisy dance dawn debut decade delta denim depot desert diary dinner dish dolphin domino donkey double dragon drum duck dune dwarf
eagle earth echo eclipse editor eight elbow elder ember emerald engine envoy epoch errand essay ethics evening exile expert
fabric falcon family farm fashion father feather fence ferry fiber fiddle field figure filter finger fiscal flame flute focus folder forest fossil frame fruit fuel funnel
galaxy garden gecko gentle giant ginger glacier globe goat gold gorilla grape guitar gust gypsum
habit hammer harbor hazel health hedge helmet herb hero hill hippo hockey honey hotel humor hunter hybrid
iceberg icon igloo image index infant ink insect iron island ivory
jacket jaguar jasmine jazz jelly jewel jigsaw jockey joke journey judge juice jungle junior
kayak kernel kettle kidney kitchen kiwi koala
ladder lagoon lake lamp lantern laser lava lawn leader legend lemon lens letter level library light linen lion liquid lizard lobby local lodge lotus lucky lumber lunar lyric
magnet mango maple marble match mayor meadow melon memory mentor merit metal middle mile mineral mirror mixture model moment monkey moon morning mosaic motor mountain museum music
napkin nature navy nectar needle nephew nest nickel night ninth noble noodle north novel number nylon
oasis oboe ocean octave office olive onion opera orange orbit orchid organ ostrich otter oval oven owner oxygen oyster ozone
paddle palace panda paper parade patio peach pebble pelican pencil pepper perfume phone piano picnic pigeon pilot pine pixel planet plum pocket poem polar pond popcorn poster potato prairie puddle pumpkin puppet puzzle pyramid
quartz quarry queen quiet quilt
rabbit radar raft rain ranch raven razor reef region relay remedy resort ribbon rice ridge ring river robin rocket roof rose round royal rubber rugby ruler rural
saddle saffron salad salmon sand satin sauce scarf school science scout season second seed sesame shadow shelf shirt sierra silver simple siren sister sketch sleeve slogan smile snow soccer soda solar sonar soup south spark sphere spoon square stable stone studio subway sugar summer sunset surface swan syrup system
table tailor talent tango target teapot temple tenor thumb ticket tiger timber toast tomato topic torch tower traffic trumpet tulip tunnel turtle tuxedo twelve twin
umbra umpire uncle unicorn union upland upper urban usher utopia
vacuum valley vanilla vapor vector velvet verb vessel victory video village violin visa vital vivid voice volcano voyage
wafer wagon walnut water wave weather wedding western whale wheel widget willow window winter wisdom wolf wonder wood worker wren
yacht yard yellow yogurt young
zebra zenith zero zipper zodiac zoom

""".split()
)

_BYTE_OF: Final = {word: byte for byte, word in enumerate(WORDS)}
_BYTE_OF_START: Final = {word[:4]: byte for byte, word in enumerate(WORDS)}


def words_of(data: bytes) -> list[str]:
    """One word for each byte."""
    return [WORDS[byte] for byte in data]


def bytes_of_words(words: Iterable[str]) -> bytes:
    """The inverse, for what a person typed: any case, and the first four letters suffice. Raises ConfigError."""
    return bytes([_byte_of(word) for word in words])


def _byte_of(typed: str) -> int:
    word = typed.strip().lower()
    byte = _BYTE_OF.get(word)
    if byte is None and len(word) == 4:
        byte = _BYTE_OF_START.get(word)
    if byte is None:
        raise ConfigError(f"“{typed}” is not one of the words", fix="compare it with what was shown, word by word")
    return byte
