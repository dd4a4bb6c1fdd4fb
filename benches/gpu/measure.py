#!/usr/bin/env python3
"""Trains exported models for a few steps and writes down what they really took.

    python benches/gpu/measure.py --plimsoll target/release/plimsoll tests/data/pt2/*.pt2

Needs PyTorch 2.6 or later and nothing else; downloads nothing. Each model runs in a process of its
own, so that one model's allocator, context and faults leave the next one alone. The parameters are
random and the inputs zeros: neither changes how much memory a step takes.

On CUDA a row holds `max_memory_allocated`, `max_memory_reserved`, the requested bytes, and what the
device lost besides, which is the context with its libraries. On a CPU there is no caching allocator;
the row then holds the peak that PyTorch's `MemTracker` counts, which is enough to try the script and
says nothing of a device.

With `--libraries` it measures what no formula gives: cuDNN's reserve of recurrent nets, the
workspaces of cuBLAS, and the context alone.

The output is JSON, a line for each model, and a Markdown table of these figures beside Plimsoll's.
"""

import argparse
import json
import os
import subprocess
import sys
import time

PRECISIONS = {"float32": None, "amp-bf16": "bfloat16", "amp-f16": "float16"}


# --- The process that runs one model -----------------------------------------------------------


def load(path, device):
    """The program on the device, with parameters that are numbers."""
    import torch
    from torch.export.passes import move_to_device_pass

    program = torch.export.load(path)
    # A program from the `meta` device comes without weights.
    generator = torch.Generator().manual_seed(0)

    def real(tensor):
        if tensor.device.type != "meta":
            return tensor
        made = torch.zeros(tensor.shape, dtype=tensor.dtype)
        if made.is_floating_point():
            made.normal_(0.0, 0.02, generator=generator)
        if isinstance(tensor, torch.nn.Parameter):
            return torch.nn.Parameter(made, requires_grad=tensor.requires_grad)
        return made

    # A tied weight stands here under each of its names, and all calls read it by one of them. The
    # others, which nothing reads, must not take memory of their own.
    nodes = {node.name: node for node in program.graph.nodes}
    owned = program.graph_signature.inputs_to_parameters
    read = {path for name, path in owned.items() if nodes[name].users}
    state = program.state_dict
    kinds = {(path.rpartition(".")[2], state[path].shape) for path in read}
    for path, tensor in state.items():
        tied = path in owned.values() and path not in read
        if tied and (path.rpartition(".")[2], tensor.shape) in kinds:
            nothing = torch.zeros(1, dtype=tensor.dtype, device=device).expand(tensor.shape)
            state[path] = torch.nn.Parameter(nothing, requires_grad=False)
        else:
            state[path] = real(tensor)
    for name, constant in list(program.constants.items()):
        if isinstance(constant, torch.Tensor):
            program.constants[name] = real(constant)
    program._example_inputs = None  # They lie on the device of the export, and are not needed.
    program = move_to_device_pass(program, str(device))
    inputs = []
    for name in program.graph_signature.user_inputs:
        value = nodes[name].meta["val"]
        sizes = [int(size) for size in value.shape]
        inputs.append(torch.zeros(sizes, dtype=value.dtype, device=device))
    return program.module(), inputs


def optimizer_of(parameters, arguments):
    import torch

    options = {"lr": 1e-4}
    if arguments.optimizer == "sgd-momentum":
        options["momentum"] = 0.9
    if arguments.fused:
        options["fused"] = True
    else:
        options["foreach"] = arguments.foreach
    kind = torch.optim.AdamW if arguments.optimizer == "adamw" else torch.optim.SGD
    return kind(parameters, **options)


def steps(module, inputs, arguments, device):
    """Runs the steps; gives the seconds of the last one and the last loss."""
    import contextlib

    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = optimizer_of(parameters, arguments)
    lower = PRECISIONS[arguments.precision]
    autocast = (
        torch.autocast(device.type, dtype=getattr(torch, lower))
        if lower
        else contextlib.nullcontext()
    )
    kernels = {
        "math": [SDPBackend.MATH],
        "fused": [
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.EFFICIENT_ATTENTION,
            SDPBackend.MATH,
        ],
    }[arguments.attention]

    def step():
        with sdpa_kernel(kernels), autocast:
            outputs = module(*inputs)
        loss = outputs
        while isinstance(loss, (tuple, list)):
            loss = loss[0]
        if isinstance(loss, dict):
            loss = loss["loss"]
        loss.float().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    seconds, loss = 0.0, None
    for number in range(arguments.steps):
        if device.type == "cuda":
            torch.cuda.synchronize()
            # From the second step on the optimizer has its state.
            if number == 1:
                torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        loss = step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return seconds, float(loss.float().sum()), step, module, optimizer


def used_on_device():
    """Bytes that the device says are taken, by whomever."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free


def measure(path, arguments):
    """What a model takes: the row of the table, as a dictionary."""
    import torch

    device = torch.device(arguments.device)
    row = {"model": name_of(path), "torch": torch.__version__, "device": str(device)}
    module, inputs = load(path, device)
    seconds, loss, step, module, optimizer = steps(module, inputs, arguments, device)
    row.update(seconds=seconds, loss=loss)
    if device.type == "cuda":
        stats = torch.cuda.memory_stats()
        row.update(
            device=torch.cuda.get_device_name(),
            allocated=torch.cuda.max_memory_allocated(),
            reserved=torch.cuda.max_memory_reserved(),
            requested=stats.get("requested_bytes.all.peak"),
            retries=stats.get("num_alloc_retries"),
            used=used_on_device(),
            outside=used_on_device() - torch.cuda.memory_reserved(),
        )
    else:
        from torch.distributed._tools.mem_tracker import MemTracker

        tracker = MemTracker()
        tracker.track_external(module, optimizer, *inputs)
        with tracker:
            step()
        peak = tracker.get_tracker_snapshot("peak")
        total = sum(snapshot["Total"] for snapshot in peak.values())
        row.update(allocated=total, by="MemTracker")
    return row


def libraries(arguments):
    """What libraries take that no formula gives."""
    import torch

    rows = []
    if arguments.device != "cuda":
        return [{"what": "libraries", "skipped": "there is no CUDA device"}]
    before = used_on_device()
    torch.zeros(1, device="cuda")
    rows.append(
        {
            "what": "context",
            "device": torch.cuda.get_device_name(),
            "bytes": used_on_device() - torch.cuda.memory_reserved(),
            "before_first_allocation": before,
        }
    )
    a = torch.randn(1024, 1024, device="cuda", requires_grad=True)
    held = torch.cuda.memory_allocated()
    product = a @ a
    forward = torch.cuda.memory_allocated() - held - product.numel() * 4
    product.sum().backward()
    del product
    torch.cuda.synchronize()
    both = torch.cuda.memory_allocated() - held - a.grad.numel() * 4
    rows.append({"what": "cublas", "forward": forward, "forward_and_backward": both})
    for mode in ("LSTM", "GRU", "RNN"):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for sizes in RECURRENT:
                rows.append(reserve(mode, dtype, **sizes))
    return rows


RECURRENT = [
    dict(batch=64, steps=100, inputs=128, hidden=512, layers=2, directions=1, dropout=0.0),
    dict(batch=64, steps=200, inputs=128, hidden=256, layers=3, directions=1, dropout=0.0),
    dict(batch=32, steps=50, inputs=64, hidden=96, layers=1, directions=1, dropout=0.0),
    dict(batch=32, steps=50, inputs=64, hidden=96, layers=1, directions=2, dropout=0.0),
    dict(batch=32, steps=50, inputs=64, hidden=96, layers=2, directions=2, dropout=0.0),
    dict(batch=32, steps=50, inputs=64, hidden=96, layers=2, directions=1, dropout=0.5),
    dict(batch=1, steps=1000, inputs=80, hidden=1024, layers=4, directions=1, dropout=0.0),
]


def reserve(mode, dtype, batch, steps, inputs, hidden, layers, directions, dropout):
    """The reserve space that cuDNN asks for, in bytes."""
    import torch

    net = getattr(torch.nn, mode)(
        inputs, hidden, layers, bidirectional=directions == 2, dropout=dropout
    ).to("cuda", dtype)
    sizes = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append((tensor.dtype, tensor.untyped_storage().nbytes())) or tensor,
        lambda tensor: tensor,
    )
    x = torch.randn(steps, batch, inputs, device="cuda", dtype=dtype)
    with hooks:
        net(x)
    found = [size for kind, size in sizes if kind is torch.uint8]
    return {
        "what": "reserve",
        "mode": mode,
        "dtype": str(dtype).removeprefix("torch."),
        "batch": batch,
        "steps": steps,
        "inputs": inputs,
        "hidden": hidden,
        "layers": layers,
        "directions": directions,
        "dropout": dropout,
        "bytes": max(found, default=0),
        "elements_per_step_and_unit": max(found, default=0)
        / (dtype.itemsize * batch * steps * hidden * layers * directions),
    }


# --- The process that compares -----------------------------------------------------------------


def name_of(path):
    """`resnet18.pt2` and `resnet18/model.pt2` are both `resnet18`."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return os.path.basename(os.path.dirname(os.path.abspath(path))) if stem == "model" else stem


def in_a_process(arguments, what):
    """The JSON that this script prints when it is called again for one thing."""
    command = [sys.executable, os.path.abspath(__file__), "--one", what]
    for flag in ("device", "precision", "attention", "optimizer"):
        command += [f"--{flag}", getattr(arguments, flag)]
    command += ["--steps", str(arguments.steps)]
    command += ["--foreach"] if arguments.foreach else []
    command += ["--fused"] if arguments.fused else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=arguments.timeout)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {arguments.timeout} s"}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failed": last[:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(path, arguments):
    """Plimsoll's figures for the same run."""
    name = {"adamw": "adamw", "sgd-momentum": "sgd"}[arguments.optimizer]
    sets = [
        f"train.precision.preset={arguments.precision}",
        f"model.attention={arguments.attention}",
        f"train.optimizer.name={name}",
        f"train.optimizer.foreach={str(arguments.foreach).lower()}",
        f"train.optimizer.fused={str(arguments.fused).lower()}",
    ]
    if arguments.optimizer == "sgd-momentum":
        sets.append("train.optimizer.momentum=0.9")
    command = [arguments.plimsoll, "report", path, "--output", "json"]
    for one in sets:
        command += ["--set", one]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return {"failed": done.stderr.strip()[:300]}
    memory = json.loads(done.stdout)["memory"]
    return {
        "peak": memory["peak"]["bytes"],
        "reserved": memory["reserved"]["bytes"],
        "total": memory["total"],
    }


def error(our, their):
    """The relative error as people read it."""
    return f"{100 * (our / their - 1):+.2f} %" if our and their else ""


def mib(value):
    """A number of bytes as people read it."""
    return f"{value / 2**20:,.1f}" if value else ""


def table(rows):
    """A Markdown table, a line for each model."""
    lines = [
        "| model | allocated MiB | ours | error | reserved MiB | ours | error | outside MiB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        failed = row.get("failed") or row["ours"].get("failed")
        if failed:
            lines.append(f"| {row['model']} | {failed} | | | | | | |")
            continue
        our = row["ours"]
        cells = [
            row["model"],
            mib(row["allocated"]),
            mib(our["peak"]),
            error(our["peak"], row["allocated"]),
            mib(row.get("reserved")),
            mib(our["reserved"]),
            error(our["reserved"], row.get("reserved")),
            mib(row.get("outside")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="files of torch.export.save")
    parser.add_argument("--plimsoll", default="plimsoll", help="the program to compare with")
    parser.add_argument("--device", default=None, choices=["cuda", "cpu"])
    parser.add_argument("--precision", default="float32", choices=list(PRECISIONS))
    parser.add_argument("--attention", default="fused", choices=["math", "fused"])
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "sgd-momentum"])
    parser.add_argument("--foreach", action="store_true", help="the optimizer's foreach kernels")
    parser.add_argument("--fused", action="store_true", help="the optimizer's fused kernel")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one model")
    parser.add_argument("--libraries", action="store_true", help="measure libraries, too")
    parser.add_argument("--json", help="where to write a line of JSON for each row")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device is None:
        import torch

        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.steps < 2:
        parser.error("the first step makes the optimizer's state: --steps must be at least 2")
    if arguments.one == "libraries":
        print(json.dumps(libraries(arguments)))
        return
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments)))
        return
    rows = []
    for path in arguments.models:
        row = {"model": name_of(path), **in_a_process(arguments, path)}
        row["ours"] = ours(path, arguments)
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.libraries:
        found = in_a_process(arguments, "libraries")
        found = found if isinstance(found, list) else [found]
        for row in found:
            print(json.dumps(row))
        rows += found
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
