//! The timeline against a small autograd engine that really counts references.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::facts::Facts;
use crate::facts::fixture::lowered;
use crate::facts::memory::MemoryKind;

/// The peak of a spec.
fn peak(text: &str) -> Peak {
    let (spec, model) = lowered(text);
    Facts::new(&spec, &model).peak().clone()
}

/// The sum of what lives, and its maximum.
#[derive(Default)]
struct Counter {
    now: Cell<u64>,
    most: Cell<u64>,
}

/// A tensor's storage: counts itself as long as something holds it.
struct Buffer {
    bytes: u64,
    counter: Rc<Counter>,
}

impl Buffer {
    fn new(bytes: u64, counter: &Rc<Counter>) -> Rc<Buffer> {
        counter.now.set(counter.now.get() + bytes);
        counter.most.set(counter.most.get().max(counter.now.get()));
        Rc::new(Buffer {
            bytes,
            counter: Rc::clone(counter),
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.counter.now.set(self.counter.now.get() - self.bytes);
    }
}

/// A call of the random models: its form and the tensors that it reads, 0 being the first.
#[derive(Debug, Clone)]
enum Form {
    Exp(usize),
    Relu(usize),
    Neg(usize),
    Add(usize, usize),
    Mul(usize, usize),
    View(usize),
    Detach(usize),
}

impl Form {
    fn reads(&self) -> Vec<usize> {
        match *self {
            Form::Add(a, b) | Form::Mul(a, b) => vec![a, b],
            Form::Exp(a) | Form::Relu(a) | Form::Neg(a) | Form::View(a) | Form::Detach(a) => {
                vec![a]
            }
        }
    }

    fn formula(&self) -> String {
        match self {
            Form::Exp(a) => format!("exp(t{a})"),
            Form::Relu(a) => format!("relu(t{a})"),
            Form::Neg(a) => format!("-t{a}"),
            Form::Add(a, b) => format!("t{a} + t{b}"),
            Form::Mul(a, b) => format!("t{a} * t{b}"),
            Form::View(a) => format!("t{a}.reshape([4, 16])"),
            Form::Detach(a) => format!("t{a}.detach()"),
        }
    }
}

/// Bytes of every tensor of the random models.
const BYTES: u64 = 4 * 64;

/// Runs forward and backward passes with real reference counts. Tensor 0 is a product of the input
/// and a parameter, so that a gradient flows from there on; the last tensor is summed to the loss.
/// A device adds gradients in place.
fn engine(forms: &[Form], in_place: bool) -> u64 {
    let counter = Rc::new(Counter::default());
    let count = forms.len();
    // Only what the loss depends on runs.
    let mut live = vec![false; count + 1];
    live[count] = true;
    for at in (0..count).rev() {
        if live[at + 1] {
            forms[at].reads().iter().for_each(|&read| live[read] = true);
        }
    }
    let mut last = vec![0; count + 1];
    for (at, form) in forms.iter().enumerate().filter(|(at, _)| live[at + 1]) {
        form.reads().iter().for_each(|&read| last[read] = at + 1);
    }
    // A node that the loss cannot hand a gradient goes with its tensor.
    let mut reached = vec![false; count + 1];
    reached[count] = true;
    for at in (0..count).rev() {
        if reached[at + 1] && !matches!(forms[at], Form::Detach(_)) {
            forms[at]
                .reads()
                .iter()
                .for_each(|&read| reached[read] = true);
        }
    }
    let parameter = Buffer::new(BYTES, &counter);
    let input = Buffer::new(BYTES, &counter);
    // Tensors, what each node keeps, whether a gradient flows.
    let mut tensors: Vec<Option<Rc<Buffer>>> = vec![None; count + 1];
    let mut kept: Vec<Vec<Rc<Buffer>>> = vec![Vec::new(); count + 2];
    let mut flows = vec![false; count + 1];
    tensors[0] = Some(Buffer::new(BYTES, &counter));
    flows[0] = true;
    for (at, form) in forms.iter().enumerate().filter(|(at, _)| live[at + 1]) {
        let reads = form.reads();
        let operands: Vec<Rc<Buffer>> =
            reads.iter().map(|&r| tensors[r].clone().unwrap()).collect();
        let flow = !matches!(form, Form::Detach(_)) && reads.iter().any(|&read| flows[read]);
        let made = match form {
            Form::View(_) | Form::Detach(_) => Rc::clone(&operands[0]),
            _ => Buffer::new(BYTES, &counter),
        };
        if flow {
            match form {
                Form::Exp(_) | Form::Relu(_) => kept[at].push(Rc::clone(&made)),
                Form::Mul(a, b) => {
                    if flows[*b] {
                        kept[at].push(Rc::clone(&operands[0]));
                    }
                    if flows[*a] {
                        kept[at].push(Rc::clone(&operands[1]));
                    }
                }
                _ => {}
            }
        }
        flows[at + 1] = flow;
        if !reached[at + 1] {
            kept[at].clear();
        }
        tensors[at + 1] = Some(made);
        drop(operands);
        for read in reads {
            if last[read] == at + 1 {
                tensors[read] = None;
            }
        }
    }
    let loss = Buffer::new(4, &counter);
    tensors.clear();
    if flows[count] {
        let seed = Buffer::new(4, &counter);
        // The sum's gradient is shown repeatedly, and lies in the seed.
        let mut gradients: Vec<Option<Rc<Buffer>>> = vec![None; count + 1];
        gradients[count] = Some(Rc::clone(&seed));
        for (at, form) in forms.iter().enumerate().rev() {
            let Some(handed) = gradients[at + 1].take() else {
                continue;
            };
            let made: Vec<(usize, Rc<Buffer>)> = form
                .reads()
                .into_iter()
                .filter(|&read| flows[read])
                .map(|read| match form {
                    Form::Add(..) | Form::View(_) => (read, Rc::clone(&handed)),
                    _ => (read, Buffer::new(BYTES, &counter)),
                })
                .collect();
            drop(handed);
            kept[at].clear();
            for (read, new) in made {
                let old = gradients[read].take();
                gradients[read] = Some(match old {
                    None => new,
                    Some(old) if in_place && Rc::strong_count(&old) == 1 => old,
                    Some(_) => Buffer::new(BYTES, &counter),
                });
            }
        }
        // Of the product: the parameter's gradient.
        let handed = gradients[0].take();
        if handed.is_some() {
            let _gradient = Buffer::new(BYTES, &counter);
        }
    }
    drop((parameter, input, loss));
    counter.most.get()
}

fn forms() -> impl Strategy<Value = Vec<Form>> {
    prop::collection::vec((0..7usize, 0..1000usize, 0..1000usize), 1..14).prop_map(|drawn| {
        let of = |at: usize, (form, a, b): (usize, usize, usize)| {
            // Mostly the newest tensors, so that chains become long.
            let (a, b) = (at - a % (at.min(3) + 1), b % (at + 1));
            match form {
                0 => Form::Exp(a),
                1 => Form::Relu(a),
                2 => Form::Neg(a),
                3 => Form::Add(a, b),
                4 => Form::Mul(a, b),
                5 => Form::View(a),
                _ => Form::Detach(a),
            }
        };
        drawn
            .into_iter()
            .enumerate()
            .map(|(at, one)| of(at, one))
            .collect()
    })
}

fn text(forms: &[Form]) -> String {
    let mut text = String::from(
        "spec = 1\n[inputs]\nx = [4, 16]\n[params]\np = [4, 16]\n[[layers]]\nname = \"t0\"\n\
         formula = \"x * p\"\n",
    );
    for (at, form) in forms.iter().enumerate() {
        text += &format!(
            "[[layers]]\nname = \"t{}\"\nformula = \"{}\"\n",
            at + 1,
            form.formula()
        );
    }
    text += &format!(
        "[[layers]]\nname = \"loss\"\nformula = \"sum(t{})\"\n[train]\noptimizer = \"sgd\"\n\
         precision = \"float32\"\n",
        forms.len()
    );
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Guards lives of tensors, what nodes keep, fan-in of gradients and shared storages.
    #[test]
    fn random_graphs_peak_where_an_engine_does(forms in forms()) {
        let text = text(&forms);
        prop_assert_eq!(peak(&text).bytes.0, engine(&forms, false), "{}", text);
        let text = text + "[cluster]\ndevice = \"a100-80gb-sxm\"\n";
        prop_assert_eq!(peak(&text).bytes.0, engine(&forms, true), "{}", text);
    }
}

/// Guards the balance of a step: nothing is freed that does not live, and what lives at the end was
/// there before.
#[test]
fn everything_that_is_allocated_goes() {
    let layers = "[[layers]]\nname = \"a\"\nop = \"linear\"\nout_features = 64\n[[layers]]\nname = \"b\"\n\
                  op = \"gelu\"\n[[layers]]\nname = \"c\"\nop = \"dropout\"\n[[layers]]\nname = \"d\"\n\
                  formula = \"b + c.mean()\"\n[[layers]]\nname = \"loss\"\nformula = \"sum(d)\"\n";
    for run in [
        "optimizer = \"adamw\"",
        "optimizer = { name = \"adamw\", foreach = false }\nprecision = \"amp-bf16\"",
        "optimizer = { name = \"adam\", fused = true }\ncheckpoint = [\"b\", \"c\"]",
        "grad_accumulation = 4\noptimizer = { name = \"sgd\", momentum = 0.9 }",
        // What is recomputed makes the output of the model, which the caller holds.
        "optimizer = \"sgd\"\ncheckpoint = [\"loss\"]",
        "grad_accumulation = 2\noptimizer = \"sgd\"\ncheckpoint = [\"d\", \"loss\"]",
    ] {
        let text = format!("spec = 1\n[inputs]\nx = [8, 64]\n{layers}[train]\n{run}\n");
        let (spec, model) = lowered(&text);
        let facts = Facts::new(&spec, &model);
        let events = super::run(facts.timeline(), Events::default()).0;
        let mut living = std::collections::BTreeMap::new();
        for event in &events {
            let block = event.block;
            if event.allocates {
                assert!(
                    living.insert(block.number, block).is_none(),
                    "{run}: {block:?}"
                );
            } else {
                assert!(living.remove(&block.number).is_some(), "{run}: {block:?}");
            }
        }
        for block in living.values() {
            assert_eq!(block.moment.phase, Phase::Start, "{run}: {block:?}");
        }
    }
}

const LINEAR: &str = "spec = 1\n[inputs]\nx = [8, 64]\n[[layers]]\nname = \"a\"\nop = \"linear\"\n\
     out_features = 64\nbias = false\n[[layers]]\nname = \"b\"\nop = \"linear\"\nout_features = 64\nbias = false\n\
     [[layers]]\nname = \"loss\"\nformula = \"sum(b)\"\n[train]\nprecision = \"float32\"\n";

/// Guards the temporaries of the optimizer: two copies of one parameter and what is left of the
/// last one, one copy of all parameters, or none.
#[test]
fn an_optimizer_needs_what_its_implementation_makes() {
    let parameter = 4 * 64 * 64;
    for (optimizer, expected) in [
        ("{ name = \"adamw\", foreach = false }", 3 * parameter),
        ("{ name = \"adamw\" }", 2 * parameter),
        ("{ name = \"adamw\", fused = true }", 0),
        ("{ name = \"sgd\", momentum = 0.9 }", 0),
        (
            "{ name = \"sgd\", weight_decay = 0.1, foreach = false }",
            parameter,
        ),
    ] {
        let peak = peak(&format!("{LINEAR}optimizer = {optimizer}\n"));
        let of = |phase| {
            peak.phases
                .iter()
                .find(|(found, _)| *found == phase)
                .map(|(_, b)| b.0)
        };
        let held: u64 = [
            MemoryKind::Parameters,
            MemoryKind::Optimizer,
            MemoryKind::Inputs,
        ]
        .iter()
        .map(|&kind| peak.part(kind).0)
        .sum();
        // The loss is there to the end.
        let loss = 4;
        let found = of(Phase::Optimizer).map_or(0, |bytes| bytes - held - loss - 2 * parameter);
        assert_eq!(found, expected, "{optimizer}");
    }
}

/// Guards what loss scaling keeps, the scale and its counter, and makes: the scaled loss, the gradient of
/// the loss, and for the update the inverse of the scale and the flag of overflows.
#[test]
fn loss_scaling_has_its_numbers() {
    let of = |scale: &str| {
        let precision = format!("precision = {{ preset = \"float32\", loss_scale = {scale} }}");
        let text = LINEAR.replace("precision = \"float32\"", &precision);
        peak(&format!(
            "{text}optimizer = {{ name = \"adamw\", foreach = false }}\n"
        ))
    };
    let (plain, scaled) = (of("\"none\""), of("\"dynamic\""));
    let kept = |peak: &Peak| peak.part(MemoryKind::Optimizer).0;
    assert_eq!(kept(&scaled) - kept(&plain), 8);
    assert_eq!(kept(&of("1024")), kept(&plain));
    let optimizer = |peak: &Peak| {
        let found = peak
            .phases
            .iter()
            .find(|(phase, _)| *phase == Phase::Optimizer);
        found.map_or(0, |(_, bytes)| bytes.0)
    };
    // What is taken in float64 has gone by then.
    assert_eq!(optimizer(&scaled) - optimizer(&plain), 8 + 2 * 4);
}

/// Guards what is offloaded: it is not on the device, and the rest is as it was.
#[test]
fn what_is_offloaded_is_not_there() {
    let parameter = 4 * 64 * 64;
    let of = |offload: &str| {
        peak(&format!(
            "{LINEAR}optimizer = \"adamw\"\noffload = {offload}\n"
        ))
    };
    let (all, optimizer) = (of("[]"), of("[\"optimizer\"]"));
    assert_eq!(all.part(MemoryKind::Optimizer).0, 2 * 2 * parameter);
    assert_eq!(optimizer.part(MemoryKind::Optimizer).0, 0);
    assert_eq!(
        optimizer.part(MemoryKind::Gradients).0,
        2 * parameter,
        "gradients wait for the host's step"
    );
    // The gradient of one weight at a time, in the backward pass.
    let gradients = of("[\"optimizer\", \"gradients\"]");
    assert_eq!(gradients.part(MemoryKind::Gradients).0, parameter);
    // Kept tensors leave, and come back for their call alone.
    let kept = of("[\"activations\", \"optimizer\", \"gradients\"]");
    let forward = |peak: &Peak| {
        let found = peak
            .phases
            .iter()
            .find(|(phase, _)| *phase == Phase::Forward);
        found.map_or(0, |(_, bytes)| bytes.0)
    };
    assert!(forward(&kept) < forward(&gradients), "{kept:?}");
}

/// Guards accumulation: the gradients of earlier micro-batches are there throughout, and the
/// largest new one comes on top.
#[test]
fn accumulated_gradients_stay() {
    let parameter = 4 * 64 * 64;
    let once = peak(&format!("{LINEAR}optimizer = {{ name = \"sgd\" }}\n"));
    let often = peak(&format!(
        "{LINEAR}grad_accumulation = 8\noptimizer = {{ name = \"sgd\" }}\n"
    ));
    assert_eq!(once.part(MemoryKind::Gradients).0, 2 * parameter);
    assert_eq!(often.part(MemoryKind::Gradients).0, 3 * parameter);
}

/// Guards against recursion and against time that grows with the square of the depth.
#[test]
fn a_deep_chain_takes_linear_time() {
    let text = "spec = 1\n[inputs]\nx = [8]\n[params]\np = [8]\n[[layers]]\nformula = \"x * p\"\n\
                [blocks.b]\ninputs = [\"x\"]\nlayers = [{ op = \"relu\" }]\n[[layers]]\nop = \"b\"\n\
                repeat = 20000\n[[layers]]\nformula = \"sum(prev)\"\n[train]\noptimizer = \"sgd\"\n";
    let text = text.replace("[[layers]]\nformula = \"sum(prev)\"\n", "");
    let peak = peak(&text);
    // Each output is kept; then the gradients of the last and the last but one.
    assert_eq!(peak.part(MemoryKind::Activations).0, 20_000 * 32);
}
