"""The inputs of a reader, by number: first every nasty file in every place, then damaged seeds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .mutations import mutate
from .nasty import Nasty
from .seeds import Seed


@dataclass(frozen=True)
class Placed:
    """A nasty file in place of one of a seed's own."""

    seed: Seed
    target: str
    nasty: Nasty

    def __str__(self) -> str:
        return f"{self.nasty.name} as {self.seed.name}/{self.target}"


class Inputs:
    """All inputs of one reader; the same arguments make the same.

    Args:
        chance: a number that all random choices follow from.
    """

    def __init__(self, reader: str, seeds: Sequence[Seed], nasty: Sequence[Nasty], chance: int):
        self.reader = reader
        self.seeds = seeds
        self.chance = chance
        self.placed = list(_place(seeds, nasty))

    def write(self, number: int, folder: Path) -> Path:
        """Write an input into an empty folder.

        Returns:
            The path that the reader is given.
        """
        if number < len(self.placed):
            return _write_nasty(self.placed[number], folder)
        rng = random.Random(f"{self.chance}:{self.reader}:{number}")
        seed = rng.choice(self.seeds)
        target = rng.choice(seed.targets)
        entry = seed.write(folder)
        damaged = mutate(seed.files[target], Path(target).suffix, rng)
        (folder / target).write_bytes(damaged)
        return entry

    def describe(self, number: int) -> str:
        return str(self.placed[number]) if number < len(self.placed) else f"number {number}"

    def is_refused(self, number: int) -> bool:
        """Whether reading it without an error is wrong."""
        return number < len(self.placed) and self.placed[number].nasty.refused


def _place(seeds: Sequence[Seed], nasty: Sequence[Nasty]):
    for seed in seeds:
        for target in _different(seed.targets):
            for file in nasty:
                if file.suits(target):
                    yield Placed(seed, target, file)


def _different(targets: Sequence[str]) -> list[str]:
    """One target of each kind: every picture of a sequence is read alike."""
    by_kind = {(str(Path(target).parent), Path(target).suffix): target for target in targets}
    return list(by_kind.values())


def _write_nasty(placed: Placed, folder: Path) -> Path:
    entry = placed.seed.write(folder)
    target = folder / placed.target
    target.unlink()
    placed.nasty.put(target)
    return entry
