//! What the rules about labels share: the losses over classes, and where their labels come from.

use crate::graph::{NodeId, TensorKind};
use crate::rules::Context;
use crate::source::Span;
use crate::spec::setting::Range;
use crate::spec::tensors::TensorDefinition;

/// A loss that takes the numbers of classes as its target.
#[derive(Debug, Clone, Copy)]
pub struct ClassLoss<'a> {
    /// The call.
    pub node: NodeId,
    /// How many classes the logits have.
    pub classes: u64,
    /// The target that does not count.
    pub ignored: i64,
    /// The input that the target is, but for its shape and type.
    pub labels: Option<&'a TensorDefinition>,
    /// Whether the targets are numbers of classes and not probabilities.
    pub by_number: bool,
}

impl<'a> ClassLoss<'a> {
    /// The losses over classes of a model.
    pub fn all(context: &'a Context<'a>) -> impl Iterator<Item = ClassLoss<'a>> {
        let graph = context.graph;
        let calls = context
            .facts
            .index()
            .calls_of(&["cross_entropy", "nll_loss"]);
        calls.filter_map(move |id| {
            let node = graph.node(id);
            let logits = &graph.ty(*node.arguments.first()?).shape;
            let target = *node.arguments.get(1)?;
            let by_number = !graph.ty(target).dtype.is_float();
            // Of numbers there is one for all classes, whichever axis these lie on.
            let classes = match by_number {
                true => logits
                    .elements()
                    .checked_div(graph.ty(target).shape.elements())?,
                false => logits.size(if logits.rank() >= 2 { 1 } else { 0 })?,
            };
            let source = context.facts.idioms().content(target);
            let labels = match graph.tensor(source).kind {
                TensorKind::Input(number) => {
                    let (name, _) = graph.inputs.get(number as usize)?;
                    context.spec.input(name)
                }
                _ => None,
            };
            let ignored = graph.with_call(node, |call| call.integer("ignore_index"));
            Some(ClassLoss {
                node: id,
                classes,
                ignored: ignored.unwrap_or(-100),
                labels,
                by_number,
            })
        })
    }

    /// The range of the labels and where it is declared: with the input, else in `[data]`.
    pub fn range(&self, context: &Context<'_>) -> Option<(Range, Option<Span>)> {
        let labels = self.labels?;
        match labels.range {
            Some(range) => Some((range, labels.range_span)),
            None => {
                let field = &context.run.data.labels;
                Some((field.get()?, field.span))
            }
        }
    }
}
