"""Holds the PyTorch form of each op to the shapes and element types that the op infers.

    python tests/torch/ops.py target/debug/plimsoll src/ops

The calls are those of the unit tests of the ops, such as "matmul([2, 3], [3, 4])": each becomes a
spec of one layer, which is exported and run on the meta device, or on the CPU where PyTorch needs
values. Calls that are refused are left out, and so are those that PyTorch does not compute in that
element type, or refuses for the values. Exits with 1 where anything differs, and tells which ops no
call covers.
"""

import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys

import torch

# A call as text; what stands behind it sets modes that change no type.
CALL = re.compile(r'"([a-z_0-9]+)\(([^"{}]*)\)(?: eval| fused)*"')


def split(text):
    """Splits at commas outside of brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for at, letter in enumerate(text):
        quoted ^= letter == "'"
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0 and not quoted:
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def value(text):
    """An attribute's value in TOML."""
    text = text.strip("'")
    if re.fullmatch(r"\[.*\]|-?(\d[\d_]*(\.\d+)?(e[+-]?\d+)?|inf)|true|false", text):
        return text
    return json.dumps(text)


def spec(name, body):
    """The spec of one call; None for what a spec does not say."""
    inputs, reads, attributes = [], [], []
    for part in split(body):
        if match := re.fullmatch(r"([A-Za-z_]\w*) ?= ?(.*)", part, re.S):
            attributes.append(f"{match[1]} = {value(match[2])}")
        elif part == "-":
            reads.append('"None"')
        elif re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", part):
            reads.append(part)
        elif match := re.fullmatch(r"([a-z]\w*)? ?(\[[\d, _]*\])!?", part):
            number = len(inputs)
            dtype = f', dtype = "{match[1]}"' if match[1] else ""
            inputs.append(f"x{number} = {{ shape = {match[2]}{dtype} }}")
            reads.append(f'"x{number}"')
        else:
            return None
    lines = ["spec = 1", "[inputs]", *inputs, "[[layers]]", 'name = "y"', f'op = "{name}"']
    lines += [f"in = [{', '.join(reads)}]", *attributes]
    return "\n".join(lines)


def command(program, text, *arguments):
    """What the program prints, or None where it refuses."""
    command = [program, arguments[0], "-", *arguments[1:]]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def run(source, device):
    """The outputs of a module."""
    names = {"__name__": "exported"}
    exec(compile(source, "exported", "exec"), names)
    with torch.device(device):
        outputs = names["Model"]()(**names["example_inputs"]())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [(list(o.shape), str(o.dtype).removeprefix("torch.")) for o in outputs]


def compare(program, call):
    """What is wrong with a call; None where nothing is, False where it is left out."""
    text = spec(*call)
    report = text and command(program, text, "report", "--output", "json")
    if not report:
        return False
    source = command(program, text, "export", "--to", "torch")
    expected = [(o["shape"], o["dtype"]) for o in json.loads(report)["model"]["outputs"]]
    try:
        measured = run(source, "meta")
    except Exception:
        elements = sum(torch.Size(shape).numel() for shape in shapes(text))
        if elements > 10_000_000:
            return False
        try:
            measured = run(source, "cpu")
        except (NotImplementedError, RuntimeError) as error:
            if "not implemented for" in str(error) or "unwritten" in source:
                return False
            return f"{type(error).__name__}: {error}"
        except ValueError:
            # Shapes that are right and values that are not: a variance below 0.
            return False
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    # The number of elements that a mask or a search finds is known only when it runs.
    bounded = call[0] in ("masked_select", "nonzero", "bincount", "unique")
    same = expected[: len(measured)] == measured or bounded
    return None if same else f"{expected} inferred, {measured} measured"


def shapes(text):
    """The shapes that a spec declares."""
    found = re.findall(r"shape = \[([\d, _]*)\]", text)
    return [[int(size) for size in split(sizes)] for sizes in found]


def main():
    program, folder = sys.argv[1:]
    calls = set()
    for path in sorted(pathlib.Path(folder).rglob("*.rs")):
        calls.update(CALL.findall(path.read_text()))
    calls = sorted(calls)
    covered, wrong = set(), 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda call: compare(program, call), calls)
        for (name, body), result in zip(calls, results):
            if result is not False:
                covered.add(name)
            if result:
                wrong += 1
                print(f"{name}({body}): {' '.join(result.split())[:300]}", flush=True)
    ops = {name for name, _ in calls}
    print(f"{len(calls)} calls of {len(ops)} ops, {wrong} wrong")
    print("without a call that ran:", *sorted(ops - covered))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
