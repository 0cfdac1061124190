"""Peak memory of converting and of loading a released file of true size: ``python -m benchmarks.released [FOLDER]``.

The file has the structure and size that the release's page shows: transformer with both LoRA, T5-XXL's encoder and
VAE, float32, 27.3 GB, of zeros; 45 GB of disk. Peaks are what the process holds, mapped pages of files included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.small_parts import beside_network
from benchmarks.synthetic import network_specs
from layerflow_core.check.true_size import TRUE_VAE, empty_t5, official_config
from layerflow_core.model.vae import build_vae
from layerflow_core.official.keys import to_official

_MEASURED = """
import resource, sys, time
from pathlib import Path
import torch, numpy, diffusers.models, peft, transformers
from layerflow_core.official.conversion import Conversion, convert_official, read_any

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 2**20

before, started = peak(), time.perf_counter()
if sys.argv[2] == "open":
    checkpoint = read_any(Path(sys.argv[1]), torch.bfloat16)
    network = sum(v.nbytes for k, v in checkpoint.tensors.items() if k.startswith(("network.", "lora.")))
    print(f"{held() - before:.2f} GiB in memory of its own, {network / 2**30:.2f} of them the network in bf16")
else:
    convert_official(Path(sys.argv[1]), Path(sys.argv[2]), Conversion("gen_rgba"))
    print(f"{peak() - before:.2f} GiB above the interpreter's {before:.2f}, {time.perf_counter() - started:.0f} s")
"""


def released_specs() -> dict[str, Tensor]:
    """Tensors on the meta device by the released file's keys."""
    config = official_config()
    with torch.device("meta"):
        vae = build_vae(TRUE_VAE)
        network = to_official(network_specs(config), config)
    return network | beside_network(empty_t5(torch.float32).state_dict(), vae.state_dict())


def write_zeros(path: Path) -> None:
    """The file, from a mapped one without data, so that it never lies in memory."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as hole:
        made: dict[int, Tensor] = {}
        tensors = {}
        for key, spec in released_specs().items():
            storage = spec.untyped_storage()._cdata
            if storage not in made:
                size = spec.numel()
                hole.truncate(max(size * 4, hole.seek(0, 2)))
                made[storage] = torch.from_file(hole.name, size=size, dtype=torch.float32)
            tensors[key] = made[storage].view(spec.shape)
        torch.save({"module": tensors, "iteration": 1000}, path)


def main() -> None:
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        source = Path(folder, "gen_rgba.pt")
        write = f"from benchmarks.released import *; write_zeros(Path({str(source)!r}))"
        subprocess.run([sys.executable, "-c", write], check=True)
        print(f"{source.stat().st_size / 1e9:.2f} GB, float32, three parts", flush=True)
        target = Path(folder, "ours.safetensors")
        for name, last in (("converting", str(target)), ("opening", "open")):
            command = [sys.executable, "-c", _MEASURED, str(source), last]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            print(f"{name}: {done.stdout.strip()}", flush=True)
        print(f"{target.stat().st_size / 1e9:.2f} GB converted, bf16")


if __name__ == "__main__":
    main()
