"""The one training loop, on Hugging Face Accelerate: one process or many, exact resume, clean stop.

What a step sees depends on the seed, the step and a sample's number in the whole batch, not on the number of
processes or on what ran before. A checkpoint is renamed into place when it is complete.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..atomic import replacing_folder
from ..errors import TrainingError
from ..plain_data import as_record, read_json
from .optimisers import build_optimisers
from .plan import TrainPlan, current_fields
from .training_module import TrainingModule

_CHECKPOINTS = "checkpoints"
_RECORD = "plan.json"


class BatchSource(Protocol):
    """Where batches come from."""

    def draw(self, step: int, samples: range) -> Any:
        """A dataclass of tensors: the samples of these numbers in the whole batch of a step, over all processes."""
        ...


class Trainer:
    """Trains the parameters of a module that require gradients.

    Args:
        folder: for checkpoints and logs.
        on_sample: called with the step every ``sample_every`` steps on the main process, with the
            kept weights in place;
            the image [3, H, W] in 0..1 that it returns goes into the log.
        provenance: what module and data are, as text by name; a folder's checkpoint of another provenance is refused.
    """

    def __init__(
        self,
        module: TrainingModule,
        maker: BatchSource,
        plan: TrainPlan,
        folder: Path,
        on_sample: Callable[[int], Tensor | None] | None = None,
        provenance: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.maker = maker
        self.plan = plan
        self.folder = folder
        self.on_sample = on_sample
        self.resume_key = {**_resume_key(plan), **provenance}
        self.accelerator = _make_accelerator(plan, folder)
        self.training_module = module.train()
        self.metrics = {}
        built = build_optimisers(_named(module), plan)
        self.prepared, *optimisers = self.accelerator.prepare(module, *built)
        self.peaks = dict(zip(optimisers, built.values(), strict=True))
        self.progress = Progress(_average(module, plan) if plan.ema_decay else None)
        self.accelerator.register_for_checkpointing(self.progress)

    def run(self) -> bool:
        """Train to the end, or until SIGTERM or Ctrl-C; resumes from the newest checkpoint in the folder.

        Returns:
            Whether it is finished; if not, a checkpoint of the last step is there.

        Raises:
            TrainingError: the folder's checkpoint belongs to another plan, or the loss is no number any more.
        """
        self._resume()
        self.accelerator.init_trackers("logs")
        with _told_to_stop() as told:
            while self.progress.step < self.plan.steps:
                loss = self._step()
                self._report(loss)
                stop = self._agree(told())
                if (
                    stop
                    or self.progress.step % self.plan.save_every == 0
                    or self.progress.step == self.plan.steps
                ):
                    self._save()
                if stop:
                    break
        self.accelerator.end_training()
        return self.progress.step == self.plan.steps

    @contextmanager
    def kept_weights(self):
        """Inside this context the module has the weights that a training keeps: the averaged ones,
        where there are any.
        """
        average = self.progress.average
        if average is None:
            yield
            return
        parameters = _trained(self.training_module)
        average.store(parameters)
        average.copy_to(parameters)
        try:
            yield
        finally:
            average.restore(parameters)

    def _step(self) -> float:
        """One optimiser step; the mean loss of the whole batch."""
        plan = self.plan
        accelerator = self.accelerator
        losses = []
        for optimiser, peak in self.peaks.items():
            for group in optimiser.param_groups:
                group["lr"] = peak * plan.lr_factor(self.progress.step)
        for part in range(plan.gradient_accumulation_steps):
            first = (part * accelerator.num_processes + accelerator.process_index) * plan.batch
            drawn = self.maker.draw(self.progress.step, range(first, first + plan.batch))
            batch = {name: value.to(accelerator.device) for name, value in vars(drawn).items()}
            with accelerator.accumulate(self.prepared), self.training_module.step_context(batch):
                per_sample = self.prepared(batch)
                accelerator.backward(per_sample.mean())
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.prepared.parameters(), plan.max_grad_norm)
                for optimiser in self.peaks:
                    optimiser.step()
                    optimiser.zero_grad()
            losses.append(accelerator.gather(per_sample.detach()))
            for name, value in self.training_module.metrics().items():
                self.metrics.setdefault(name, []).append(value)
        self.progress.step += 1
        if self.progress.average is not None:
            self.progress.average.step(_trained(self.training_module))
        loss = float(torch.cat(losses).mean())
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {self.progress.step}: lower the rate, or resume "
                f"from an earlier checkpoint in {self.folder}"
            )
        return loss

    def _report(self, loss: float) -> None:
        step = self.progress.step
        plan = self.plan
        self.progress.losses.append(loss)
        if step % plan.log_every == 0 or step == plan.steps:
            metrics = {name: sum(values) / len(values) for name, values in self.metrics.items()}
            self.metrics = {}
            self.accelerator.log(
                {"loss": loss, "lr": plan.lr * plan.lr_factor(step - 1), **metrics}, step=step
            )
            figures = "".join(f"  {name} {value:.4f}" for name, value in metrics.items())
            self.accelerator.print(
                f"step {step}/{plan.steps}  loss {loss:.4f}{figures}", flush=True
            )
        if self.on_sample and plan.sample_every and step % plan.sample_every == 0:
            if self.accelerator.is_main_process:
                with self.kept_weights():
                    self.training_module.eval()
                    image = self.on_sample(step)
                self.training_module.train()
                if image is not None:
                    self.accelerator.get_tracker("tensorboard").writer.add_image(
                        "layers", image, step
                    )
            self.accelerator.wait_for_everyone()

    def _agree(self, told: bool) -> bool:
        """Whether any process was told to stop: they must all stop after the same step."""
        return bool(
            self.accelerator.reduce(
                torch.tensor(float(told), device=self.accelerator.device), "sum"
            )
            > 0
        )

    def _save(self) -> None:
        """A checkpoint of all processes, whole or not at all."""
        root = self.folder / _CHECKPOINTS
        if self.accelerator.is_main_process:
            with replacing_folder(
                root / f"step_{self.progress.step:08d}", TrainingError
            ) as partial:
                self._write_state(partial)
                (partial / _RECORD).write_text(json.dumps(self.resume_key))
            for old in _checkpoints(root)[: -self.plan.keep_last]:
                shutil.rmtree(old)
        else:
            self._write_state(None)
        self.accelerator.wait_for_everyone()

    def _write_state(self, partial: Path | None) -> None:
        """Every process writes into the folder of the main one, which alone knows it."""
        from accelerate.utils import broadcast_object_list

        (folder,) = broadcast_object_list([str(partial)])
        self.accelerator.save_state(folder)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        found = _checkpoints(self.folder / _CHECKPOINTS)
        if not found:
            return
        record = found[-1] / _RECORD
        written = read_json(record, TrainingError)
        written_key = current_fields(as_record(dict[str, Any], written, str(record), TrainingError))
        expected = self.resume_key
        if changed := [key for key in expected if written_key.get(key) != expected[key]]:
            raise TrainingError(
                f"{found[-1]} was made with other {', '.join(changed)}: name another output "
                "folder, or take the old values"
            )
        self.accelerator.load_state(str(found[-1]))


class Progress:
    """What a checkpoint holds beside weights and optimiser: the step, the losses so far, the averaged weights."""

    def __init__(self, average) -> None:
        self.step = 0
        self.losses = []
        self.average = average

    def state_dict(self) -> dict:
        return {
            "step": self.step,
            "losses": self.losses,
            "average": self.average.state_dict() if self.average else None,
        }

    def load_state_dict(self, state: dict) -> None:
        self.step = state["step"]
        self.losses = list(state["losses"])
        if self.average:
            self.average.load_state_dict(state["average"])


def find_processes():
    """Accelerate's view of the processes of this training, the same one for every caller."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Without a word about the CPU a first call would settle on one process, and every later one with it.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def _make_accelerator(plan: TrainPlan, folder: Path):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # The precision belongs to the process there: without this a second training of another precision would be refused.
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=plan.precision,
        gradient_accumulation_steps=plan.gradient_accumulation_steps,
        log_with="tensorboard",
        project_dir=str(folder),
    )


def _average(module: nn.Module, plan: TrainPlan):
    from diffusers.training_utils import EMAModel

    return EMAModel(_trained(module), decay=plan.ema_decay)


def _named(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for _, p in _named(module)]


def _resume_key(plan: TrainPlan) -> dict:
    """What may not change between a checkpoint and the training that resumes from it."""
    free = {"save_every", "sample_every", "log_every", "keep_last", "gradient_checkpointing"}
    return {
        key: value for key, value in json.loads(json.dumps(asdict(plan))).items() if key not in free
    }


def _checkpoints(root: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in root.glob("step_*") if p.is_dir() and not p.suffix)


@contextmanager
def _told_to_stop():
    """Turns SIGTERM and Ctrl-C into an answer.

    Handlers can only be set in the main thread, elsewhere it is always no.
    """
    told: list[int] = []
    try:
        before = {
            kind: signal.signal(kind, lambda number, frame: told.append(number))
            for kind in (signal.SIGTERM, signal.SIGINT)
        }
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: bool(told)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
