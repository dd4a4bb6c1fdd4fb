"""What several processes find that share a batch: one process of a run of torch.distributed.run.

    ranks.py REQUEST ANSWERS

REQUEST is a JSON file: {"device", "seconds", "launcher", "shards", "replicas"}. The first process
appends its answers to ANSWERS, a JSON line each. All processes end together: by themselves, when
the seconds are over, or when the process that launched them is gone.
"""

import faulthandler
import json
import os
import sys
import threading
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

DEVICE = torch.device("cpu")


def watch(launcher):
    """Ends this process when the one that launched it is gone."""
    while True:
        time.sleep(0.5)
        try:
            os.kill(launcher, 0)
        except OSError:
            os._exit(1)


def answer(**fields):
    """Writes one answer, on the first process."""
    if dist.get_rank() == 0:
        with open(sys.argv[2], "a") as file:
            print(json.dumps(fields), file=file)


def why(error):
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def gathered(tensor):
    """The values of all processes, one after another."""
    parts = [None] * dist.get_world_size()
    dist.all_gather_object(parts, tensor.detach().flatten().tolist())
    return [value for part in parts for value in part]


def everywhere(works):
    """Whether it works on all processes."""
    flag = torch.tensor([1.0 if works else 0.0], device=DEVICE)
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return flag.item() == 1.0


# BatchNorm over the shards of one batch.


def merged(x, axes):
    """Mean and variance over all processes, through which gradients flow between them."""
    count = torch.tensor(float(x.numel() // x.shape[1]), dtype=x.dtype, device=x.device)
    dist.all_reduce(count)
    mean = all_reduce(x.sum(axes)) / count
    shape = [1, -1] + [1] * (x.dim() - 2)
    variance = all_reduce((x - mean.reshape(shape)).square().sum(axes)) / count
    return mean, variance


class Synchronised(nn.Module):
    """BatchNorm over all processes where `nn.SyncBatchNorm` refuses to run: on a CPU."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x):
        mean, variance = merged(x, [0, *range(2, x.dim())])
        shape = [1, -1] + [1] * (x.dim() - 2)
        y = (x - mean.reshape(shape)) * torch.rsqrt(variance + self.eps).reshape(shape)
        if self.weight is None:
            return y
        return y * self.weight.reshape(shape) + self.bias.reshape(shape)


def synchronise(model):
    """The model with every BatchNorm over all processes."""
    if DEVICE.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, child in list(model.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(model, name, Synchronised(child))
        else:
            synchronise(child)
    return Synchronised(model) if isinstance(model, nn.modules.batchnorm._BatchNorm) else model


class ForwardOnly(torch.autograd.Function):
    """PyTorch's backward kernel, handed statistics of all processes and the values of one."""

    @staticmethod
    def forward(ctx, x, mean, variance, eps):
        scale = torch.rsqrt(variance + eps)
        ctx.eps = eps
        ctx.save_for_backward(x, mean, scale)
        return (x - mean) * scale

    @staticmethod
    def backward(ctx, gradient):
        x, mean, scale = ctx.saved_tensors
        gradients = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), x, None, None, None, mean, scale, True, ctx.eps,
            [True, False, False],
        )
        return gradients[0], None, None, None


def normalised(x, way, eps, total):
    """The mean and variance that a shard uses, and its outputs."""
    variance, mean = torch.var_mean(x, 0, correction=0)
    norm = nn.BatchNorm1d(1, eps=eps, affine=False).to(DEVICE, x.dtype)
    if way == "each its own":
        return mean, variance, norm(x)
    if way == "merged, both ways":
        with torch.no_grad():
            mean, variance = merged(x, [0])
        return mean, variance, synchronise(norm)(x)
    if way == "merged forward only":
        with torch.no_grad():
            mean, variance = merged(x, [0])
        return mean, variance, ForwardOnly.apply(x, mean, variance, eps)
    share = len(x) / total if way == "averages by size" else 1 / dist.get_world_size()
    mean, variance = all_reduce(mean * share), all_reduce(variance * share)
    return mean, variance, (x - mean) * torch.rsqrt(variance + eps)


def shards(request):
    """One channel of a batch, dealt to the processes and normalised in each way."""
    rank = dist.get_rank()
    for dealt, ends in request["dealt"]:
        start = ends[rank - 1] if rank else 0
        for way in request["ways"]:
            part = [
                torch.tensor(request[name][start : ends[rank]], dtype=torch.float64, device=DEVICE)
                for name in ("x", "w")
            ]
            x = part[0].reshape(-1, 1).requires_grad_()
            mean, variance, y = normalised(x, way, request["eps"], len(request["x"]))
            (y.flatten() * part[1]).sum().backward()
            answer(
                claim="shards",
                dealt=dealt,
                way=way,
                found={
                    "means": gathered(mean),
                    "variances": gathered(variance),
                    "outputs": gathered(y),
                    "gradients": gathered(x.grad),
                },
            )


# A model on several replicas.


class Losses(nn.Module):
    """A model that hands on its loss; outputs that are no loss are weighed, sample by sample."""

    def __init__(self, model, sums):
        super().__init__()
        self.model, self.sums = model, sums

    def forward(self, inputs, weights):
        outputs = self.model(**inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        outputs = [one for one in outputs if one.requires_grad]
        single = [one for one in outputs if one.numel() == 1]
        count = weights.shape[0]
        if single:
            return sum(one.sum() for one in single) / (count if self.sums else 1)
        losses = []
        for one in outputs:
            if one.shape[0] != count:
                raise ValueError("an output's first axis is not the batch")
            losses.append((one.reshape(count, -1) * weights[:, None]).mean())
        return sum(losses)


def random(space, seed):
    """A model and its inputs, the same for a seed, in float64 and on the device."""
    torch.manual_seed(seed)
    model = space["Model"]().to(torch.float64)
    for child in model.modules():
        if isinstance(child, nn.RNNBase):
            child.dropout = 0.0
    torch.manual_seed(seed + 1)
    inputs = space["example_inputs"]()
    inputs = {
        name: one.to(DEVICE, torch.float64) if one.is_floating_point() else one.to(DEVICE)
        for name, one in inputs.items()
    }
    return model.to(DEVICE).train(), inputs


def read(source):
    """What an exported module defines."""
    space = {"__name__": "model"}
    exec(compile(source, "model.py", "exec"), space)
    return space


def gradients(model):
    """All gradients as one vector."""
    found = [one.grad for one in model.parameters() if one.requires_grad]
    return torch.cat([one.flatten() for one in found if one is not None])


def away(found, expected):
    """The largest difference, as a share of the largest value."""
    scale = expected.abs().max().item()
    return (found - expected).abs().max().item() / (scale or 1.0)


class First:
    """Remembers what the first BatchNorm reads."""

    def __init__(self, model):
        self.x = None
        norms = [one for one in model.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.register_forward_pre_hook(self.see)
        self.norms = len(norms)

    def see(self, _, arguments):
        if self.x is None:
            self.x = arguments[0].detach()


def statistics(first, whole):
    """A replica's statistics of what the first BatchNorm reads, against those of the batch."""
    def of(x):
        return torch.var_mean(x, [0, *range(2, x.dim())], correction=0)

    variance, mean = of(first.x)
    means, variances = [torch.zeros_like(mean) for _ in range(dist.get_world_size())], []
    variances = [torch.zeros_like(variance) for _ in means]
    dist.all_gather(means, mean.contiguous())
    dist.all_gather(variances, variance.contiguous())
    means, variances = torch.stack(means), torch.stack(variances)
    all_variance, all_mean = of(whole.x)
    together = variances.mean(0) + means.var(0, correction=0)
    answer(
        claim="statistics",
        merged=max(away(together, all_variance), away(means.mean(0), all_mean)),
        own=away(variances, all_variance.expand_as(variances)),
    )


def one_pass(model, inputs, weights, factor=1.0):
    """Gradients of the loss times a factor."""
    model.zero_grad(set_to_none=True)
    (model(inputs, weights) * factor).backward()
    return gradients(model)


def summed(state, bucket):
    """Gradients added up instead of averaged."""
    work = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return work.then(lambda future: future.value()[0])


def replicas(request):
    """Replicas with a share of a batch each, against one process that has it all."""
    rank, world = dist.get_rank(), dist.get_world_size()
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
                 "feature_alpha_dropout"):
        # The same factors would have to be drawn in one process as in several.
        setattr(F, name, lambda x, *_, **__: x)
    attention = F.scaled_dot_product_attention

    def without_dropout(q, k, v, attn_mask=None, dropout_p=0.0, **more):
        return attention(q, k, v, attn_mask, 0.0, **more)

    F.scaled_dot_product_attention = without_dropout
    small, large = read(request["source"]), read(request["whole"])
    seed, sums = request["seed"], request["sums"]
    one, inputs = random(large, seed)
    weights = torch.cos(torch.arange(request["batch"] * world, device=DEVICE, dtype=torch.float64))
    state = one.state_dict()
    ddp = {"find_unused_parameters": True}
    if DEVICE.type == "cuda":
        ddp["device_ids"] = [DEVICE.index]

    def replica(convert, space=small):
        model, _ = random(space, seed)
        model.load_state_dict(state)
        first = First(model)
        return DistributedDataParallel(Losses(convert(model), sums), **ddp), first

    def shares(sizes):
        start = sum(sizes[:rank])
        part = slice(start, start + sizes[rank])
        return {name: x[part] for name, x in inputs.items()}, weights[part]

    even = shares([request["batch"]] * world)
    whole_first = First(one)
    whole = Losses(one, sums)
    expected = one_pass(whole, inputs, weights)
    if not everywhere(torch.equal(one_pass(whole, inputs, weights), expected)):
        reason = "the model draws random numbers, which differ from process to process"
        return answer(claim="replicas", unchecked=reason)
    if not everywhere(bool(torch.isfinite(expected).all()) and bool(expected.abs().max() > 0)):
        return answer(claim="replicas", unchecked="the gradient is zero or not finite")

    # What PyTorch's replicas are by themselves: each BatchNorm over its own share.
    plain, first = replica(lambda model: model)
    if request["norms"] and not first.norms:
        reason = "a BatchNorm is written as a function, which nothing can synchronise"
        return answer(claim="replicas", unchecked=reason)
    averaged = one_pass(plain, *even)
    alone, _ = random(small, seed)
    alone.load_state_dict(state)
    losses = Losses(alone, sums)
    mean = sum(
        one_pass(losses, {name: x[at : at + request["batch"]] for name, x in inputs.items()},
                 weights[at : at + request["batch"]])
        for at in range(0, request["batch"] * world, request["batch"])
    ) / world
    answer(claim="averaged", difference=away(averaged, mean))
    if first.norms:
        statistics(first, whole_first)
        answer(claim="own", difference=away(averaged, expected))

    # The same with statistics of the whole batch: now all of it is one batch.
    model, _ = replica(synchronise) if first.norms else (plain, first)
    answer(claim="whole", norms=first.norms, difference=away(one_pass(model, *even), expected))
    found = one_pass(model, *even, factor=float(request["batch"]))
    total = expected * request["batch"] * world
    answer(claim="sum", ratio=(found @ total / (total @ total)).item(), difference=away(found * world, total))
    adding, _ = replica(synchronise if first.norms else lambda model: model)
    adding.register_comm_hook(None, summed)
    found = one_pass(adding, *even)
    answer(claim="added", ratio=(found @ expected / (expected @ expected)).item(),
           difference=away(found / world, expected))

    def stepped(module):
        before = torch.cat([x.detach().flatten() for x in module.parameters() if x.grad is not None])
        kept = [x.detach().clone() for x in module.parameters()]
        torch.optim.SGD(module.parameters(), lr=request["lr"]).step()
        after = torch.cat([x.detach().flatten() for x in module.parameters() if x.grad is not None])
        with torch.no_grad():
            for x, old in zip(module.parameters(), kept):
                x.copy_(old)
        return after - before

    one_pass(model, *even)
    one_pass(whole, inputs, weights)
    answer(claim="step", lr=request["lr"], difference=away(stepped(model), stepped(whole)))

    # Unequal shares: the first replica has half as much again, and the last that much less.
    move = request["batch"] // 2
    sizes = [request["batch"]] * world
    sizes[0], sizes[-1] = sizes[0] + move, sizes[-1] - move
    share = shares(sizes)
    # A module may have been written for its batch: then these are those of the other sizes.
    more, less = (read(one) if one else small for one in request["uneven"])
    space = {0: more, world - 1: less}.get(rank, small)
    try:
        alone, _ = random(space, seed)
        alone.load_state_dict(state)
        with torch.no_grad():
            Losses(alone, sums)(*share)
        works, reason = move > 0, "one sample cannot be dealt unequally"
    except Exception as error:
        works, reason = False, f"the module runs at its own batch only: {why(error)}"
    if not everywhere(works):
        reasons = [None] * world
        dist.all_gather_object(reasons, None if works else reason)
        return answer(claim="unequal", unchecked=next(one for one in reasons if one))
    model, _ = replica(synchronise if first.norms else lambda model: model, space)
    each = one_pass(model, *share)
    factor = sizes[rank] * world / sum(sizes)
    weighed = one_pass(model, *share, factor=factor)
    answer(claim="unequal", sizes=sizes, plain=away(each, expected), weighed=away(weighed, expected))


def main():
    global DEVICE
    with open(sys.argv[1]) as file:
        request = json.load(file)
    threading.Thread(target=watch, args=(request["launcher"],), daemon=True).start()
    faulthandler.dump_traceback_later(request["seconds"], exit=True)
    if request["device"] == "cuda":
        DEVICE = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(DEVICE)
    else:
        torch.set_num_threads(1)
    # In float64 what rounding adds is far below what a wrong factor does.
    torch.set_default_dtype(torch.float64)
    dist.init_process_group("nccl" if request["device"] == "cuda" else "gloo")
    for name, measure in [("shards", shards), ("replicas", replicas)]:
        if request[name] is None:
            continue
        try:
            measure(request[name])
        except Exception as error:
            # The others may wait for this one: they end with it.
            answer(claim=name, unchecked=why(error))
            raise
    dist.barrier()
    dist.destroy_process_group()


main()
