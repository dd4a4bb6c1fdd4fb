"""Measures the peak of a rank's step under DistributedDataParallel and FSDP2, with PyTorch's trackers.

    python tests/torch/parallel.py > tests/data/parallel/peaks.toml

Each case runs in a process of its own, on a CPU, in a process group whose other ranks do nothing. The
model is the one of tests/data/parallel/gpt.model.toml. Takes some minutes.
"""

import itertools
import json
import subprocess
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

BLOCKS = 4
HEADER = """\
# The most memory that lives at once in a step of one rank, as PyTorch's own trackers see it:
# FSDPMemTracker (torch.distributed._tools.fsdp2_mem_tracker) under `fully_shard` of each block and of
# the model, MemTracker under DistributedDataParallel; the second step (of DDP the third, whose buckets
# are rebuilt) of forward, backward, optimizer and zero_grad() on a group whose other ranks do nothing.
# torch {version}. The model is the one of gpt.model.toml; `tests/torch/parallel.py` measures it anew.
#
# mixed: parameters are float32 and gathered in bfloat16 (MixedPrecisionPolicy), gradients reduced in
# the type that is named. view, cap: gradient_as_bucket_view and bucket_cap_mb of DDP. The optimizer
# is AdamW(foreach=False), or SGD(momentum=0.9, foreach=False). checkpoint: the activations of each block
# are recomputed (checkpoint_wrapper). replicas: of the shards (HSDP).
"""


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.proj, self.ln_2 = nn.Linear(width, width), nn.LayerNorm(width)
        self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, seq, width = x.shape
        split = self.qkv(self.ln_1(x)).split(width, 2)
        shape = (batch, seq, self.heads, width // self.heads)
        q, k, v = (part.reshape(shape).transpose(1, 2) for part in split)
        weights = torch.softmax(q @ k.transpose(2, 3) * 0.125, -1)
        h = x + self.proj((weights @ v).transpose(1, 2).reshape(x.shape))
        return h + self.out(F.gelu(self.fc(self.ln_2(h))))


class GPT(nn.Module):
    def __init__(self, vocab, width, heads, seq):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(seq, width)
        self.h = nn.ModuleList(Block(width, heads) for _ in range(BLOCKS))
        self.ln_f, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        logits = self.head(self.ln_f(x)).float()
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def parts(case):
    """The model of a case and its inputs."""
    shape = (case["batch"], case["seq"])
    inputs = tuple(torch.randint(0, case["vocab"], shape) for _ in range(2))
    return GPT(case["vocab"], case["width"], case["heads"], case["seq"]), inputs


def optimizer(case, parameters):
    if case.get("optimizer") == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, foreach=False)
    return torch.optim.AdamW(parameters, foreach=False)


def fsdp(case):
    model, inputs = parts(case)
    shape, names = (case["ranks"],), ("shard",)
    if "replicas" in case:
        shape, names = (case["replicas"], *shape), ("replicate", *names)
    options = {"mesh": init_device_mesh("cpu", shape, mesh_dim_names=names)}
    if "reshard" in case:
        options["reshard_after_forward"] = case["reshard"]
    if "mixed" in case:
        reduced = getattr(torch, case["mixed"])
        options["mp_policy"] = MixedPrecisionPolicy(torch.bfloat16, reduced)
    if case.get("checkpoint"):
        for at, block in enumerate(model.h):
            model.h[at] = checkpoint_wrapper(block)
    for block in model.h:
        fully_shard(block, **options)
    fully_shard(model, **options)
    updates = optimizer(case, model.parameters())
    tracker = FSDPMemTracker(model, updates)
    tracker.track_inputs(inputs)
    for step in range(2):
        if step:
            tracker.reset_mod_stats()
        with tracker:
            for _ in range(case.get("accumulation", 1)):
                loss = model(*inputs)
                loss.backward()
                if "accumulation" in case:
                    tracker.reset_mod_stats()
            updates.step()
            updates.zero_grad()
            del loss
    return tracker


def ddp(case):
    model, inputs = parts(case)
    tracker = MemTracker()
    with tracker:
        replica = nn.parallel.DistributedDataParallel(
            model,
            gradient_as_bucket_view=case["view"],
            bucket_cap_mb=case.get("cap", 25),
        )

    def reduced(_, bucket):
        # The work of a group that does nothing has no result; a bucket is reduced in place.
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    replica.register_comm_hook(None, reduced)
    updates = optimizer(case, model.parameters())
    tracker.track_external(model, updates, *inputs)
    for _ in range(3):
        tracker.reset_mod_stats()
        with tracker:
            loss = replica(*inputs)
            loss.backward()
            updates.step()
            updates.zero_grad()
            del loss
    return tracker


def cases():
    """All cases: models whose parameters, and whose activations, are most of it."""
    models = [
        dict(vocab=512, width=128, heads=2, seq=32, batch=2),
        dict(vocab=1000, width=256, heads=4, seq=16, batch=1),
        dict(vocab=256, width=64, heads=1, seq=256, batch=4),
    ]
    plans = [dict(kind="fsdp", ranks=ranks) for ranks in (2, 3, 4, 8)]
    plans += [dict(kind="fsdp", ranks=4, reshard=reshard) for reshard in (True, False)]
    plans += [dict(kind="fsdp", ranks=4, mixed=mixed) for mixed in ("float32", "bfloat16")]
    plans += [
        dict(kind="fsdp", ranks=8, mixed="float32", reshard=False),
        dict(kind="fsdp", ranks=4, optimizer="sgd"),
        dict(kind="fsdp", ranks=4, accumulation=2),
        dict(kind="fsdp", ranks=4, checkpoint=True),
        dict(kind="fsdp", ranks=2, replicas=2),
        dict(kind="fsdp", ranks=2, replicas=2, mixed="bfloat16"),
        dict(kind="ddp", ranks=4, view=False),
        dict(kind="ddp", ranks=4, view=True),
        dict(kind="ddp", ranks=4, view=False, optimizer="sgd"),
        dict(kind="ddp", ranks=4, view=True, optimizer="sgd"),
        dict(kind="ddp", ranks=2, view=True, cap=1),
    ]
    return [{**model, **plan} for model, plan in itertools.product(models, plans)]


def measure(case):
    """The most bytes of a case."""
    size = case["ranks"] * case.get("replicas", 1)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
    tracker = {"fsdp": fsdp, "ddp": ddp}[case["kind"]](case)
    peaks = tracker.get_tracker_snapshot("peak").items()
    (peak,) = [kinds["Total"] for device, kinds in peaks if device.type == "cpu"]
    return peak


def main():
    if len(sys.argv) > 1:
        print(measure(json.loads(sys.argv[1])))
        return
    print(HEADER.format(version=torch.__version__.split("+")[0]))
    for case in cases():
        command = [sys.executable, __file__, json.dumps(case)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{case}: {done.stderr.strip()}")
        print("[[case]]")
        for key, value in case.items():
            print(f"{key} = {json.dumps(value)}")
        print(f"peak = {int(done.stdout.split()[-1]):_}\n", flush=True)


if __name__ == "__main__":
    main()
