//! Tensors from nothing, random ones, and conversions.

use super::call::{Call, Output, Results, all, one, sizes_of};
use super::constant::{self, dtype, shape};
use super::fold::literal_type;
use super::registry::{Entry, Mapping::*};
use super::slot::{Origin, Slot, TensorSlot};
use crate::graph::TensorId;
use crate::ops::AttributeValue;
use crate::tensor::{Dtype, Shape, TensorType};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("Bernoulli", Special(bernoulli)),
    ("Cast", Special(cast)),
    ("CastLike", Special(cast_like)),
    ("Constant", Alias(literal)),
    ("ConstantOfShape", Special(filled)),
    ("Dropout", Special(dropout)),
    ("EyeLike", Special(eye_like)),
    ("Identity", Alias(identity)),
    ("Multinomial", Special(multinomial)),
    ("RandomNormal", Special(random_normal)),
    ("RandomNormalLike", Special(random_normal)),
    ("RandomUniform", Special(random_uniform)),
    ("RandomUniformLike", Special(random_uniform)),
    ("Range", Special(range)),
];

fn identity(call: &mut Call<'_, '_>) -> Option<Results> {
    call.slot(0)
        .map(|slot| Results::from_slice(&[Output::Slot(slot)]))
}

/// A constant whose values are not kept.
fn literal(call: &mut Call<'_, '_>) -> Option<Results> {
    let slot = match literal_type(call) {
        Some(ty) => Slot::Tensor(TensorSlot {
            ty,
            id: None,
            known: None,
            origin: Origin::Constant,
            name: call.node.output.first()?.clone(),
        }),
        // Text, or a complex number.
        None => Slot::Foreign,
    };
    let slot = call.lowering.slot(slot);
    Some(Results::from_slice(&[Output::Slot(slot)]))
}

/// The element type that an attribute names.
fn named(call: &Call<'_, '_>, name: &str) -> Option<Dtype> {
    dtype(i32::try_from(call.attributes.integer(name)?).ok()?)
}

fn cast(call: &mut Call<'_, '_>) -> Option<Results> {
    let to = named(call, "to")?;
    let input = call.tensor(0)?;
    call.apply("to", &[input], &[("dtype", to.into())]).map(all)
}

fn cast_like(call: &mut Call<'_, '_>) -> Option<Results> {
    let to = call.dtype(1)?;
    let input = call.tensor(0)?;
    call.apply("to", &[input], &[("dtype", to.into())]).map(all)
}

/// A tensor whose shape only running the model would tell, but that the file states.
fn filled(call: &mut Call<'_, '_>) -> Option<Results> {
    let value = call.attributes.tensor("value").map(constant::Constant::of);
    let (value, dtype) = match value {
        Some(value) => {
            let value = value?;
            (value.real(0), value.ty.dtype)
        }
        None => (0.0, Dtype::Float32),
    };
    let target = match call.known_integers(0) {
        Some(sizes) => shape(&sizes)?,
        None => call.stated_shape(0)?,
    };
    let given = [
        ("size", sizes_of(&target).into()),
        ("fill_value", value.into()),
        ("dtype", dtype.into()),
    ];
    call.apply("full", &[], &given).map(all)
}

/// Numbers in steps. How many there are is what the file states where the ends are not known.
fn range(call: &mut Call<'_, '_>) -> Option<Results> {
    let dtype = call.dtype(0)?;
    let numbers: Option<Vec<f64>> = (0..3).map(|at| call.known_number(at)).collect();
    let given: Vec<(&'static str, AttributeValue)> = match numbers.as_deref() {
        Some(&[start, end, step]) => vec![
            ("start", start.into()),
            ("end", end.into()),
            ("step", step.into()),
            ("dtype", dtype.into()),
        ],
        _ => {
            let stated = call.stated_shape(0)?;
            let ty = TensorType::new(stated, dtype);
            let given = [("end", 1.0.into()), ("dtype", dtype.into())];
            return call.apply_as("arange", &[], &given, &[ty]).map(all);
        }
    };
    call.apply("arange", &[], &given).map(all)
}

/// The identity where it is not trained, and what it keeps of the mask.
fn dropout(call: &mut Call<'_, '_>) -> Option<Results> {
    let p = call
        .attributes
        .float("ratio")
        .or_else(|| call.known_number(1))
        .unwrap_or(0.5);
    let input = call.tensor(0)?;
    let trained = call.known_integer(2).is_some_and(|flag| flag != 0);
    let active = trained || call.lowering.builder.graph().training;
    let result = match active && (0.0..=1.0).contains(&p) {
        true => call.first("dropout", &[input], &[("p", p.into())])?,
        false => call.first("identity", &[input], &[])?,
    };
    let mut results = one(result);
    if call.wants(1) {
        let dtype = match call.version {
            ..10 => call.type_of(input).dtype,
            _ => Dtype::Bool,
        };
        let mask = call.first("ones_like", &[input], &[("dtype", dtype.into())])?;
        results.push(Output::Tensor(mask));
    }
    Some(results)
}

fn eye_like(call: &mut Call<'_, '_>) -> Option<Results> {
    let ty = call.ty(0)?.clone();
    let &[rows, columns] = ty.shape.sizes() else {
        return None;
    };
    let dtype = named(call, "dtype").unwrap_or(ty.dtype);
    let size = |size: u64| i64::try_from(size).ok();
    let given = [
        ("n", size(rows)?.into()),
        ("m", size(columns)?.into()),
        ("dtype", dtype.into()),
    ];
    call.apply("eye", &[], &given).map(all)
}

/// The shape and element type of a random tensor: those of a like one, or those given.
fn random_type(call: &Call<'_, '_>) -> Option<(Shape, Dtype)> {
    let like = call.ty(0).cloned();
    let target = match call.attributes.integers("shape") {
        Some(sizes) => shape(sizes)?,
        None => like.as_ref()?.shape.clone(),
    };
    let dtype = named(call, "dtype")
        .or(like.map(|like| like.dtype))
        .unwrap_or_default();
    Some((target, dtype))
}

/// Random numbers, scaled and moved.
fn random(call: &mut Call<'_, '_>, op: &str, scale: f64, offset: f64) -> Option<Results> {
    let (target, dtype) = random_type(call)?;
    let given = [("size", sizes_of(&target).into()), ("dtype", dtype.into())];
    let mut drawn = call.first(op, &[], &given)?;
    for (op, value, neutral) in [("mul", scale, 1.0), ("add", offset, 0.0)] {
        if value != neutral {
            let value = call.lowering.builder.typed_constant(value, dtype);
            drawn = call.first(op, &[drawn, value], &[])?;
        }
    }
    Some(one(drawn))
}

fn random_normal(call: &mut Call<'_, '_>) -> Option<Results> {
    let scale = call.attributes.float("scale").unwrap_or(1.0);
    let mean = call.attributes.float("mean").unwrap_or(0.0);
    random(call, "randn", scale, mean)
}

fn random_uniform(call: &mut Call<'_, '_>) -> Option<Results> {
    let low = call.attributes.float("low").unwrap_or(0.0);
    let high = call.attributes.float("high").unwrap_or(1.0);
    random(call, "rand", high - low, low)
}

fn bernoulli(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let drawn = call.first("bernoulli", &[input], &[])?;
    let to = named(call, "dtype").unwrap_or(call.type_of(input).dtype);
    call.cast(drawn, to).map(one)
}

/// Draws of classes by their logarithms of probabilities.
fn multinomial(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let &[batch, classes] = call.shape_of(input).sizes() else {
        return None;
    };
    let samples = call.attributes.integer("sample_size").unwrap_or(1);
    let dtype = named(call, "dtype").unwrap_or(Dtype::Int32);
    let sizes = vec![i64::try_from(batch).ok()?, samples];
    shape(&sizes)?;
    let _: TensorId = call.first("softmax", &[input], &[("dim", 1.into())])?;
    let given = [
        ("high", i64::try_from(classes).ok()?.into()),
        ("size", sizes.into()),
        ("dtype", dtype.into()),
    ];
    call.apply("randint", &[], &given).map(all)
}
