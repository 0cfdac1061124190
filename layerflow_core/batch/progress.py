"""What a person sees of a batch while it runs: shots done, shots failed, time left, and the step of the one at work."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .worker import FAILED, ShotResult


class BatchProgress:
    """A tqdm bar on stderr; also the observer of runs in this process."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="shot", desc="shots", dynamic_ncols=True)
        self._failed = 0

    def finish(self, result: ShotResult) -> None:
        self._failed += result.state == FAILED
        self._bar.set_postfix_str(f"{self._failed} failed" if self._failed else "", refresh=False)
        self._bar.set_description_str("shots", refresh=False)
        self._bar.update()

    def say(self, line: str) -> None:
        """A line on stdout, above the bar."""
        self._bar.write(line)

    def close(self) -> None:
        self._bar.close()

    def stage(self, name: str) -> None:
        self._bar.set_description_str(f"shots ({name})")

    def pause(self) -> None:
        pass

    def step(self, done: int, total: int, preview: Callable[[], Tensor]) -> None:
        self._bar.set_description_str(f"shots (step {done}/{total})")
