//! What comes of verifying a model: claims, how often each held, and where one did not.

use serde::Serialize;

use super::experiment::Experiment;
use super::scale::Scaled;
use super::{Claim, Outcome, Verdict};

/// How often one claim held, and where it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often it was confirmed.
    pub confirmed: usize,
    /// Where it was contradicted: the place, what was claimed, what was found.
    pub contradicted: Vec<Contradiction>,
    /// What could not be checked: the reason, and at how many places.
    pub unchecked: Vec<(String, usize)>,
}

/// A claim that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contradiction {
    /// Where.
    pub place: String,
    /// What was claimed.
    pub claimed: String,
    /// What was found.
    pub found: String,
}

/// What came of verifying a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verification {
    /// The model's name.
    pub name: String,
    /// Which dims were made smaller.
    pub scaled: Vec<Scaled>,
    /// How many calls were run, and how many of them differ.
    pub calls: usize,
    /// Calls that differ in op, attributes or types.
    pub distinct: usize,
    /// By claim, in the order of [`Claim::ALL`].
    pub tallies: Vec<(Claim, Tally)>,
    /// How far a run in other types than the spec's is from float64, where one was asked for.
    pub rounding: Option<Experiment>,
    /// What was left out, in sentences.
    pub notes: Vec<String>,
}

impl Verification {
    pub(super) fn add(&mut self, place: &str, verdict: Verdict) {
        let tally = match self
            .tallies
            .iter_mut()
            .position(|(claim, _)| *claim == verdict.claim)
        {
            Some(at) => &mut self.tallies[at].1,
            None => {
                self.tallies.push((verdict.claim, Tally::default()));
                let last = self.tallies.len() - 1;
                &mut self.tallies[last].1
            }
        };
        match verdict.outcome {
            Outcome::Confirmed => tally.confirmed += 1,
            Outcome::Contradicted { claimed, found } => tally.contradicted.push(Contradiction {
                place: place.to_owned(),
                claimed,
                found,
            }),
            Outcome::Unchecked(why) => {
                match tally.unchecked.iter_mut().find(|(other, _)| *other == why) {
                    Some((_, times)) => *times += 1,
                    None => tally.unchecked.push((why, 1)),
                }
            }
        }
    }

    pub(super) fn say(&mut self, place: &str, claim: Claim, outcome: Outcome) {
        self.add(place, Verdict { claim, outcome });
    }

    /// Whether a claim was contradicted.
    pub fn is_contradicted(&self) -> bool {
        let mut tallies = self.tallies.iter();
        tallies.any(|(_, tally)| !tally.contradicted.is_empty())
    }
}
