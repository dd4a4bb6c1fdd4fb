//! The families of kernels and the look-up by the name of an op.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::complex::Complex;
use super::evaluate::Given;
use super::{KernelError, Tape, Var};
use crate::ops::Call;

/// The tensors that a kernel makes.
pub type Results = SmallVec<[Var; 1]>;

/// What a kernel does: computes a call's outputs on a tape from its operands. Element types are not
/// its business: the tape rounds to the type of computation, and who runs it rounds the outputs to
/// the types that they are stored in.
pub type Run = fn(&mut Tape, &Call, &Given) -> Result<Results, KernelError>;

/// The kernel of an op.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// The name of the op.
    pub op: &'static str,
    /// What it does.
    pub run: Run,
    /// How it takes complex numbers.
    pub complex: Complex,
    /// Why its products on the way back are not those of PyTorch, where they are not: it goes back
    /// in other steps.
    pub other_steps: Option<&'static str>,
    /// Which function it computes, where the op stands for a class of functions of which any may be
    /// meant.
    pub member: Option<&'static str>,
    /// Why there is none, where there is none.
    pub refuses: Option<&'static str>,
}

impl Kernel {
    /// The same kernel, which takes other steps than PyTorch on the way back, from what PyTorch
    /// keeps, too.
    pub const fn by_other_steps(mut self, why: &'static str) -> Kernel {
        self.other_steps = Some(why);
        self
    }

    /// The same kernel, which computes one member of the class of functions that the op stands for.
    pub const fn as_member(mut self, which: &'static str) -> Kernel {
        self.member = Some(which);
        self
    }

    /// The same kernel, which takes complex numbers so.
    pub const fn on_complex(mut self, how: Complex) -> Kernel {
        self.complex = how;
        self
    }
}

/// The entry of an op that is not computed here, and why.
pub const fn refused(op: &'static str, why: &'static str) -> Kernel {
    Kernel {
        refuses: Some(why),
        ..kernel(op, |_, _, _| {
            Err(KernelError::new("it is not computed here"))
        })
    }
}

/// One output.
pub fn one(var: Var) -> Result<Results, KernelError> {
    Ok(smallvec::smallvec![var])
}

/// An entry of a family's table.
pub const fn kernel(op: &'static str, run: Run) -> Kernel {
    Kernel {
        op,
        run,
        complex: Complex::Refused,
        other_steps: None,
        member: None,
        refuses: None,
    }
}

/// Every family's table, by the name of its file.
pub static FAMILIES: &[(&str, &[Kernel])] = &[
    ("activation", super::activation::KERNELS),
    ("arithmetic", super::arithmetic::KERNELS),
    ("attention", super::attention::KERNELS),
    ("batch_norm", super::batch_norm::KERNELS),
    ("cell", super::cell::KERNELS),
    ("comparison", super::comparison::KERNELS),
    ("complex", super::complex::KERNELS),
    ("conv", super::conv::KERNELS),
    ("conversion", super::conversion::KERNELS),
    ("create", super::create::KERNELS),
    ("cross_entropy", super::cross_entropy::KERNELS),
    ("decomposition", super::decomposition::KERNELS),
    ("distance", super::distance::KERNELS),
    ("dropout", super::dropout::KERNELS),
    ("einsum", super::einsum::KERNELS),
    ("embedding", super::embedding::KERNELS),
    ("extreme", super::extreme::KERNELS),
    ("foreign", super::foreign::KERNELS),
    ("fourier", super::fourier::KERNELS),
    ("grouped", super::grouped::KERNELS),
    ("image", super::image::KERNELS),
    ("index", super::index::KERNELS),
    ("joining", super::joining::KERNELS),
    ("linalg", super::linalg::KERNELS),
    ("linear", super::linear::KERNELS),
    ("loss", super::loss::KERNELS),
    ("margin_loss", super::margin_loss::KERNELS),
    ("matmul", super::matmul::KERNELS),
    ("movement", super::movement::KERNELS),
    ("norm", super::norm::KERNELS),
    ("permute", super::permute::KERNELS),
    ("pool", super::pool::KERNELS),
    ("quantize", super::quantize::KERNELS),
    ("ranking", super::ranking::KERNELS),
    ("rectifier", super::rectifier::KERNELS),
    ("recurrent", super::recurrent::KERNELS),
    ("reduce", super::reduce::KERNELS),
    ("resize", super::resize::KERNELS),
    ("scan", super::scan::KERNELS),
    ("scatter", super::scatter::KERNELS),
    ("search", super::search::KERNELS),
    ("shape", super::shape::KERNELS),
    ("slicing", super::slicing::KERNELS),
    ("softmax", super::softmax::KERNELS),
    ("unary", super::unary::KERNELS),
    ("vision", super::vision::KERNELS),
];

/// The kernel of the op of that name. `O(1)`.
pub fn find(op: &str) -> Option<&'static Kernel> {
    static BY_NAME: OnceLock<FxHashMap<&'static str, &'static Kernel>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| {
        let all = FAMILIES.iter().flat_map(|(_, kernels)| kernels.iter());
        all.map(|kernel| (kernel.op, kernel)).collect()
    });
    by_name.get(op).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the registry: every op that is run has a kernel of its name, in the family of its
    /// name, and no kernel stands twice or for nothing. Composite ops are run as what they stand
    /// for.
    #[test]
    fn every_op_has_a_kernel() {
        let mut missing = Vec::new();
        for (family, ops) in crate::ops::FAMILIES {
            let of_family = FAMILIES.iter().find(|(name, _)| name == family);
            let kernels = of_family.map_or(&[][..], |(_, kernels)| kernels);
            for op in ops.iter().filter(|op| op.expand.is_none()) {
                let count = kernels.iter().filter(|kernel| kernel.op == op.name).count();
                if count != 1 {
                    missing.push(format!("{family}: {} has {count} kernels", op.name));
                }
            }
            for kernel in kernels {
                if !ops.iter().any(|op| op.name == kernel.op) {
                    missing.push(format!("{family}: {} is no op", kernel.op));
                }
            }
        }
        assert!(missing.is_empty(), "\n{}", missing.join("\n"));
    }

    /// Guards the tests of the families: each op that has a kernel stands in a case beside it, or in
    /// those of the families that are tested together.
    #[test]
    fn every_kernel_has_a_case() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kernels");
        let mut missing = Vec::new();
        for (family, kernels) in FAMILIES {
            let text = std::fs::read_to_string(format!("{root}/{family}.rs")).unwrap();
            let (_, tests) = text.split_once("#[cfg(test)]").unwrap_or_default();
            for kernel in kernels.iter().filter(|kernel| kernel.refuses.is_none()) {
                let op = kernel.op;
                let cases = [format!("\"{op}("), format!("\"{op}\"")];
                if !cases.iter().any(|case| tests.contains(case)) {
                    missing.push(format!("{family}: {op}"));
                }
            }
        }
        assert!(missing.is_empty(), "\n{}", missing.join("\n"));
    }

    /// Guards against entries that only refuse: each of them is known, and says why.
    #[test]
    fn what_is_refused_is_known() {
        let all = FAMILIES.iter().flat_map(|(_, kernels)| kernels.iter());
        let refused: Vec<&str> = all
            .filter(|kernel| kernel.refuses.is_some_and(|why| !why.is_empty()))
            .map(|kernel| kernel.op)
            .collect();
        assert_eq!(refused, ["opaque"]);
    }
}
