//! 'Did you mean': the known name that is nearest to a misspelled one.

/// The candidate nearest to `given` by Damerau-Levenshtein distance, if it is near enough to be
/// meant: at most a third of the length away, and never everything.
///
/// Case, `-` and `_` do not count, so `LayerNorm`, `layer-norm` and `layer_norm` meet.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Only a name that somebody may have typed is worth comparing; the distance is quadratic.
    if given.is_empty() || given.len() > 64 {
        return None;
    }
    let plain = |name: &str| -> String {
        name.chars()
            .filter(|c| !matches!(c, '_' | '-'))
            .flat_map(char::to_lowercase)
            .collect()
    };
    let wanted = plain(given);
    let allowed = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 2 * given.len() + 8)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &plain(candidate)),
                candidate,
            )
        })
        .filter(|&(distance, candidate)| distance <= allowed && distance < candidate.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The help line for a misspelled name: what may have been meant, or what there is.
///
/// The list of all candidates is given only where nothing is near and there are few.
pub fn did_you_mean(given: &str, candidates: &[&str]) -> Option<String> {
    if let Some(name) = nearest(given, candidates.iter().copied()) {
        return Some(format!("did you mean `{name}`?"));
    }
    match candidates.len() {
        0 => None,
        1..=24 => Some(format!("there is: {}", candidates.join(", "))),
        many => Some(format!("none of the {many} known names is near")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_near_names_and_refuses_far_ones() {
        let names = ["layer_norm", "linear", "conv2d", "x"];
        assert_eq!(nearest("LayerNrom", names), Some("layer_norm"));
        assert_eq!(nearest("conv2", names), Some("conv2d"));
        assert_eq!(nearest("banana", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(
            nearest("y", names),
            None,
            "a one-letter name is not a misspelling of another"
        );
    }
}
