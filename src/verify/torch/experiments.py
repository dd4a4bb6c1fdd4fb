"""The experiments that need no model: what PyTorch makes of the same question.

`run` yields a dict for each case that is asked, in the order of the cases.
"""

import functools
import time


def shortest(work, device, repeats=5):
    """Seconds of the shortest of some runs."""
    import torch

    def once():
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return min(once() for _ in range(repeats))


def order(asked, device):
    """Every order of a product in float32: FLOPs, seconds, error, and what bounds the error.

    A tree is the place of a factor, or a pair of trees. Errors are shares of the greatest element;
    `magnitude` is the greatest element of the product of the factors' absolute values, likewise.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    generator = torch.Generator().manual_seed(asked["seed"])
    sizes = asked["sizes"]
    factors = [
        ((2 * torch.rand(rows, columns, generator=generator) - 1) / columns**0.5).to(device)
        for rows, columns in zip(sizes, sizes[1:])
    ]

    def product(tree):
        if isinstance(tree, int):
            return factors[tree]
        left, right = tree
        return product(left) @ product(right)

    wide = [one.double() for one in factors]
    exact = functools.reduce(torch.matmul, wide)
    scale = exact.abs().max()
    magnitude = functools.reduce(torch.matmul, [one.abs() for one in wide]).max() / scale
    for tree in asked["trees"]:
        with FlopCounterMode(display=False) as counter:
            result = product(tree)
        yield {
            "flops": counter.get_total_flops(),
            "seconds": shortest(lambda: product(tree), device),
            "error": float((result.double() - exact).abs().max() / scale),
            "magnitude": float(magnitude),
        }


def summation(asked, device):
    """Sums and means of the same numbers: the value, None where it is not finite, and seconds."""
    import torch

    drawn = torch.tensor(asked["numbers"], dtype=torch.float64)
    for case in asked["cases"]:
        x = drawn.to(getattr(torch, case["dtype"])).to(device)
        method, result = getattr(torch, case["method"]), getattr(torch, case["result"])
        # Without `dtype` the type of the numbers is that of the result.
        chosen = {} if result == x.dtype else {"dtype": result}
        value = method(x, **chosen)
        yield {
            "value": float(value) if value.isfinite() else None,
            "seconds": shortest(lambda: method(x, **chosen), device),
        }


PLACES = {
    "√(v + ε)": lambda v, eps: (v + eps).sqrt(),
    "√v + ε": lambda v, eps: v.sqrt() + eps,
    "max(√v, ε)": lambda v, eps: v.sqrt().clamp(min=eps),
    "no ε": lambda v, eps: v.sqrt(),
}


def epsilon(asked, device):
    """Of each variance, whether 1 / divisor is finite, and whether its gradient is."""
    import torch

    for case in asked["cases"]:
        dtype = getattr(torch, case["dtype"])
        v = torch.tensor(case["candidates"], dtype=torch.float64).to(dtype).to(device)
        v.requires_grad_()
        factor = 1 / PLACES[case["place"]](v, case["eps"])
        factor.backward(torch.ones_like(factor))
        yield {"finite": [factor.isfinite().tolist(), v.grad.isfinite().tolist()]}


def run(name, asked, device):
    """What is found of each case."""
    return {"order": order, "summation": summation, "epsilon": epsilon}[name](asked, device)
