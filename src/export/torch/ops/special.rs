//! Ops whose PyTorch form is not just a function of the same operands and attributes.

use super::Site;
use crate::export::torch::code::{self, Code, binding, function, method, slot};
use crate::ops::AttributeValue;
use crate::tensor::Dtype;

/// The arguments that are there.
pub(super) fn arguments(list: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
    list.into_iter().flatten().collect()
}

fn scaled(site: &Site, operator: &str, name: &str) -> Code {
    match site.unless("alpha", 1.0) {
        Some(alpha) => function(name, [site.tensor(0), site.tensor(1), alpha]),
        None => {
            let left = site.code(0).at_least(binding::SUM);
            let right = site.code(1).at_least(binding::SUM + 1);
            Code::new(format!("{left} {operator} {right}"), binding::SUM)
        }
    }
}

pub fn add(site: &Site) -> Code {
    scaled(site, "+", "torch.add")
}

pub fn sub(site: &Site) -> Code {
    scaled(site, "-", "torch.sub")
}

pub fn div(site: &Site) -> Code {
    match site.keyword("rounding_mode") {
        Some(mode) => function("torch.div", [site.tensor(0), site.argument(1), mode]),
        None => product(site, "/"),
    }
}

pub fn matmul(site: &Site) -> Code {
    product(site, "@")
}

fn product(site: &Site, operator: &str) -> Code {
    let left = site.code(0).at_least(binding::PRODUCT);
    let right = site.code(1).at_least(binding::PRODUCT + 1);
    Code::new(format!("{left} {operator} {right}"), binding::PRODUCT)
}

/// `torch.maximum` takes tensors only.
fn bounded(site: &Site, name: &str, bound: &str) -> Code {
    let number = [0, 1].into_iter().find(|&at| site.is_number(at));
    match number {
        Some(at) => {
            let bound = format!("{bound}={}", site.argument(at));
            function("torch.clamp", [site.argument(1 - at), bound])
        }
        None => function(name, [site.argument(0), site.argument(1)]),
    }
}

pub fn maximum(site: &Site) -> Code {
    bounded(site, "torch.maximum", "min")
}

pub fn minimum(site: &Site) -> Code {
    bounded(site, "torch.minimum", "max")
}

/// A bound with a fraction would make floating point of integers.
pub fn clamp(site: &Site) -> Code {
    let dtype = site.call.dtype(0).unwrap_or_default();
    let bound = |name: &str| {
        let bound = code::number(site.call.float(name)?, dtype);
        Some(format!("{name}={}", slot(name, &bound)))
    };
    let parts = [Some(site.tensor(0)), bound("min"), bound("max")];
    function("torch.clamp", arguments(parts))
}

pub fn lerp(site: &Site) -> Code {
    function(
        "torch.lerp",
        [site.tensor(0), site.tensor(1), site.argument(2)],
    )
}

pub fn choose(site: &Site) -> Code {
    function("torch.where", (0..3).map(|at| site.argument(at)))
}

pub fn masked_fill(site: &Site) -> Code {
    let dtype = site.call.dtype(0).unwrap_or_default();
    let value = site.call.float("value").unwrap_or(0.0);
    let value = slot("value", &code::number(value, dtype));
    method(&site.code(0), "masked_fill", [site.tensor(1), value])
}

pub fn to(site: &Site) -> Code {
    let dtype = match site.follows {
        Some(other) => format!("{other}.dtype"),
        None => site.needed("dtype"),
    };
    method(&site.code(0), "to", [dtype])
}

pub fn identity(site: &Site) -> Code {
    site.code(0)
}

/// Which elements are replaced is not known: only where all of them are can it be written.
pub fn overwritten(site: &Site) -> Code {
    let same = match (site.call.shape(0), site.call.shape(1)) {
        (Ok(input), Ok(value)) => input == value,
        _ => false,
    };
    match same {
        true => site.code(1),
        false => {
            let mut parts = vec![code::string("an assignment to a part of a tensor")];
            parts.extend(site.tensors(0));
            function("unwritten", parts)
        }
    }
}

pub fn opaque(site: &Site) -> Code {
    let target = site.call.text("target").unwrap_or_default();
    let mut parts = vec![code::string(&target)];
    parts.extend(site.tensors(0));
    function("unwritten", parts)
}

pub fn grouped_mm(site: &Site) -> Code {
    let mut parts: Vec<String> = site.tensors(0);
    if let Some(ends) = parts.get_mut(2) {
        *ends = format!("offs={ends}");
    }
    function("F.grouped_mm", parts)
}

/// The name that the op has in the table is PyTorch's here.
fn torch(site: &Site) -> String {
    format!("torch.{}", site.call.op.name)
}

pub fn sized(site: &Site) -> Code {
    let dtype = site.output_dtype(Dtype::Float32);
    function(
        &torch(site),
        arguments([Some(site.integers("size")), dtype]),
    )
}

fn fill(site: &Site) -> String {
    let dtype = site.call.output().map_or(Dtype::Float32, |ty| ty.dtype);
    let value = site.call.float("fill_value").unwrap_or(0.0);
    slot("fill_value", &code::number(value, dtype))
}

pub fn full(site: &Site) -> Code {
    let size = site.integers("size");
    let dtype = site.output_dtype(Dtype::Float32);
    function(
        "torch.full",
        arguments([Some(size), Some(fill(site)), dtype]),
    )
}

pub fn full_like(site: &Site) -> Code {
    let input = site.call.dtype(0).unwrap_or_default();
    let dtype = site.output_dtype(input);
    let parts = [Some(site.tensor(0)), Some(fill(site)), dtype];
    function("torch.full_like", arguments(parts))
}

pub fn randint(site: &Site) -> Code {
    let (low, high) = (site.needed("low"), site.needed("high"));
    let size = site.integers("size");
    let dtype = site.output_dtype(Dtype::Int64);
    let parts = [Some(low), Some(high), Some(size), dtype];
    function("torch.randint", arguments(parts))
}

pub fn randperm(site: &Site) -> Code {
    let dtype = site.output_dtype(Dtype::Int64);
    function("torch.randperm", arguments([site.value("n"), dtype]))
}

pub fn arange(site: &Site) -> Code {
    let output = site.call.output().map_or(Dtype::Int64, |ty| ty.dtype);
    let number = |name: &str| site.call.float(name);
    let step = number("step").filter(|&step| step != 1.0);
    // With one number only, it is the end.
    let (start, end) = match (number("start"), number("end")) {
        (Some(start), Some(end)) => (Some(start).filter(|&start| start != 0.0), end),
        (Some(only), None) | (None, Some(only)) => (None, only),
        (None, None) => (None, 0.0),
    };
    let start = start.or(step.map(|_| 0.0));
    let whole = [start, Some(end), step]
        .into_iter()
        .flatten()
        .all(|number| number.fract() == 0.0);
    let as_type = if whole { Dtype::Int64 } else { Dtype::Float32 };
    let shown = |name: &str, value: f64| slot(name, &code::number(value, as_type));
    let parts = [
        start.map(|value| shown("start", value)),
        Some(shown("end", end)),
        step.map(|value| shown("step", value)),
        (output != as_type).then(|| format!("dtype={}", code::dtype(output))),
    ];
    function("torch.arange", arguments(parts))
}

pub fn linspace(site: &Site) -> Code {
    let dtype = site.output_dtype(Dtype::Float32);
    let parts = ["start", "end", "steps"].map(|name| site.value(name));
    function(
        "torch.linspace",
        arguments(parts.into_iter().chain([dtype])),
    )
}

pub fn eye(site: &Site) -> Code {
    let dtype = site.output_dtype(Dtype::Float32);
    function(
        "torch.eye",
        arguments([site.value("n"), site.value("m"), dtype]),
    )
}

pub fn indices(site: &Site) -> Code {
    let sizes = site.call.integers("dimensions").unwrap_or_default();
    let axes: Vec<String> = sizes
        .iter()
        .map(|size| format!("torch.arange({})", slot("size", &size.to_string())))
        .collect();
    let grid = format!("torch.meshgrid({}, indexing=\"ij\")", axes.join(", "));
    function("torch.stack", [grid])
}

pub fn meshgrid(site: &Site) -> Code {
    let mut parts = site.tensors(0);
    parts.push(format!("indexing={}", site.needed("indexing")));
    function("torch.meshgrid", parts)
}

pub fn einsum(site: &Site) -> Code {
    let mut parts = vec![site.needed("equation")];
    parts.extend(site.tensors(0));
    function("torch.einsum", parts)
}

pub fn tensordot(site: &Site) -> Code {
    let dims = match (
        site.call.integers("dims_self"),
        site.call.integers("dims_other"),
    ) {
        (Some(left), Some(right)) => format!("({}, {})", code::tuple(left), code::tuple(right)),
        _ => site.needed("dims"),
    };
    function(
        "torch.tensordot",
        [site.tensor(0), site.tensor(1), format!("dims={dims}")],
    )
}

/// `torch.gather(input, dim, index, …)`: the axis comes second.
pub fn along(site: &Site) -> Code {
    let dim = site.needed("dim");
    let mut parts = vec![site.tensor(0), dim, site.tensor(1)];
    match site.call.op.name {
        "index_fill" => {
            let dtype = site.call.dtype(0).unwrap_or_default();
            let value = site.call.float("value").unwrap_or(0.0);
            parts.push(slot("value", &code::number(value, dtype)));
        }
        _ if site.has(2) => parts.push(site.argument(2)),
        _ => {}
    }
    function(&torch(site), parts)
}

pub fn index(site: &Site) -> Code {
    let given = 1..site.operands.len();
    let items: Vec<String> = given
        .map(|at| match site.has(at) {
            true => site.tensor(at),
            false => ":".to_owned(),
        })
        .collect();
    let input = site.code(0).at_least(binding::ATOM);
    Code::atom(format!("{input}[{}]", items.join(", ")))
}

/// The axes of a reduction, as one number where it is one.
fn axes(site: &Site) -> Option<String> {
    let axes = site.call.integers("dim")?;
    let text = match axes.as_slice() {
        [one] => one.to_string(),
        many => code::tuple(many),
    };
    Some(format!("dim={}", slot("dim", &text)))
}

/// `dim` and `keepdim`. PyTorch takes `keepdim` only with `dim`.
fn reduced(site: &Site) -> Vec<String> {
    let keep = site.unless("keepdim", false);
    let all = || {
        let all = code::tuple(0..site.rank(0));
        format!("dim={}", slot("dim", &all))
    };
    let axes = axes(site).or_else(|| keep.is_some().then(all));
    arguments([axes, keep])
}

pub fn reduction(site: &Site) -> Code {
    let mut parts = vec![site.tensor(0)];
    match reduced(site) {
        none if none.is_empty() && site.call.op.name == "logsumexp" => {
            parts.push(format!("dim={}", code::tuple(0..site.rank(0))));
        }
        given => parts.extend(given),
    }
    if site.call.op.attribute_position("dtype").is_some() {
        parts.extend(site.keyword("dtype"));
    }
    // `prod` takes one axis.
    let several = site.call.integers("dim").is_some_and(|axes| axes.len() > 1);
    if site.call.op.name == "prod" && several {
        let mut result = site.code(0);
        let mut axes = site
            .call
            .axes("dim", &site.call.shape(0).cloned().unwrap_or_default());
        if let Ok(axes) = &mut axes {
            for axis in axes.iter().rev() {
                let keep = site.unless("keepdim", false);
                let dim = format!("dim={axis}");
                result = method(&result, "prod", arguments([Some(dim), keep]));
            }
        }
        return result;
    }
    function(&torch(site), parts)
}

pub fn variance(site: &Site) -> Code {
    let mut parts = vec![site.tensor(0)];
    parts.extend(reduced(site));
    let correction = match site.call.float("correction") {
        Some(correction) => Some(correction),
        None if !site.call.boolean("unbiased") => Some(0.0),
        None => None,
    };
    let shown = correction
        .filter(|&correction| correction != 1.0)
        .map(|correction| {
            let whole = code::number(correction, Dtype::Int64);
            format!("correction={}", slot("correction", &whole))
        });
    parts.extend(shown);
    function(&torch(site), parts)
}

pub fn norm(site: &Site) -> Code {
    let order = site.unless("p", 2.0).map(|p| p.replacen("p=", "ord=", 1));
    let mut parts = vec![site.tensor(0)];
    parts.extend(order);
    parts.extend(reduced(site));
    parts.extend(site.keyword("dtype"));
    function("torch.linalg.vector_norm", parts)
}

pub fn lstsq(site: &Site) -> Code {
    let solved = function("torch.linalg.lstsq", [site.tensor(0), site.tensor(1)]);
    Code::atom(format!("{}.solution", solved.text))
}

pub fn transform(site: &Site) -> Code {
    let parts = [
        Some(site.tensor(0)),
        site.keyword("s")
            .map(|_| format!("s={}", site.integers("s"))),
        site.keyword("dim")
            .map(|_| format!("dim={}", site.integers("dim"))),
        site.unless("norm", "backward"),
    ];
    function(
        &format!("torch.fft.{}", site.call.op.name),
        arguments(parts),
    )
}

pub fn adaptive(site: &Site) -> Code {
    let size = site.needed("output_size");
    function(&format!("F.{}", site.call.op.name), [site.tensor(0), size])
}

pub fn global_pool(site: &Site) -> Code {
    let axes = site.rank(0).saturating_sub(2);
    let kind = match site.call.op.name {
        "global_max_pool" => "max",
        _ => "avg",
    };
    let name = format!("F.adaptive_{kind}_pool{axes}d");
    function(&name, [site.tensor(0), "1".to_owned()])
}

pub fn interpolate(site: &Site) -> Code {
    let mode = site.call.text("mode").unwrap_or_default();
    // Only these take the attribute at all.
    let aligned = matches!(
        mode.as_str(),
        "linear" | "bilinear" | "bicubic" | "trilinear"
    );
    let size = site
        .keyword("size")
        .map(|_| format!("size={}", site.needed("size")));
    let scale = match &size {
        Some(_) => None,
        None => site.keyword("scale_factor"),
    };
    let parts = [
        Some(site.tensor(0)),
        size,
        scale,
        site.unless("mode", "nearest"),
        aligned.then(|| site.keyword("align_corners")).flatten(),
        site.unless("antialias", false),
    ];
    function("F.interpolate", arguments(parts))
}

pub fn fake_quantize(site: &Site) -> Code {
    let names = ["scale", "zero_point", "quant_min", "quant_max"];
    let parts = [Some(site.tensor(0))].into_iter();
    let parts = parts.chain(names.map(|name| site.value(name)));
    function("torch.fake_quantize_per_tensor_affine", arguments(parts))
}

pub fn quantize(site: &Site) -> Code {
    let dtype = site.call.output().map_or(Dtype::Int8, |ty| ty.dtype);
    let (low, high) = dtype.integer_range().unwrap_or((-128, 127));
    let input = site.code(0).at_least(binding::PRODUCT);
    let (scale, zero) = (site.needed("scale"), site.needed("zero_point"));
    let text = format!("torch.clamp(torch.round({input} / {scale}) + {zero}, {low}, {high})");
    method(&Code::atom(text), "to", [code::dtype(dtype)])
}

pub fn dequantize(site: &Site) -> Code {
    let dtype = site.call.output().map_or(Dtype::Float32, |ty| ty.dtype);
    let input = method(&site.code(0), "to", [code::dtype(dtype)]).text;
    let (scale, zero) = (site.needed("scale"), site.needed("zero_point"));
    Code::new(format!("({input} - {zero}) * {scale}"), binding::PRODUCT)
}

pub fn reshape(site: &Site) -> Code {
    let sizes = site.call.integers("shape").unwrap_or_default();
    let sizes = sizes.iter().map(|size| slot("size", &size.to_string()));
    let sizes: Vec<String> = sizes.collect();
    match sizes.is_empty() {
        true => method(&site.code(0), "reshape", ["()".to_owned()]),
        false => method(&site.code(0), "reshape", sizes),
    }
}

pub fn flatten(site: &Site) -> Code {
    let end = site.unless("end_dim", -1);
    let parts = [site.value("start_dim"), end];
    method(&site.code(0), "flatten", arguments(parts))
}

pub fn squeeze(site: &Site) -> Code {
    let axes = axes(site).map(|axes| axes.replacen("dim=", "", 1));
    method(&site.code(0), "squeeze", axes)
}

/// A method whose arguments are the required attributes, in order.
pub fn positional(site: &Site) -> Code {
    let names: &[&str] = match site.call.op.name {
        "unsqueeze" => &["dim"],
        "unflatten" => &["dim", "unflattened_size"],
        "expand" => &["size"],
        "transpose" => &["dim0", "dim1"],
        "permute" | "tile" | "flip" => &["dims"],
        "movedim" => &["source", "destination"],
        "narrow" => &["dim", "start", "length"],
        _ => &["repeats"],
    };
    let spread = matches!(
        site.call.op.name,
        "permute" | "expand" | "repeat" | "tile" | "flip"
    );
    let values: Vec<String> = match spread {
        true => {
            let values = site.call.integers(names[0]).unwrap_or_default();
            let name = names[0].trim_end_matches('s');
            values
                .iter()
                .map(|value| slot(name, &value.to_string()))
                .collect()
        }
        false => names.iter().map(|name| site.needed(name)).collect(),
    };
    let values = if values.is_empty() {
        vec!["()".to_owned()]
    } else {
        values
    };
    method(&site.code(0), site.call.op.name, values)
}

pub fn matrix_transpose(site: &Site) -> Code {
    Code::atom(format!("{}.mT", site.code(0).at_least(binding::ATOM)))
}

fn indexed(site: &Site, item: &str) -> Code {
    let rank = site.rank(0);
    let axis = site.call.integer("dim").unwrap_or(0);
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    let before = ":, ".repeat(usize::try_from(axis).unwrap_or(0).min(64));
    let input = site.code(0).at_least(binding::ATOM);
    Code::atom(format!("{input}[{before}{item}]"))
}

pub fn slice(site: &Site) -> Code {
    let part = |name: &str| match site.call.integer(name) {
        // What other programs write for 'to the end'.
        Some(i64::MAX) | None => String::new(),
        Some(value) => slot(name, &value.to_string()),
    };
    let start = match site.call.integer("start") {
        Some(0) => String::new(),
        _ => part("start"),
    };
    let step = match site.call.integer("step") {
        Some(1) | None => String::new(),
        Some(_) => format!(":{}", part("step")),
    };
    indexed(site, &format!("{start}:{}{step}", part("end")))
}

pub fn select(site: &Site) -> Code {
    indexed(site, &site.needed("index"))
}

pub fn split(site: &Site) -> Code {
    let sizes = match site.call.attribute("split_size") {
        Some(AttributeValue::Integers(sizes)) => match sizes.first() {
            Some(first) if sizes.iter().all(|size| size == first) => first.to_string(),
            _ => code::tuple(sizes.iter()),
        },
        Some(value) => code::attribute(&value),
        None => String::new(),
    };
    let parts = [
        Some(site.tensor(0)),
        Some(slot("split_size", &sizes)),
        site.unless("dim", 0),
    ];
    function("torch.split", arguments(parts))
}

pub fn tensor_unfold(site: &Site) -> Code {
    let names = ["dimension", "size", "step"];
    method(&site.code(0), "unfold", names.map(|name| site.needed(name)))
}

pub fn repeat_interleave(site: &Site) -> Code {
    let parts = [site.value("repeats"), site.keyword("dim")];
    method(&site.code(0), "repeat_interleave", arguments(parts))
}

pub fn roll(site: &Site) -> Code {
    let dims = site
        .call
        .integers("dims")
        .map(|_| format!("dims={}", site.integers("dims")));
    let parts = [Some(site.tensor(0)), Some(site.integers("shifts")), dims];
    function("torch.roll", arguments(parts))
}

pub fn rot90(site: &Site) -> Code {
    let dims = site
        .call
        .integers("dims")
        .map(|_| format!("dims={}", site.integers("dims")));
    function(
        "torch.rot90",
        arguments([Some(site.tensor(0)), site.keyword("k"), dims]),
    )
}

pub fn joined(site: &Site) -> Code {
    let parts = [Some(site.list(0)), site.unless("dim", 0)];
    function(&torch(site), arguments(parts))
}
