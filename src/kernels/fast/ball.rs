//! A ball in a volume, marked element by element: by its bounding box, and by open grids.

use std::ops::Range;

/// A volume, and a ball in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ball {
    sizes: [usize; 3],
    centre: [i64; 3],
    radius: i64,
}

/// Nothing lies farther from the first element, so that sums of three squares fit 64 bits.
const FARTHEST: i64 = 1 << 29;

impl Ball {
    /// A ball in a volume of that depth, height and width, about an element that may lie outside of
    /// it: what is no more than `radius` elements from there belongs to the ball. `None` if the
    /// radius is negative or a number exceeds 2²⁹.
    pub fn new(sizes: [usize; 3], centre: [i64; 3], radius: i64) -> Option<Ball> {
        let near = |place: i64| (-FARTHEST..=FARTHEST).contains(&place);
        let fits = sizes.iter().all(|&size| size <= FARTHEST as usize)
            && centre.into_iter().all(near)
            && (0..=FARTHEST).contains(&radius)
            && sizes
                .iter()
                .try_fold(1usize, |all, &size| all.checked_mul(size))
                .is_some();
        fits.then_some(Ball {
            sizes,
            centre,
            radius,
        })
    }

    /// Depth, height and width of the volume.
    pub fn sizes(&self) -> [usize; 3] {
        self.sizes
    }

    /// How many elements the volume has.
    pub fn elements(&self) -> usize {
        self.sizes.iter().product()
    }

    /// The square of the radius.
    pub fn limit(&self) -> i64 {
        self.radius * self.radius
    }

    /// The square of the distance from the middle, along an axis.
    pub fn square(&self, axis: usize, at: usize) -> i64 {
        let distance = at as i64 - self.centre[axis];
        distance * distance
    }

    /// The mask in row-major order, from the rows that meet the ball, each filled where it does: the
    /// rows of the bounding box and no more. Takes no memory but the mask, and time only for what is
    /// marked.
    pub fn bounding_box(&self) -> Vec<bool> {
        let mut mask = vec![false; self.elements()];
        let [_, height, width] = self.sizes;
        for z in self.within(0, self.limit()) {
            let left = self.limit() - self.square(0, z);
            for y in self.within(1, left) {
                let run = self.within(2, left - self.square(1, y));
                let row = (z * height + y) * width;
                mask[row + run.start..row + run.end].fill(true);
            }
        }
        mask
    }

    /// The places along an axis whose squared distance from the middle is no more than `left`, which
    /// is not negative.
    fn within(&self, axis: usize, left: i64) -> Range<usize> {
        let (centre, reach) = (self.centre[axis], left.isqrt());
        let size = self.sizes[axis] as i64;
        // Both ends lie between 0 and a size.
        let end = |place: i64| place.clamp(0, size) as usize;
        end(centre - reach)..end(centre + reach + 1)
    }

    /// The mask in row-major order, from one vector of squares for each axis, which broadcast: what
    /// `np.ogrid` comes to without the tensors in between.
    pub fn open_grids(&self) -> Vec<bool> {
        let along = |axis: usize| (0..self.sizes[axis]).map(move |at| self.square(axis, at));
        let row: Vec<i64> = along(2).collect();
        let mut mask = Vec::with_capacity(self.elements());
        for z in along(0) {
            for y in along(1) {
                let left = self.limit() - z - y;
                mask.extend(row.iter().map(|&x| x <= left));
            }
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Balls inside, across the border and outside, against the definition.
        #[test]
        fn masks_are_those_of_the_definition(
            sizes in prop::array::uniform3(0usize..12),
            centre in prop::array::uniform3(-15i64..30),
            radius in 0i64..25,
        ) {
            let ball = Ball::new(sizes, centre, radius).unwrap();
            let mut plain = Vec::new();
            for z in 0..sizes[0] {
                for y in 0..sizes[1] {
                    for x in 0..sizes[2] {
                        let far = [z, y, x].into_iter().zip(centre);
                        let square: i64 = far.map(|(at, centre)| (at as i64 - centre).pow(2)).sum();
                        plain.push(square <= radius * radius);
                    }
                }
            }
            prop_assert_eq!(&ball.bounding_box(), &plain);
            prop_assert_eq!(&ball.open_grids(), &plain);
        }
    }

    /// Guards numbers that would run over.
    #[test]
    fn far_away() {
        let far = FARTHEST;
        for (centre, radius, marked) in
            [(far, 5, 0), (-far, far, 0), (0, far, 8), (far / 2, far, 8)]
        {
            let ball = Ball::new([2; 3], [centre; 3], radius).unwrap();
            for mask in [ball.bounding_box(), ball.open_grids()] {
                let found = mask.iter().filter(|&&inside| inside).count();
                assert_eq!(found, marked, "{ball:?}");
            }
        }
        assert_eq!(Ball::new([2; 3], [far + 1, 0, 0], 1), None);
        assert_eq!(Ball::new([2; 3], [i64::MIN, 0, 0], 1), None);
        assert_eq!(Ball::new([2; 3], [0; 3], -1), None);
        assert_eq!(Ball::new([2; 3], [0; 3], i64::MAX), None);
        assert_eq!(Ball::new([1 << 29; 3], [0; 3], 1), None);
        assert_eq!(Ball::new([usize::MAX, 0, 0], [0; 3], 1), None);
    }
}
