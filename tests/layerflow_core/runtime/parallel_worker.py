"""One of several processes: ``parallel_worker.py CHECKPOINT RESULT CONTEXT``.

The first writes the layers of a short run.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from layerflow_core.inference import prepare_for_inference
from layerflow_core.model.loading import load_model
from layerflow_core.pipeline import Host, Run, make_layers
from layerflow_core.runtime.parallel import join_process_group, leave_process_group
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene


def main(checkpoint: Path, result: Path, context: int) -> None:
    torch.set_num_threads(1)
    group = join_process_group(torch.device("cpu"), context)
    model = prepare_for_inference(load_model(checkpoint))
    run = Run(draw_scene(3, held_out=True).prompts, {}, SamplerSettings(3, "constant", 3.0), 1)
    layers = make_layers(model, run, Host(group=group))
    if group.is_first:
        save_file({name: clip.contiguous() for name, clip in layers.clips().items()}, result)
    leave_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
