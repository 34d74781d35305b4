"""Random policies that meet on purpose: few addresses, every length, every access attribute, roots twice."""

from random import Random

from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.model import (
    InstructionEntry,
    IoEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)

PORT_CENTRES = (0x0, 0x70, 0xCF8, 0xFFFA)
MSR_CENTRES = (0x0, 0x10, 0xC000_0080, 0xFFFF_FFF4)


def io_entry(random: Random) -> IoEntry:
    address = random.choice(PORT_CENTRES) + random.randrange(6)
    length = random.choice((0, 1, 1, 2, 2, 3, 4, 4, 5, 8, 0x100, 0xFFFF))
    return IoEntry(address, length, random.choice((0, 1, 2, 3, 4, 8, 9, 10, 11, 0x13, 0x41)))


def msr_entry(random: Random) -> MsrEntry:
    address = random.choice(MSR_CENTRES) + random.randrange(12)
    return MsrEntry(address, random.choice((0, 1, 1, 2, 4, 5, 12, 0x100, 0xFFFF)), random.choice((0, 1, 2, 3, 4, 7)))


def instruction_entry(random: Random) -> InstructionEntry:
    return InstructionEntry(random.randrange(4), random.choice((0, 1, 4, 5)))


def save_state_entry(random: Random) -> SaveStateEntry:
    return SaveStateEntry(random.randrange(3), random.choice((0, 1, 1, 0x10, 0x10, 0x11, 4)), random.randrange(4))


MAKERS = {
    RootType.IO: io_entry,
    RootType.MSR: msr_entry,
    RootType.INSTRUCTION: instruction_entry,
    RootType.SAVE_STATE: save_state_entry,
}


def random_root(random: Random, kind: RootType, most: int = 6) -> PolicyRoot:
    attr = random.choice((0, 0, 0, 1, 1, 1, 2, 255))
    entries = tuple(MAKERS[kind](random) for _ in range(random.randrange(most + 1)))
    return PolicyRoot(kind, attr, entries)


def random_policy(random: Random) -> Policy:
    """Usually one root of each type in any order; now and then one is missing or there twice."""
    kinds = list(MAKERS)
    random.shuffle(kinds)
    if random.random() < 0.2:
        kinds.append(random.choice(kinds))
    if random.random() < 0.1:
        kinds.pop(0)
    return assemble(random_root(random, kind) for kind in kinds)


def expressible_policy(random: Random) -> Policy:
    """A policy that XML can express: with overlaps, words that mean nothing, and lists in any order."""
    kinds = list(MAKERS)
    random.shuffle(kinds)
    return assemble(
        PolicyRoot(
            kind, random.randrange(2), tuple(_EXPRESSIBLE[kind](random) for _ in range(random.randrange(MOST_ENTRIES)))
        )
        for kind in kinds[: random.randrange(5)]
    )


MOST_ENTRIES = 6


def _some_bits(random: Random, *choices: tuple[int, ...]) -> int:
    return sum(random.choice(bits) for bits in choices)


_READS, _WRITES, _EXECUTE, _STRICT = (0, 0x01, 0x10), (0, 0x02, 0x20), (0, 0x04), (0, 0x08)
_EXPRESSIBLE = {
    RootType.IO: lambda random: IoEntry(
        random.randrange(0x10000), random.randrange(1, 0x10000), _some_bits(random, _READS, _WRITES, _EXECUTE, _STRICT)
    ),
    RootType.MSR: lambda random: MsrEntry(
        random.randrange(1 << 32), random.randrange(1, 0x10000), _some_bits(random, _READS, _WRITES, _EXECUTE)
    ),
    RootType.INSTRUCTION: lambda random: InstructionEntry(
        random.randrange(3), _some_bits(random, _READS, _WRITES, _EXECUTE)
    ),
    RootType.SAVE_STATE: lambda random: SaveStateEntry(
        random.randrange(2), _some_bits(random, _READS, _WRITES), random.randrange(3)
    ),
}
