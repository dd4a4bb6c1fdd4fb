//! ATen ops that are rare, and of which no more than this is known: whether they compute something
//! of each element, something of all of them, or nothing at all. Their types are what the program
//! states.

/// Functions of corresponding elements.
const ELEMENTWISE: &[&str] = &[
    "_conj_physical",
    "bessel_j0",
    "bessel_j1",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "copysign",
    "cross",
    "cummax",
    "cummin",
    "deg2rad",
    "digamma",
    "erfc",
    "erfinv",
    "float_power",
    "frexp",
    "gcd",
    "heaviside",
    "hypot",
    "i0",
    "i1",
    "lcm",
    "ldexp",
    "lgamma",
    "linalg_cross",
    "linspace",
    "logaddexp2",
    "logcumsumexp",
    "logit",
    "logspace",
    "mvlgamma",
    "nextafter",
    "polygamma",
    "rad2deg",
    "sgn",
    "signbit",
    "sinc",
    "special_bessel_j0",
    "special_entr",
    "special_erfcx",
    "special_i0",
    "special_i0e",
    "special_i1",
    "special_i1e",
    "special_log_ndtr",
    "special_ndtr",
    "special_ndtri",
    "special_xlog1py",
    "special_zeta",
    "vander",
    "xlogy",
];

/// Functions of all elements.
const SUMMARISED: &[&str] = &[
    "_ctc_loss",
    "_histogramdd_from_bin_cts",
    "aminmax",
    "corrcoef",
    "cov",
    "dist",
    "equal",
    "fft_hfft",
    "fft_ihfft",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "histc",
    "kthvalue",
    "linalg_matrix_norm",
    "mode",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multinomial",
    "nanmean",
    "nanmedian",
    "nanquantile",
    "nansum",
    "nuclear_norm",
    "pdist",
    "quantile",
    "renorm",
    "segment_reduce",
    "soft_margin_loss",
    "stft",
    "istft",
    "trapezoid",
    "trapz",
    "unique_consecutive",
    "unique_dim",
    "_unique2",
];

/// Ops of other libraries, with their namespace.
const OTHERS: &[(&str, &str)] = &[
    ("torchvision.deform_conv2d", "summarised"),
    ("torchvision.nms", "summarised"),
    ("torchvision.ps_roi_align", "summarised"),
    ("torchvision.ps_roi_pool", "summarised"),
    ("torchvision.roi_align", "summarised"),
    ("torchvision.roi_pool", "summarised"),
];

/// Elements in another order, shape or place.
const REARRANGED: &[&str] = &[
    "_reshape_alias",
    "_reshape_copy",
    "_reshape_from_tensor",
    "as_strided",
    "as_strided_copy",
    "as_strided_scatter",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "cartesian_prod",
    "combinations",
    "column_stack",
    "diag_embed",
    "diagonal_copy",
    "dsplit",
    "dstack",
    "expand_copy",
    "hsplit",
    "hstack",
    "nonzero_static",
    "pad_sequence",
    "permute_copy",
    "put",
    "resolve_conj",
    "resolve_neg",
    "row_stack",
    "select_copy",
    "slice_copy",
    "split_copy",
    "squeeze_copy",
    "swapaxes",
    "swapdims",
    "t_copy",
    "take",
    "tensor_split",
    "transpose_copy",
    "unbind_copy",
    "unflatten_dense_tensors",
    "unfold_copy",
    "unsqueeze_copy",
    "view_as_complex_copy",
    "view_as_real_copy",
    "view_copy",
    "vsplit",
    "vstack",
];

/// The op that stands for a target `aten.name.overload`, if its kind is known.
pub(super) fn op(target: &str) -> Option<&'static str> {
    let Some(name) = target.strip_prefix("aten.") else {
        let other = |&&(name, _): &&(&str, _)| {
            let rest = target.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        return OTHERS.iter().find(other).map(|&(_, op)| op);
    };
    let name = name.split('.').next()?;
    let plain = name.strip_suffix('_').filter(|_| !name.ends_with("__"));
    let name = plain.unwrap_or(name);
    [
        ("elementwise", ELEMENTWISE),
        ("summarised", SUMMARISED),
        ("rearranged", REARRANGED),
    ]
    .into_iter()
    .find_map(|(op, names)| names.contains(&name).then_some(op))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_kind() {
        let mut all: Vec<&str> = [ELEMENTWISE, SUMMARISED, REARRANGED].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(op("aten.digamma_.default"), Some("elementwise"));
        assert_eq!(op("aten.histc.default"), Some("summarised"));
        assert_eq!(op("mine.digamma.default"), None);
        assert_eq!(op("aten.unheard_of.default"), None);
    }
}
