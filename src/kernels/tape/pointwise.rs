//! Primitives that work element by element, with broadcasting.

use ndarray::{Axis, IxDyn, Zip};

use super::{Array, KernelError, Kind, Tape, Var};

/// The shape that two shapes broadcast to, as NumPy has it.
///
/// # Errors
/// Where they do not fit.
pub fn broadcast_sizes(a: &[usize], b: &[usize]) -> Result<Vec<usize>, KernelError> {
    let rank = a.len().max(b.len());
    let size = |sizes: &[usize], axis: usize| {
        (axis + sizes.len())
            .checked_sub(rank)
            .map_or(1, |at| sizes[at])
    };
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            (x, y) => Err(KernelError::new(format!(
                "{a:?} and {b:?} do not broadcast: {x} and {y} at axis {axis}"
            ))),
        })
        .collect()
}

/// An array in a wider shape.
pub fn spread(array: &Array, sizes: &[usize]) -> Array {
    match array.broadcast(IxDyn(sizes)) {
        Some(view) => view.to_owned(),
        // Callers have worked the shape out from this one.
        None => Array::from_elem(IxDyn(sizes), f64::NAN),
    }
}

/// The gradient of an operand that was broadcast: summed over what was repeated.
pub fn gather_broadcast(gradient: &Array, sizes: &[usize]) -> Array {
    let mut result = gradient.clone();
    while result.ndim() > sizes.len() {
        result = result.sum_axis(Axis(0));
    }
    for (axis, &size) in sizes.iter().enumerate() {
        if size == 1 && result.shape()[axis] != 1 {
            result = result.sum_axis(Axis(axis)).insert_axis(Axis(axis));
        }
    }
    result
}

impl Tape {
    /// `f` of each element. The derivative is a function of the element and of the result; where an
    /// op keeps only its result, it must use the result alone.
    pub fn map(
        &mut self,
        x: Var,
        f: impl Fn(f64) -> f64,
        derivative: impl Fn(f64, f64) -> f64 + 'static,
    ) -> Var {
        let value = self.value(x).mapv(f);
        self.count_many(Kind::Function, value.len());
        // The value's own number is only known once it is pushed; it is the next one.
        let y = self.next();
        self.push(value, &[x], move |back, gradient| {
            let mut result = gradient.clone();
            Zip::from(&mut result)
                .and(back.value(x))
                .and(back.value(y))
                .for_each(|g, &x, &y| *g *= derivative(x, y));
            back.count_many(Kind::Function, result.len());
            back.count_many(Kind::Multiply, result.len());
            back.give(x, result);
        })
    }

    /// `f` of each pair of elements, after broadcasting. The derivatives by the first and the second
    /// are functions of both and of the result. Each is asked for only if a gradient flows there.
    ///
    /// # Errors
    /// Where the shapes do not broadcast.
    pub fn zip(
        &mut self,
        kind: Kind,
        x: Var,
        y: Var,
        f: impl Fn(f64, f64) -> f64,
        by_first: impl Fn(f64, f64, f64) -> f64 + 'static,
        by_second: impl Fn(f64, f64, f64) -> f64 + 'static,
    ) -> Result<Var, KernelError> {
        let sizes = broadcast_sizes(self.value(x).shape(), self.value(y).shape())?;
        let mut value = spread(self.value(x), &sizes);
        match self.value(y).broadcast(IxDyn(&sizes)) {
            Some(second) => value.zip_mut_with(&second, |a, &b| *a = f(*a, b)),
            None => return Err(KernelError::new("operands do not broadcast")),
        }
        self.count_many(kind, value.len());
        let result = self.next();
        Ok(self.push(value, &[x, y], move |back, gradient| {
            let sizes = gradient.shape();
            let derivative = |of: &dyn Fn(f64, f64, f64) -> f64| {
                let (first, second) = (spread(back.value(x), sizes), back.value(y));
                let second = spread(second, sizes);
                let mut product = gradient.clone();
                Zip::from(&mut product)
                    .and(&first)
                    .and(&second)
                    .and(back.value(result))
                    .for_each(|g, &a, &b, &c| *g *= of(a, b, c));
                product
            };
            let first = back.needs(x).then(|| derivative(&by_first));
            let second = back.needs(y).then(|| derivative(&by_second));
            for (var, product) in [(x, first), (y, second)] {
                if let Some(product) = product {
                    if kind != Kind::Add {
                        back.count_many(Kind::Multiply, product.len());
                    }
                    let gradient = gather_broadcast(&product, back.value(var).shape());
                    back.give(var, gradient);
                }
            }
        }))
    }

    /// Sum.
    ///
    /// # Errors
    /// Where the shapes do not broadcast.
    pub fn add(&mut self, x: Var, y: Var) -> Result<Var, KernelError> {
        self.zip(Kind::Add, x, y, |a, b| a + b, |_, _, _| 1.0, |_, _, _| 1.0)
    }

    /// Difference.
    ///
    /// # Errors
    /// Where the shapes do not broadcast.
    pub fn subtract(&mut self, x: Var, y: Var) -> Result<Var, KernelError> {
        self.zip(Kind::Add, x, y, |a, b| a - b, |_, _, _| 1.0, |_, _, _| -1.0)
    }

    /// Product, element by element.
    ///
    /// # Errors
    /// Where the shapes do not broadcast.
    pub fn multiply(&mut self, x: Var, y: Var) -> Result<Var, KernelError> {
        self.zip(Kind::Multiply, x, y, |a, b| a * b, |_, b, _| b, |a, _, _| a)
    }

    /// Quotient, element by element.
    ///
    /// # Errors
    /// Where the shapes do not broadcast.
    pub fn divide(&mut self, x: Var, y: Var) -> Result<Var, KernelError> {
        self.zip(
            Kind::Multiply,
            x,
            y,
            |a, b| a / b,
            |_, b, _| 1.0 / b,
            |a, b, _| -a / (b * b),
        )
    }

    /// `x * factor + offset`, with a derivative that needs no value.
    pub fn affine(&mut self, x: Var, factor: f64, offset: f64) -> Var {
        let value = self.value(x).mapv(|a| a * factor + offset);
        if factor != 1.0 {
            self.count_many(Kind::Multiply, value.len());
        }
        if offset != 0.0 {
            self.count_many(Kind::Add, value.len());
        }
        self.push(value, &[x], move |back, gradient| {
            if factor != 1.0 {
                back.count_many(Kind::Multiply, gradient.len());
            }
            back.give(x, gradient.mapv(|g| g * factor));
        })
    }

    /// `x * factor`.
    pub fn scale(&mut self, x: Var, factor: f64) -> Var {
        self.affine(x, factor, 0.0)
    }

    /// `x + offset`.
    pub fn shift(&mut self, x: Var, offset: f64) -> Var {
        self.affine(x, 1.0, offset)
    }

    /// Exponential; its derivative is its result.
    pub fn exp(&mut self, x: Var) -> Var {
        self.map(x, f64::exp, |_, y| y)
    }

    /// Natural logarithm.
    pub fn ln(&mut self, x: Var) -> Var {
        self.map(x, f64::ln, |x, _| 1.0 / x)
    }

    /// Square root; its derivative follows from its result.
    pub fn sqrt(&mut self, x: Var) -> Var {
        self.map(x, f64::sqrt, |_, y| 0.5 / y)
    }

    /// Square.
    pub fn square(&mut self, x: Var) -> Var {
        self.map(x, |x| x * x, |x, _| 2.0 * x)
    }

    /// Hyperbolic tangent; its derivative follows from its result.
    pub fn tanh(&mut self, x: Var) -> Var {
        self.map(x, f64::tanh, |_, y| 1.0 - y * y)
    }

    /// Logistic function; its derivative follows from its result.
    pub fn sigmoid(&mut self, x: Var) -> Var {
        self.map(x, |x| 1.0 / (1.0 + (-x).exp()), |_, y| y * (1.0 - y))
    }

    /// The first where the condition holds (is not 0), else the second; all three broadcast. NaN
    /// for a condition that is unknown.
    ///
    /// # Errors
    /// Where the shapes do not broadcast.
    pub fn select(&mut self, condition: Var, x: Var, y: Var) -> Result<Var, KernelError> {
        let sizes = broadcast_sizes(self.value(x).shape(), self.value(y).shape())?;
        let sizes = broadcast_sizes(&sizes, self.value(condition).shape())?;
        let mut value = spread(self.value(condition), &sizes);
        let (first, second) = (spread(self.value(x), &sizes), spread(self.value(y), &sizes));
        Zip::from(&mut value)
            .and(&first)
            .and(&second)
            .for_each(|c, &a, &b| *c = chosen(*c, a, b));
        Ok(
            self.push_moved(value, &[condition, x, y], move |back, gradient| {
                let condition = spread(back.value(condition), gradient.shape());
                for (var, first) in [(x, true), (y, false)] {
                    if !back.needs(var) {
                        continue;
                    }
                    let mut part = gradient.clone();
                    Zip::from(&mut part).and(&condition).for_each(|g, &c| {
                        *g = if first {
                            chosen(c, *g, 0.0)
                        } else {
                            chosen(c, 0.0, *g)
                        };
                    });
                    let part = gather_broadcast(&part, back.value(var).shape());
                    back.give(var, part);
                }
            }),
        )
    }

    /// The number that the next value will have.
    pub fn next(&self) -> Var {
        Var::at(self.len())
    }
}

fn chosen(condition: f64, first: f64, second: f64) -> f64 {
    if condition.is_nan() {
        f64::NAN
    } else if condition != 0.0 {
        first
    } else {
        second
    }
}
