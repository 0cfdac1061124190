"""Peak memory of converting an official checkpoint of true size: ``python -m benchmarks.conversion
[FOLDER]``, 8 GB of disk.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

_MEASURED = """
import resource, sys, time
from pathlib import Path
import torch, numpy, diffusers.models, peft, transformers
from layerflow_core.official.conversion import Conversion, convert_official

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

before, started = peak(), time.perf_counter()
convert_official(Path(sys.argv[1]), Path(sys.argv[2]), Conversion(merge="merge" in sys.argv))
print(f"{peak() - before:.2f} GiB above the interpreter's {before:.2f}, {time.perf_counter() - started:.0f} s")
"""


def main() -> None:
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        source = Path(folder, "official.pt")
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"from benchmarks.synthetic import *; write_official(Path({str(source)!r}))",
            ],
            check=True,
        )
        print(f"{source.stat().st_size / 2**30:.2f} GiB, bf16, with LoRA")
        for options in ((), ("merge",)):
            command = [
                sys.executable,
                "-c",
                _MEASURED,
                str(source),
                str(Path(folder, "ours.safetensors")),
                *options,
            ]
            print(
                "LoRA",
                "merged:" if options else "apart: ",
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(),
            )


if __name__ == "__main__":
    main()
