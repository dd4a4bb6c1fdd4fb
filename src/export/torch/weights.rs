//! Parameters and buffers: those that no module of `torch.nn` brings along, how they are
//! initialised, and which are frozen.

use super::code::{self, slot};
use crate::graph::{Graph, Parameter};
use crate::ops::Init;
use crate::spec::Spec;
use crate::tensor::Dtype;

/// The statement that initialises a weight as the description says. `path` is the expression that
/// stands for it, `fan` a path of the same.
pub fn initialised(path: &str, init: Init) -> String {
    let value = |name: &str, value: f64| slot(name, &code::real(value));
    match init {
        Init::FanIn(fan) => {
            let bound = 1.0 / (fan.max(1) as f64).sqrt();
            let (low, high) = (value("low", -bound), value("high", bound));
            format!("nn.init.uniform_({path}, {low}, {high})")
        }
        Init::Kaiming => format!("nn.init.kaiming_normal_({path}, nonlinearity=\"relu\")"),
        Init::Xavier => format!("nn.init.xavier_uniform_({path})"),
        Init::Orthogonal => format!("nn.init.orthogonal_({path})"),
        Init::Normal(mean, deviation) => {
            let mean = match mean == 0.0 {
                true => String::new(),
                false => format!("mean={}, ", value("mean", mean)),
            };
            format!(
                "nn.init.normal_({path}, {mean}std={})",
                value("std", deviation)
            )
        }
        Init::Uniform(low, high) => {
            let (low, high) = (value("low", low), value("high", high));
            format!("nn.init.uniform_({path}, {low}, {high})")
        }
        // Nobody says how an imported weight was drawn; numbers of some size stand in for it.
        Init::Unknown => format!("nn.init.normal_({path})"),
        Init::Constant(0.0) => format!("nn.init.zeros_({path})"),
        Init::Constant(1.0) => format!("nn.init.ones_({path})"),
        Init::Constant(constant) => {
            format!("nn.init.constant_({path}, {})", value("value", constant))
        }
    }
}

/// The statements that give a module a parameter or buffer of its own. `holder` is the expression
/// of the module, `name` the attribute.
pub fn registered(
    graph: &Graph,
    spec: &Spec,
    parameter: &Parameter,
    holder: &str,
    name: &str,
) -> Vec<String> {
    let ty = graph.ty(parameter.tensor);
    let shape = slot(&parameter_name(name, "shape"), &code::shape(&ty.shape));
    let dtype = match ty.dtype {
        Dtype::Float32 => String::new(),
        dtype => format!(", dtype={}", code::dtype(dtype)),
    };
    let path = format!("{holder}.{name}");
    if parameter.buffer {
        let made = match (parameter.init, ty.dtype.is_float()) {
            (Init::Constant(value), _) => {
                let value = slot("value", &code::number(value, ty.dtype));
                format!("torch.full({shape}, {value}{dtype})")
            }
            (Init::Normal(..) | Init::Unknown, true) => format!("torch.randn({shape}{dtype})"),
            (_, true) => format!("torch.zeros({shape}{dtype})"),
            (_, false) => whole(spec, parameter, &shape, ty.dtype),
        };
        return vec![format!("{holder}.register_buffer(\"{name}\", {made})")];
    }
    let frozen = match parameter.trainable {
        true => "",
        false => ", requires_grad=False",
    };
    let mut lines = vec![format!(
        "{path} = nn.Parameter(torch.empty({shape}{dtype}){frozen})"
    )];
    if ty.dtype.is_float() {
        lines.push(initialised(&path, parameter.init));
    }
    lines
}

fn parameter_name(name: &str, what: &str) -> String {
    format!("{name}_{what}")
}

/// A buffer of whole numbers: somewhere in its declared range, so that it can index something.
fn whole(spec: &Spec, parameter: &Parameter, shape: &str, dtype: Dtype) -> String {
    let blocks = spec.blocks.iter().flat_map(|block| &block.buffers);
    let declared = spec
        .buffers
        .iter()
        .chain(blocks)
        .find(|buffer| buffer.name == parameter.name)
        .and_then(|buffer| buffer.range);
    let text = code::dtype(dtype);
    match declared {
        Some(range) if dtype != Dtype::Bool => {
            let (low, high) = (range.low.ceil(), range.high.floor() + 1.0);
            format!("torch.randint({low:.0}, {high:.0}, {shape}, dtype={text})")
        }
        _ => format!("torch.zeros({shape}, dtype={text})"),
    }
}
