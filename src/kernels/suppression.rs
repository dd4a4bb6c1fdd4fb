//! Which boxes no better one overlaps: `nms`, as torchvision and ONNX have it.

use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// A box by its corners, the lesser of each axis first.
type Corners = [f64; 4];

/// The corners of a box that is written by two of them, or by its centre and its sizes.
fn corners(numbers: &[f64], centred: bool) -> Corners {
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| numbers.get(at).copied().unwrap_or(f64::NAN));
    match centred {
        true => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
        false => [a.min(c), b.min(d), a.max(c), b.max(d)],
    }
}

fn area(corners: Corners) -> f64 {
    (corners[2] - corners[0]) * (corners[3] - corners[1])
}

/// The intersection of two boxes as a share of their union.
fn overlap(a: Corners, b: Corners) -> f64 {
    let side = |at: usize| (a[at + 2].min(b[at + 2]) - a[at].max(b[at])).max(0.0);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both)
}

/// The boxes of one list that are kept, by falling score: each box that overlaps no box kept
/// before it by more than `most`.
fn kept(boxes: &[Corners], scores: &[f64], (most, least, count): (f64, f64, usize)) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).filter(|&at| scores[at] > least).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut kept: Vec<usize> = Vec::new();
    for at in order {
        if kept.len() == count {
            break;
        }
        if kept
            .iter()
            .all(|&better| overlap(boxes[better], boxes[at]) <= most)
        {
            kept.push(at);
        }
    }
    kept
}

/// `nms(boxes, scores)`: the numbers of boxes `[boxes, 4]` that are kept by their scores
/// `[boxes]`; of boxes `[batch, boxes, 4]` and scores `[batch, classes, boxes]`, which of the batch,
/// class and box, as ONNX's `NonMaxSuppression` has it.
///
/// How many they are is known only now, and the call states how many fit: what is left over repeats
/// the last one, so that whoever gathers by them finds a box.
///
/// # Errors
/// Where the overlap is not stated from which on a box is left out, or shapes do not fit.
pub(super) fn suppressed(
    tape: &mut Tape,
    call: &Call,
    boxes: Var,
    scores: Var,
) -> Result<Var, KernelError> {
    let Some(most) = call.float("iou_threshold") else {
        return Err(KernelError::new(
            "from which overlap on a box is left out is not stated: it has no `iou_threshold`",
        ));
    };
    let least = call.float("score_threshold").unwrap_or(f64::NEG_INFINITY);
    let count = match call.attribute("max_output_boxes_per_class") {
        Some(_) => call.size("max_output_boxes_per_class")? as usize,
        None => usize::MAX,
    };
    let centred = call.boolean("center_point_box");
    let (of_boxes, of_scores) = (tape.sizes(boxes), tape.sizes(scores));
    let (batch, classes, each) = match (of_boxes.as_slice(), of_scores.as_slice()) {
        (&[boxes, 4], &[scores]) if boxes == scores => (1, 1, boxes),
        (&[batch, boxes, 4], &[lists, classes, scores]) if batch == lists && boxes == scores => {
            (batch, classes, boxes)
        }
        _ => {
            return Err(KernelError::new(format!(
                "boxes of {of_boxes:?} and scores of {of_scores:?} do not fit"
            )));
        }
    };
    let made = call.output().map(super::held_sizes).unwrap_or_default();
    Ok(tape.derive(&[boxes, scores], |values| {
        let numbers: Vec<f64> = values[0].iter().copied().collect();
        let all: Vec<Corners> = numbers.chunks(4).map(|one| corners(one, centred)).collect();
        let scores: Vec<f64> = values[1].iter().copied().collect();
        let mut rows: Vec<[f64; 3]> = Vec::new();
        for list in 0..batch {
            let boxes = &all[list * each..][..each];
            for class in 0..classes {
                let scores = &scores[(list * classes + class) * each..][..each];
                let kept = kept(boxes, scores, (most, least, count));
                rows.extend(kept.iter().map(|&at| [list, class, at].map(|n| n as f64)));
            }
        }
        let width = if of_boxes.len() == 2 { 1 } else { 3 };
        let last = rows.last().copied().unwrap_or_default();
        let places = made.iter().product::<usize>() / width;
        rows.resize(places, last);
        let flat = rows.iter().flat_map(|row| &row[3 - width..]).copied();
        Array::from_shape_vec(made.clone(), flat.collect())
            .unwrap_or_else(|_| Array::from_elem(made, f64::NAN))
    }))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::kernels::{Setting, forward};
    use crate::ops::cases;

    fn found(text: &str, boxes: &[f64], scores: &[f64]) -> Vec<f64> {
        cases::with(text, |call| {
            let array = |position: usize, numbers: &[f64]| {
                let sizes = super::super::held_sizes(call.ty(position).unwrap());
                Some(Rc::new(
                    Array::from_shape_vec(sizes, numbers.to_vec()).unwrap(),
                ))
            };
            let operands = [array(0, boxes), array(1, scores)];
            let ran = forward(call, &operands, Setting::exact(1)).unwrap();
            ran.outputs[0].iter().copied().collect()
        })
        .unwrap()
    }

    /// Guards the order, the threshold and what is left over. Boxes 0 and 1 overlap by 81/119.
    #[test]
    fn better_boxes_leave_out_what_they_overlap() {
        let boxes = [
            0.0, 0.0, 10.0, 10.0, 1.0, 1.0, 11.0, 11.0, 20.0, 20.0, 30.0, 30.0,
        ];
        let scores = [0.5, 0.9, 0.7];
        let loose = found("nms([3, 4], [3], iou_threshold=0.7)", &boxes, &scores);
        assert_eq!(loose, [1.0, 2.0, 0.0]);
        let strict = found("nms([3, 4], [3], iou_threshold=0.5)", &boxes, &scores);
        assert_eq!(strict, [1.0, 2.0, 2.0]);
        let few = found(
            "nms([3, 4], [3], iou_threshold=0.7, score_threshold=0.6, max_output_boxes_per_class=1)",
            &boxes,
            &scores,
        );
        assert_eq!(few, [1.0, 1.0, 1.0]);
    }

    /// Guards boxes by centre and size.
    #[test]
    fn a_centre_and_sizes_are_a_box() {
        assert_eq!(corners(&[5.0, 6.0, 4.0, 2.0], true), [3.0, 5.0, 7.0, 7.0]);
        assert_eq!(corners(&[7.0, 7.0, 3.0, 5.0], false), [3.0, 5.0, 7.0, 7.0]);
    }
}
