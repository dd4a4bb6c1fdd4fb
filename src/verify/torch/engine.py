"""Measures an exported module with PyTorch: one JSON request on stdin, a JSON line per answer.

A request is {"version", "source", "attention", "recomputed", "autocast", "cast", "training",
"optimizer", "step", "team", "experiment"}. Answers are
{"version", "torch"} first, then {"claim", ...} with what was found or {"claim", "unchecked": why},
and {"done": true} last: without it the run was cut short. No weights are made: shapes run on the
meta device, and what autograd keeps is read from fake tensors of a CUDA device. A "step" is run
with values, and of a "team" several processes share a batch; what they answer is handed on.
"""

import ast
import contextlib
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import weakref

VERSION = 1
# The first one with a tracker of memory, and with attention of grouped heads.
OLDEST = (2, 5)
# Whatever a module prints must not be taken for an answer.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**fields):
    """Writes one answer."""
    print(json.dumps(fields), file=ANSWERS, flush=True)


def why(error):
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def outputs_of(result):
    """The tensors that a model hands on."""
    return result if isinstance(result, tuple) else (result,)


def begin(outputs):
    """The number that the backward pass begins with, or None."""
    differentiable = [one for one in outputs if one.requires_grad]
    single = [one for one in differentiable if one.numel() == 1]
    begins = single or differentiable
    return sum(one.sum() for one in begins) if len(begins) > 1 else (begins or [None])[0]


def built(space, request, device):
    """The model and its inputs on a device."""
    import torch

    with torch.device(device):
        model = space["Model"]()
        inputs = space["example_inputs"]()
    model.train(request["training"])
    if request["cast"]:
        dtype = getattr(torch, request["cast"])
        model.to(dtype)
        inputs = {
            name: one.to(dtype) if one.is_floating_point() else one for name, one in inputs.items()
        }
    return model, inputs


def fused(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """The attention kernel that PyTorch picks on a GPU (`sdp_utils.cpp`), without one.

    Flash for halves without a mask, else memory-efficient where rows are aligned, else math.
    """
    import torch
    import torch.nn.functional as F

    if torch.is_autocast_enabled("cuda"):
        lower = torch.get_autocast_dtype("cuda")
        q, k, v, attn_mask = (
            one.to(lower) if one is not None and one.dtype == torch.float32 else one
            for one in (q, k, v, attn_mask)
        )
    aten = torch.ops.aten
    with torch.autocast("cuda", enabled=False):
        mask, width = attn_mask, q.shape[-1]
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, -float("inf"))
        grouped = enable_gqa and q.dim() == 4 and q.shape[1] != k.shape[1]
        same = q.dim() == k.dim() == v.dim() == 4 and q.shape[0] == k.shape[0]
        same = same and k.shape[:2] == v.shape[:2] and (grouped or q.shape[1] == k.shape[1])
        half = q.dtype in (torch.bfloat16, torch.float16)
        if same and half and mask is None and width == v.shape[-1] and width <= 256:
            scale = width**-0.5 if scale is None else scale
            pad = -width % 8
            q, k, v = (F.pad(one, (0, pad)) if pad else one for one in (q, k, v))
            flash = aten._scaled_dot_product_flash_attention
            result = flash(q, k, v, dropout_p, is_causal, False, scale=scale)[0]
            return result[..., :width] if pad else result
        aligned = 8 if half else 4
        if same and width % aligned == 0 and v.shape[-1] % aligned == 0:
            if grouped:
                k, v = (one.repeat_interleave(q.shape[1] // one.shape[1], 1) for one in (k, v))
            if mask is not None:
                keys = mask.shape[-1]
                if keys % 8:
                    mask = F.pad(mask, (0, -keys % 8))[..., :keys]
                mask = mask.expand(*q.shape[:3], k.shape[2])
            efficient = aten._scaled_dot_product_efficient_attention
            return efficient(q, k, v, mask, True, dropout_p, is_causal, scale=scale)[0]
        math = aten._scaled_dot_product_attention_math
        return math(
            q, k, v, mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
        )[0]


@contextlib.contextmanager
def as_on_gpu(request):
    """Attention by the kernel that is asked for, and dropout as a GPU does it, without one."""
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def dropout(x, p=0.5, training=True, inplace=False):
        if not training or p == 0:
            return x
        if inplace or p == 1:
            return plain(x, p, training, inplace)
        return torch.native_dropout(x, p, True)[0]

    attention, plain = F.scaled_dot_product_attention, F.dropout
    F.dropout = dropout
    if request["attention"] == "fused":
        F.scaled_dot_product_attention = fused
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        F.scaled_dot_product_attention, F.dropout = attention, plain


def counts(space, request):
    """Parameters, buffers, outputs and FLOPs, on the meta device."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model, inputs = built(space, {**request, "cast": None}, "meta")
    parameters = list(model.parameters())
    answer(
        claim="parameters",
        parameters=sum(one.numel() for one in parameters),
        trainable=sum(one.numel() for one in parameters if one.requires_grad),
        buffers=sum(one.numel() * one.element_size() for one in model.buffers()),
    )
    # The fused kernels have the same FLOPs forward, but not every one runs without a device.
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            outputs = outputs_of(model(**inputs))
        shown = [[list(one.shape), str(one.dtype).removeprefix("torch.")] for one in outputs]
        answer(claim="outputs", outputs=shown)
        answer(claim="forward", flops=counter.get_total_flops())
    if not request["training"]:
        return
    del outputs
    fused = request["attention"] == "fused" and request["has_attention"]
    # The backward pass of the fused kernels computes the scores once more. What is recomputed runs by
    # the same ones.
    with as_on_gpu(request) if fused else sdpa_kernel(SDPBackend.MATH), whole_recomputation():
        start = begin(outputs_of(model(**inputs)))
        if start is None:
            return answer(claim="backward", unchecked="no output has a gradient")
        with FlopCounterMode(display=False) as counter:
            start.backward(torch.ones_like(start))
    answer(claim="backward", flops=counter.get_total_flops())


def whole_recomputation():
    """Lets `torch.utils.checkpoint` repeat a layer to its end, not to the last tensor it needs."""
    from torch.utils.checkpoint import set_checkpoint_early_stop

    return set_checkpoint_early_stop(False)


def storages_made():
    """A mode that remembers the storages that are made while it is on, as long as they live."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Made(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = {}

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            for one in tree_leaves(result):
                if isinstance(one, torch.Tensor) and one.device.type != "cpu":
                    storage = one.untyped_storage()
                    self.seen[storage._cdata] = weakref.ref(storage)
            return result

        def living(self):
            gc.collect()
            return [one() for one in self.seen.values() if one() is not None]

    return Made()


def kept(space, request):
    """Bytes of the storages that autograd keeps, each once, parameters and buffers left out."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    # The fused recurrent kernels of a GPU keep a reserve that no fake tensor shows; without a device
    # their steps are taken apart.
    apart = request["recurrent"]
    if apart and request["autocast"]:
        reason = "what recurrent layers keep under autocast is known to a GPU's own kernels only"
        return answer(claim="kept", unchecked=reason)
    found = {}
    with contextlib.nullcontext() if apart else FakeTensorMode():
        model, inputs = built(space, request, "meta" if apart else "cuda")
        own = {
            one.untyped_storage()._cdata for one in [*model.parameters(), *model.buffers()]
        }
        held = []

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                # Held, so that its address is not given to another.
                held.append(storage)
                found[storage._cdata] = storage.nbytes()
            return tensor

        cast = contextlib.nullcontext()
        if request["autocast"]:
            # The tensors are fake: autocast need not find a device, and turns itself off without.
            torch.cuda.amp.common.amp_definitely_not_available = lambda: False
            torch.cuda.is_bf16_supported = lambda *_, **__: True
            cast = torch.autocast("cuda", getattr(torch, request["autocast"]))
        if request["recomputed"]:
            # No hook sees what a layer keeps that is recomputed: its inputs. All that lives when the
            # forward pass is over is kept.
            made = storages_made()
            with as_on_gpu(request), cast, made:
                inputs = {name: one.clone() for name, one in inputs.items()}
                nodes = [one.grad_fn for one in outputs_of(model(**inputs))]
                del inputs
            found = {one._cdata: one.nbytes() for one in made.living() if one._cdata not in own}
            del nodes
        else:
            hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
            with as_on_gpu(request), cast, hooks:
                outputs = model(**inputs)
            del outputs
        answer(claim="kept", bytes=sum(found.values()), apart=apart)


def pruned(body, later, own):
    """Statements with each name dropped behind the last that reads it; `later` are read behind."""
    result = []
    for statement in reversed(body):
        names = {one.id for one in ast.walk(statement) if isinstance(one, ast.Name)}
        dead = [] if isinstance(statement, ast.Return) else sorted((names & own) - later)
        if isinstance(statement, ast.With):
            statement.body = pruned(statement.body, later, own)
        elif dead:
            targets = [ast.Name(id=name, ctx=ast.Del()) for name in dead]
            result.append(ast.Delete(targets=targets))
        result.append(statement)
        later = later | names
    return result[::-1]


def lean(source):
    """What a module defines, with tensors that nothing needs any more dropped.

    A written module has a name for every step, which holds a tensor until `forward` returns. People
    assign to the same name again; what lives at the peak is meant without such names.
    """
    tree = ast.parse(source)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == "forward":
            stored = (one for one in ast.walk(function) if isinstance(one, ast.Name))
            own = {one.id for one in stored if isinstance(one.ctx, ast.Store)}
            own |= {one.arg for one in function.args.args if one.arg != "self"}
            function.body = pruned(function.body, set(), own)
    space = {"__name__": "model"}
    exec(compile(ast.fix_missing_locations(tree), "model.py", "exec"), space)
    return space


def optimizer_of(request, parameters):
    """The optimizer that is asked for, or None."""
    import torch

    asked = request["optimizer"]
    if asked is None:
        return None
    return getattr(torch.optim, asked["name"])(parameters, **asked["arguments"])


def one_step(model, inputs, optimizer, training):
    """Forward, backward, update, and gradients gone; without training a forward pass."""
    import torch

    if not training:
        with torch.no_grad():
            return model(**inputs)
    outputs = outputs_of(model(**inputs))
    start = begin(outputs)
    if start is not None:
        start.backward(torch.ones_like(start))
    if optimizer:
        optimizer.step()
    model.zero_grad()


class Unhooked:
    """What hooks a frozen parameter, which has no gradient to be hooked."""

    def remove(self):
        pass


@contextlib.contextmanager
def frozen_unhooked():
    """Lets the tracker pass over frozen parameters."""
    import torch

    names = ["register_post_accumulate_grad_hook", "register_hook"]
    kept = {name: getattr(torch.Tensor, name) for name in names}
    for name, old in kept.items():
        def hook(self, one, old=old):
            return old(self, one) if self.requires_grad else Unhooked()

        setattr(torch.Tensor, name, hook)
    try:
        yield
    finally:
        for name, old in kept.items():
            setattr(torch.Tensor, name, old)


@contextlib.contextmanager
def readable():
    """Lets an optimizer read numbers, as Adafactor the norm of a weight, where tensors have none."""
    import torch

    item = torch.Tensor.item
    torch.Tensor.item = lambda self: 1.0 if self.is_meta else item(self)
    try:
        yield
    finally:
        torch.Tensor.item = item


def tracker_of_totals(recomputed):
    """PyTorch's tracker of memory, asked for totals alone.

    It follows the peak of each module, at the cost of calls times modules, and under
    `torch.utils.checkpoint` it ties what is recomputed into cycles, which live until Python collects
    them; no step without a tracker does so.
    """
    from torch.distributed._tools.mem_tracker import MemTracker

    class Tracker(MemTracker):
        most = 0

        def total(self):
            return sum(one["Total"] for one in self.get_tracker_snapshot().values())

        def _update_peak_stats(self, state):
            if self.total() > self.most:
                if recomputed:
                    gc.collect()
                self.most = max(self.most, self.total())
                modules, self.memory_tracking = self.memory_tracking, {}
                super()._update_peak_stats(state)
                self.memory_tracking = modules

    return Tracker()


def peak(_, request):
    """The most that lives in the second step, by PyTorch's tracker, without autocast."""
    from torch.utils.flop_counter import FlopCounterMode

    training = request["training"]
    space = lean(request["source"])
    with as_on_gpu(request), frozen_unhooked(), readable():
        model, inputs = built(space, request, "meta")
        trained = [one for one in model.parameters() if one.requires_grad]
        optimizer = optimizer_of(request, trained) if training else None
        tracker = tracker_of_totals(request["recomputed"])
        # What was made until here need not be searched for cycles.
        gc.freeze()
        known = [model, *([optimizer] if optimizer else []), *inputs.values()]
        tracker.track_external(*known)
        for step in range(2):
            if step:
                tracker.reset_mod_stats()
                tracker.most = 0
            # The counter takes formulas apart that have a kernel on devices only, and all alike.
            with tracker, FlopCounterMode(display=False):
                one_step(model, inputs, optimizer, training)
        gc.unfreeze()
        found = tracker.get_tracker_snapshot("peak")
    most = max(snapshot["Total"] for snapshot in found.values())
    answer(claim="peak", peak=most)


def step(asked, request):
    """A step with values on a device: how long it takes and, on CUDA, what it allocates."""
    import torch

    space = lean(asked["source"])
    cuda = asked["device"] == "cuda"
    if cuda and not torch.cuda.is_available():
        return answer(error="this PyTorch finds no CUDA device")
    model, inputs = built(space, request, asked["device"])
    training = request["training"]
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = optimizer_of(request, trained) if training else None
    cast = contextlib.nullcontext()
    if cuda and request["autocast"]:
        cast = torch.autocast("cuda", getattr(torch, request["autocast"]))
    times = []
    for number in range(4):
        if cuda:
            torch.cuda.synchronize()
            # The first step makes the optimizer's state, and libraries their workspaces.
            if number == 1:
                torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        with cast:
            one_step(model, inputs, optimizer, training)
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    name = torch.cuda.get_device_name() if cuda else "the CPU"
    allocated = torch.cuda.max_memory_allocated() if cuda else None
    answer(claim="step", seconds=min(times[1:]), device=name, allocated=allocated)


def team(request):
    """Several processes that share a batch, by torch.distributed.run; their answers, handed on."""
    import torch

    count, device = request["nproc"], request["device"]
    reason = None
    if not torch.distributed.is_available():
        reason = "this PyTorch has no torch.distributed"
    elif device == "cuda" and torch.cuda.device_count() < count:
        found = torch.cuda.device_count()
        reason = f"{count} processes need {count} CUDA devices, and there are {found}"
    if reason:
        return answer(error=reason)
    # Asked to end, it ends the processes first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parent = os.getppid()
    with tempfile.TemporaryDirectory() as folder:
        program, asked, answers, errors = (
            pathlib.Path(folder, name) for name in ("ranks.py", "request", "answers", "errors")
        )
        program.write_text(request["program"])
        asked.write_text(json.dumps({**request, "program": None, "launcher": os.getpid()}))
        answers.touch()
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(count), str(program), str(asked), str(answers)]
        # Where nothing is said, every process would take all cores.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        with errors.open("w") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment
            )
        try:
            while process.poll() is None:
                if os.getppid() != parent:
                    # Nobody waits for the answers any more.
                    return
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        for line in answers.read_text().splitlines():
            print(line, file=ANSWERS, flush=True)
        if process.returncode != 0:
            lines = [line.strip() for line in errors.read_text().splitlines()]
            # The launcher's own words come after those of the process that failed.
            told = [line for line in lines if "Error" in line and "ChildFailed" not in line]
            reason = (told or lines or ["without a word"])[0][:300]
            answer(claim="team", unchecked=f"the processes ended before they were done: {reason}")


def experiment(asked):
    """An experiment that needs no model, case by case."""
    space = {"__name__": "experiments"}
    exec(compile(asked["program"], "experiments.py", "exec"), space)
    for found in space["run"](asked["name"], asked["asked"], asked["device"]):
        answer(claim="experiment", trial=found)


def main():
    request = json.load(sys.stdin)
    if request["version"] != VERSION:
        return answer(error=f"version {request['version']} was asked for, this is {VERSION}")
    try:
        import torch
    except Exception as error:
        return answer(error=why(error))
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST:
        oldest = ".".join(str(part) for part in OLDEST)
        return answer(error=f"PyTorch {torch.__version__} is older than {oldest}")
    answer(version=VERSION, torch=torch.__version__)
    space = {"__name__": "model"}
    try:
        exec(compile(request["source"], "model.py", "exec"), space)
    except Exception as error:
        return answer(error=f"the module cannot be read: {why(error)}")
    for name, measure in [("counts", counts), ("kept", kept), ("peak", peak)]:
        if name == "kept" and not request["training"]:
            continue
        try:
            measure(space, request)
        except Exception as error:
            answer(claim=name, unchecked=why(error))
    if request["step"]:
        try:
            step(request["step"], request)
        except Exception as error:
            answer(claim="step", unchecked=why(error))
    if request["team"]:
        team(request["team"])
    if request["experiment"]:
        try:
            experiment(request["experiment"])
        except Exception as error:
            answer(claim="experiment", unchecked=why(error))
    answer(done=True)


main()
