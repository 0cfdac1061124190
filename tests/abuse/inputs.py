"""The inputs of a reader, by number: sound seeds, then nasty files in every place, then damaged seeds."""

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
        self._reader = reader
        self._seeds = seeds
        self._placed = list(_place(seeds, nasty))
        self._chance = chance

    @property
    def fixed(self) -> int:
        """How many there are that chance has no part in; they come first."""
        return len(self._seeds) + len(self._placed)

    def write(self, number: int, folder: Path) -> Path:
        """Write an input into an empty folder.

        Returns:
            The path that the reader is given.
        """
        if self.is_sound(number):
            return self._seeds[number].write(folder)
        if placed := self._placed_at(number):
            return _write_nasty(placed, folder)
        rng = random.Random(f"{self._chance}:{self._reader}:{number - self.fixed}")
        seed = rng.choice(self._seeds)
        target = rng.choice(seed.targets)
        entry = seed.write(folder)
        damaged = mutate(seed.files[target], Path(target).suffix, rng)
        (folder / target).write_bytes(damaged)
        return entry

    def describe(self, number: int) -> str:
        if self.is_sound(number):
            return f"sound {self._seeds[number].name}"
        return str(self._placed_at(number) or "damaged by chance")

    def is_sound(self, number: int) -> bool:
        """Whether an error is wrong."""
        return number < len(self._seeds)

    def is_hostile(self, number: int) -> bool:
        """Whether anything but an error is wrong."""
        placed = self._placed_at(number)
        return placed is not None and placed.nasty.refused

    def _placed_at(self, number: int) -> Placed | None:
        index = number - len(self._seeds)
        return self._placed[index] if 0 <= index < len(self._placed) else None


def _place(seeds: Sequence[Seed], nasty: Sequence[Nasty]):
    for seed in seeds:
        for target in _different(seed.targets):
            for file in nasty:
                if file.suits(target):
                    yield Placed(seed, target, file)


def _different(targets: Sequence[str]) -> list[str]:
    """One target of each kind: every image of a sequence is read alike."""
    by_kind = {(str(Path(target).parent), Path(target).suffix): target for target in targets}
    return list(by_kind.values())


def _write_nasty(placed: Placed, folder: Path) -> Path:
    entry = placed.seed.write(folder)
    target = folder / placed.target
    target.unlink()
    placed.nasty.put(target)
    return entry
