"""Measures an exported module with PyTorch: one JSON request on stdin, a JSON line per answer.

A request is {"version", "source", "attention", "autocast", "cast", "training"}. Answers are
{"version", "torch"} first, then {"claim", ...} with what was found or {"claim", "unchecked": why},
and {"done": true} last: without it the run was cut short. No weights are made: shapes run on the
meta device, and what autograd keeps is read from fake tensors of a CUDA device.
"""

import contextlib
import json
import os
import sys

VERSION = 1
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
        if request["attention"] == "fused" and request["has_attention"]:
            reason = "the fused attention kernel's backward pass recomputes scores on a GPU alone"
            return answer(claim="backward", unchecked=reason)
        start = begin(outputs)
        if start is None:
            return answer(claim="backward", unchecked="no output has a gradient")
        with FlopCounterMode(display=False) as counter:
            start.backward(torch.ones_like(start))
        answer(claim="backward", flops=counter.get_total_flops())


def kept(space, request):
    """Bytes of the storages that autograd keeps, each once, parameters and buffers left out."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if request["recurrent"]:
        reason = "the fused recurrent kernels of a GPU keep a reserve that no fake tensor shows"
        return answer(claim="kept", unchecked=reason)
    if request["attention"] == "fused" and request["has_attention"]:
        reason = "the fused attention kernels are chosen on a GPU alone"
        return answer(claim="kept", unchecked=reason)
    found = {}
    with FakeTensorMode():
        model, inputs = built(space, request, "cuda")
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
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with sdpa_kernel(SDPBackend.MATH), cast, hooks:
            outputs = model(**inputs)
        answer(claim="kept", bytes=sum(found.values()))
        del outputs


def main():
    request = json.load(sys.stdin)
    if request["version"] != VERSION:
        return answer(error=f"version {request['version']} was asked for, this is {VERSION}")
    try:
        import torch
    except Exception as error:
        return answer(error=why(error), missing=isinstance(error, ImportError))
    answer(version=VERSION, torch=torch.__version__)
    space = {"__name__": "model"}
    try:
        exec(compile(request["source"], "model.py", "exec"), space)
    except Exception as error:
        return answer(error=f"the module cannot be read: {why(error)}")
    for name, measure in [("counts", counts), ("kept", kept)]:
        if name == "kept" and not request["training"]:
            continue
        try:
            measure(space, request)
        except Exception as error:
            answer(claim=name, unchecked=why(error))
    answer(done=True)


main()
