//! The Python file: imports, constants, functions, classes, `Model`, `example_inputs`.

use std::fmt::Write as _;

use super::body::Body;
use super::classes::{Class, Classes};
use super::code::{self, prose};
use super::inputs::examples;
use super::plan::Plan;
use crate::export::Exported;
use crate::graph::{Graph, TensorKind};
use crate::lower::Model;
use crate::ops::foreign::OPAQUE;
use crate::spec::{Attention, Spec};

/// Puts everything together.
pub(super) fn write(
    spec: &Spec,
    model: &Model,
    plan: &Plan<'_>,
    classes: &Classes,
    root: Body,
) -> Exported {
    let graph = &model.graph;
    let notes = notes(graph);
    let mut body = String::new();
    for class in classes.list() {
        write_class(&mut body, class);
    }
    write_model(&mut body, spec, graph, plan, &root);
    write_inputs(&mut body, spec, graph, &root.arguments);
    body.push_str(MAIN);
    let helpers = helpers(&body);
    let mut text = String::new();
    let name = spec.model.name.get().map(|name| prose(&name));
    let name = name.unwrap_or_else(|| "A model".to_owned());
    let _ = writeln!(text, "\"\"\"{name}, as Plimsoll wrote it.");
    if !notes.is_empty() {
        text.push('\n');
        for note in &notes {
            let _ = writeln!(text, "{}", prose(note));
        }
    }
    text.push_str("\"\"\"\n\n");
    text.push_str(&imports(&format!("{helpers}{body}")));
    text.push_str(&helpers);
    text.push_str(&body);
    Exported { text, notes }
}

/// What the text cannot say.
fn notes(graph: &Graph) -> Vec<String> {
    let mut unwritten = Vec::new();
    let mut truncated = 0u64;
    for (_, node) in graph.nodes() {
        graph.with_call(node, |call| {
            let partly = node.op.name == "overwritten"
                && match (call.shape(0), call.shape(1)) {
                    (Ok(input), Ok(value)) => input != value,
                    _ => true,
                };
            if node.op.name == OPAQUE || partly {
                let target = call.text("target").unwrap_or_else(|| node.op.name.into());
                if !unwritten.contains(&target) {
                    unwritten.push(target);
                }
            }
            let horizon = call
                .op
                .attribute_position("bptt")
                .and_then(|_| call.integer("bptt"));
            truncated += u64::from(horizon.is_some_and(|steps| steps > 0));
        });
    }
    let mut notes = Vec::new();
    if !unwritten.is_empty() {
        notes.push(format!(
            "Calls of {} could not be written; they raise NotImplementedError.",
            unwritten.join(", ")
        ));
    }
    if truncated > 0 {
        notes.push(
            "Truncated back-propagation through time is not written: detach the states in the \
             training loop."
                .to_owned(),
        );
    }
    notes
}

/// The imports that the text needs.
fn imports(body: &str) -> String {
    let names = |word: &str| {
        body.match_indices(word).any(|(at, _)| {
            let before = body[..at].chars().next_back();
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        })
    };
    let mut text = String::new();
    if names("math.") {
        text.push_str("import math\n");
    }
    text.push_str("import sys\n\nimport torch\n");
    if names("F.") {
        text.push_str("import torch.nn.functional as F\n");
    }
    text.push_str("from torch import nn\n");
    if names("sdpa_kernel(") {
        text.push_str("from torch.nn.attention import SDPBackend, sdpa_kernel\n");
    }
    if names("checkpoint(") {
        text.push_str("from torch.utils.checkpoint import checkpoint\n");
    }
    text
}

/// The functions that PyTorch has not and the text calls.
fn helpers(body: &str) -> String {
    let mut text = String::new();
    for (name, helper) in [
        ("rotary_embedding(", ROTARY),
        ("linear_recurrence(", RECURRENCE),
        ("unwritten(", UNWRITTEN),
    ] {
        if body.contains(name) {
            text.push_str(helper);
        }
    }
    text
}

const ROTARY: &str = r#"

def rotary_embedding(x, cos=None, sin=None, base=10000.0):
    """Rotates pairs of elements of the last axis by angles that grow with the position."""
    if cos is None or sin is None:
        positions, width = x.shape[-2:]
        steps = torch.arange(0, width, 2, device=x.device) / width
        angles = torch.arange(positions, device=x.device)[:, None] / base**steps
        angles = torch.cat([angles, angles], dim=-1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
"#;

const RECURRENCE: &str = r#"

def linear_recurrence(decay, input, dim=-1):
    """h[t] = decay[t] * h[t - 1] + input[t] along an axis, from h[-1] = 0."""
    state, states = torch.zeros_like(input.select(dim, 0)), []
    for step, taken in zip(decay.unbind(dim), input.unbind(dim)):
        state = step * state + taken
        states.append(state)
    return torch.stack(states, dim)
"#;

const UNWRITTEN: &str = r#"

def unwritten(name, *tensors):
    """Stands for a call whose arguments are not known."""
    raise NotImplementedError(f"write the call of {name} here")
"#;

const MAIN: &str = r#"

if __name__ == "__main__":
    with torch.device(sys.argv[1] if len(sys.argv) > 1 else "meta"):
        model = Model()
        outputs = model(**example_inputs())
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        print(output.dtype, list(output.shape))
"#;

fn indented(text: &mut String, lines: &[String], indent: &str) {
    for line in lines {
        for part in line.lines() {
            let _ = writeln!(text, "{indent}{part}");
        }
    }
}

fn write_class(text: &mut String, class: &Class) {
    let times = match class.instances {
        1 => String::new(),
        count => format!(" ({count} times)"),
    };
    let summary = format!(
        "`{}`{times}: {}.",
        prose(&class.block),
        prose(&class.shapes)
    );
    if class.function {
        let arguments = class.arguments.iter().chain(&class.parameters);
        let arguments: Vec<&str> = arguments.map(String::as_str).collect();
        let _ = write!(
            text,
            "\n\ndef {}({}):\n    \"\"\"{summary}\"\"\"\n",
            class.name,
            arguments.join(", ")
        );
        indented(text, &class.forward, "    ");
        return;
    }
    let _ = write!(
        text,
        "\n\nclass {}(nn.Module):\n    \"\"\"{summary}\"\"\"\n",
        class.name
    );
    if !class.init.is_empty() || !class.parameters.is_empty() {
        let arguments = ["self"]
            .into_iter()
            .chain(class.parameters.iter().map(String::as_str));
        let arguments: Vec<&str> = arguments.collect();
        let _ = write!(
            text,
            "\n    def __init__({}):\n        super().__init__()\n",
            arguments.join(", ")
        );
        indented(text, &class.init, "        ");
    }
    write_forward(text, &class.arguments, &class.forward, "", "");
}

fn write_forward(
    text: &mut String,
    arguments: &[String],
    statements: &[String],
    decorator: &str,
    within: &str,
) {
    let arguments = ["self"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str));
    let arguments: Vec<&str> = arguments.collect();
    let _ = write!(
        text,
        "\n{decorator}    def forward({}):\n",
        arguments.join(", ")
    );
    match within.is_empty() {
        true => indented(text, statements, "        "),
        false => {
            let _ = writeln!(text, "        {within}");
            indented(text, statements, "            ");
        }
    }
}

fn write_model(text: &mut String, spec: &Spec, graph: &Graph, plan: &Plan<'_>, root: &Body) {
    let fill = |lines: &[String]| -> Vec<String> {
        lines
            .iter()
            .map(|line| code::filled(line, |_, value| value.to_owned()))
            .collect()
    };
    let shown = |(name, tensor): &(String, crate::graph::TensorId)| {
        format!("{} {}", prose(name), graph.ty(*tensor))
    };
    let inputs: Vec<String> = graph
        .inputs
        .iter()
        .map(|(name, tensor)| shown(&(name.to_string(), *tensor)))
        .collect();
    let outputs: Vec<String> = graph
        .outputs
        .iter()
        .map(|tensor| shown(&(graph.tensor_name(*tensor), *tensor)))
        .collect();
    let _ = write!(
        text,
        "\n\nclass Model(nn.Module):\n    \"\"\"Takes {}; gives {}.\"\"\"\n",
        match inputs.is_empty() {
            true => "nothing".to_owned(),
            false => inputs.join(", "),
        },
        match outputs.is_empty() {
            true => "nothing".to_owned(),
            false => outputs.join(", "),
        }
    );
    let mut init = fill(&root.init);
    if !graph.training {
        init.push("self.eval()".to_owned());
    }
    if !init.is_empty() {
        text.push_str("\n    def __init__(self):\n        super().__init__()\n");
        indented(text, &init, "        ");
    }
    let attends = graph
        .nodes()
        .any(|(_, node)| node.op.name == "scaled_dot_product_attention");
    let decorator = match spec.model.attention.get() {
        Some(Attention::Math) if attends => "    @sdpa_kernel(SDPBackend.MATH)\n",
        _ => "",
    };
    let makes = graph.nodes().any(|(_, node)| node.op.operands.is_empty());
    let lifts = plan
        .graph
        .tensors
        .iter()
        .any(|t| matches!(t.kind, TensorKind::Constant(_)));
    let within = match root.arguments.first() {
        // What is made on the way lies where the inputs lie.
        Some(first) if makes || lifts && text.contains("torch.tensor(") => {
            format!("with {first}.device:")
        }
        _ => String::new(),
    };
    write_forward(
        text,
        &root.arguments,
        &fill(&root.forward),
        decorator,
        &within,
    );
}

fn write_inputs(text: &mut String, spec: &Spec, graph: &Graph, names: &[String]) {
    text.push_str(
        "\n\ndef example_inputs(device=None):\n    \"\"\"Inputs of the model, by name.\"\"\"\n",
    );
    let examples = examples(spec, graph, names);
    if examples.is_empty() {
        text.push_str("    return {}\n");
        return;
    }
    text.push_str("    return {\n");
    for (name, example) in examples {
        let _ = writeln!(text, "        {}: {example},", code::string(&name));
    }
    text.push_str("    }\n");
}
