"""Holds exported modules to the figures of `report`, with PyTorch as the judge.

    python tests/torch/compare.py target/debug/plimsoll specs/*.model.toml

Each file is exported, imported and run on the meta device: no weights are made and nothing is
downloaded. Compared are the number of parameters and how many of them are trained, the bytes of
buffers, the outputs' shapes and element types, and the forward FLOPs of FlopCounterMode. Exits with
1 where anything differs.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

def command(*arguments):
    """What the program prints."""
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
    return done.stdout


def load(path):
    """The module of a Python file."""
    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(module):
    """What PyTorch says of an exported module."""
    with torch.device("meta"):
        model = module.Model()
        inputs = module.example_inputs()
    # The fused kernels have the same FLOPs, but not every one of them runs without a device.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outputs = model(**inputs)
    parameters = list(model.parameters())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "buffer bytes": sum(b.numel() * b.element_size() for b in model.buffers()),
        "outputs": [(list(o.shape), str(o.dtype).removeprefix("torch.")) for o in outputs],
        "flops": counter.get_total_flops(),
    }


def reported(report):
    """The same as the program reports it."""
    return {
        "parameters": report["parameters"]["count"],
        "trainable": report["parameters"]["trainable"],
        "buffer bytes": report["buffers"]["bytes"],
        "outputs": [(o["shape"], o["dtype"]) for o in report["model"]["outputs"]],
        "flops": report["flops"]["forward"],
    }


def compare(program, path, folder):
    """A line of the table, and whether everything agrees."""
    stem = pathlib.Path(path).name.split(".")[0]
    target = folder / f"{stem}.py"
    try:
        target.write_text(command(program, "export", path, "--to", "torch"))
        ours = reported(json.loads(command(program, "report", path, "--output", "json")))
        theirs = measured(load(target))
    except Exception as error:
        return f"{stem:24} {type(error).__name__}: {str(error)[:200]}", False
    wrong = [
        f"{key}: {ours[key]} reported, {theirs[key]} measured"
        for key in ours
        if ours[key] != theirs[key]
    ]
    figures = f"{theirs['parameters']:>16,} {theirs['trainable']:>16,} {theirs['flops']:>24,}"
    return f"{stem:24} {figures}  {'; '.join(wrong) or 'same'}", not wrong


def main():
    program, *paths = sys.argv[1:]
    print(f"{'model':24} {'parameters':>16} {'trainable':>16} {'forward FLOPs':>24}")
    agree = True
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            line, same = compare(program, path, pathlib.Path(folder))
            print(line, flush=True)
            agree &= same
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()
