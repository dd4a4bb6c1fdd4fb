//! Tests of expressions: what is answered, what is refused and where, and that nothing panics.

use proptest::prelude::*;

use super::*;

fn answer(text: &str) -> OrderAnswer {
    parse_expression(text).unwrap().answer().unwrap()
}

/// What is answered, a line for each part that there is.
fn shown(text: &str) -> String {
    let answer = answer(text);
    let line = |what: &str, candidate: &Candidate| {
        let Cost {
            multiplications,
            flops,
        } = candidate.cost;
        format!("{what}: {} = {multiplications} ({flops})\n", candidate.text)
    };
    let mut out = line("written", &answer.written)
        + &line("left to right", &answer.left_to_right)
        + &line(
            if answer.proved {
                "best, proved"
            } else {
                "best"
            },
            &answer.best,
        );
    if let Some(worst) = &answer.worst {
        out += &line("worst", worst);
    }
    if let Some(at_once) = answer.at_once {
        out += &format!("at once: {} ({})\n", at_once.multiplications, at_once.flops);
    }
    out + &format!("listed {} of {}", answer.orders.len(), answer.order_count)
}

/// The bytes at fault, the message, and the help.
fn refused(text: &str) -> String {
    let error = parse_expression(text).unwrap_err();
    let help = error
        .help
        .map_or(String::new(), |help| format!(" ({help})"));
    format!("{:?}: {}{help}", &text[error.span], error.message)
}

#[test]
fn products() {
    insta::assert_snapshot!(shown("A[100,5] @ B[5,200] @ C[200,20]"), @r#"
    written: A @ B @ C = 500000 (1000000)
    left to right: A @ B @ C = 500000 (1000000)
    best, proved: A @ (B @ C) = 30000 (60000)
    worst: A @ B @ C = 500000 (1000000)
    listed 2 of 2
    "#);
    insta::assert_snapshot!(shown("A[100, 5] @ (B[5, 200] @ C[200, 20])"), @r#"
    written: A @ (B @ C) = 30000 (60000)
    left to right: A @ B @ C = 500000 (1000000)
    best, proved: A @ (B @ C) = 30000 (60000)
    worst: A @ B @ C = 500000 (1000000)
    listed 2 of 2
    "#);
    insta::assert_snapshot!(shown("A[3,4]"), @r#"
    written: A = 0 (0)
    left to right: A = 0 (0)
    best, proved: A = 0 (0)
    worst: A = 0 (0)
    listed 1 of 1
    "#);
    // LoRA: x (A B) as the adapter is often merged, and as it should be applied.
    insta::assert_snapshot!(shown("x[8, 4096] @ (A[4096, 16] @ B[16, 4096])"), @r#"
    written: x @ (A @ B) = 402653184 (805306368)
    left to right: x @ A @ B = 1048576 (2097152)
    best, proved: x @ A @ B = 1048576 (2097152)
    worst: x @ (A @ B) = 402653184 (805306368)
    listed 2 of 2
    "#);
    // A matrix-vector product at the end turns the whole order around.
    insta::assert_snapshot!(shown("A[300,400] @ B[400,500] @ x[500]"), @r#"
    written: A @ B @ x = 60150000 (120300000)
    left to right: A @ B @ x = 60150000 (120300000)
    best, proved: A @ (B @ x) = 320000 (640000)
    worst: A @ B @ x = 60150000 (120300000)
    listed 2 of 2
    "#);
    insta::assert_snapshot!(shown("x[3] @ y[3]"), @r#"
    written: x @ y = 3 (6)
    left to right: x @ y = 3 (6)
    best, proved: x @ y = 3 (6)
    worst: x @ y = 3 (6)
    listed 1 of 1
    "#);
    insta::assert_snapshot!(shown("(A[3,4] @ B[4,5]).T @ A"), @r#"
    written: B.T @ A.T @ A = 120 (240)
    left to right: B.T @ A.T @ A = 120 (240)
    best, proved: B.T @ A.T @ A = 120 (240)
    worst: B.T @ (A.T @ A) = 128 (256)
    listed 2 of 2
    "#);
    insta::assert_snapshot!(shown("layer.w.T.T @ layer.w.T".replace("w.T.T", "w[7,2].T.T").as_str()), @r#"
    written: layer.w @ layer.w.T = 98 (196)
    left to right: layer.w @ layer.w.T = 98 (196)
    best, proved: layer.w @ layer.w.T = 98 (196)
    worst: layer.w @ layer.w.T = 98 (196)
    listed 1 of 1
    "#);
    insta::assert_snapshot!(shown("A[2,0] @ B[0,5] @ C[5,6]"), @r#"
    written: A @ B @ C = 60 (120)
    left to right: A @ B @ C = 60 (120)
    best, proved: A @ (B @ C) = 0 (0)
    worst: A @ B @ C = 60 (120)
    listed 2 of 2
    "#);
}

/// A product of two factors that have no batch is carried out once, not once for each matrix.
#[test]
fn batches() {
    insta::assert_snapshot!(shown("A[8,1,10,20] @ B[8,4,20,30] @ C[30,5]"), @r#"
    written: A @ B @ C = 240000 (480000)
    left to right: A @ B @ C = 240000 (480000)
    best, proved: A @ (B @ C) = 128000 (256000)
    worst: A @ B @ C = 240000 (480000)
    listed 2 of 2
    "#);
    insta::assert_snapshot!(shown("x[64,10,100] @ U[100,100] @ V[100,100]"), @r#"
    written: x @ U @ V = 12800000 (25600000)
    left to right: x @ U @ V = 12800000 (25600000)
    best, proved: x @ (U @ V) = 7400000 (14800000)
    worst: x @ U @ V = 12800000 (25600000)
    listed 2 of 2
    "#);
    insta::assert_snapshot!(shown("Q[2,4,512,64] @ K[2,4,512,64].mT @ V[2,4,512,64]"), @r#"
    written: Q @ K.mT @ V = 268435456 (536870912)
    left to right: Q @ K.mT @ V = 268435456 (536870912)
    best, proved: Q @ (K.mT @ V) = 33554432 (67108864)
    worst: Q @ K.mT @ V = 268435456 (536870912)
    listed 2 of 2
    "#);
}

#[test]
fn einsums() {
    insta::assert_snapshot!(
        shown("einsum(\"ij,jk,kl->il\", A[100,5], B[5,200], C[200,20])"),
        @r#"
    written: einsum("ij,jk,kl->il", A, B, C) = 500000 (1000000)
    left to right: einsum("ik,kl->il", einsum("ij,jk->ik", A, B), C) = 500000 (1000000)
    best, proved: einsum("ij,jl->il", A, einsum("jk,kl->jl", B, C)) = 30000 (60000)
    worst: einsum("ijkl,jk->il", einsum("ij,kl->ijkl", A, C), B) = 4000000 (6000000)
    at once: 4000000 (6000000)
    listed 3 of 3
    "#
    );
    insta::assert_snapshot!(shown("torch.einsum('i, ij', x[3], A[5,3].T)"), @r#"
    written: einsum("i,ij->j", x, A.T) = 15 (30)
    left to right: einsum("i,ij->j", x, A.T) = 15 (30)
    best, proved: einsum("i,ij->j", x, A.T) = 15 (30)
    worst: einsum("i,ij->j", x, A.T) = 15 (30)
    at once: 15 (30)
    listed 1 of 1
    "#);
}

#[test]
fn refusals() {
    let lines: Vec<String> = [
        "",
        "A",
        "A[3,4] @",
        "A[3,4] B[4,5]",
        "(A[3,4] @ B[4,5]",
        "A[3,4])",
        "A[3,4] @ ()",
        "A[100,5] @ B[6,200]",
        "A[5,100].T @ B[6,200]",
        "A[8,3,4] @ B[7,4,5]",
        "A[8,3,4] @ B[4,5] @ C[7,5,6]",
        "A[3,4] @ x[4] @ B[4,5]",
        "A[3,4] @ s[]",
        "A[3,4] @ A[4,3]",
        "x[3].T @ A[3,4]",
        "A[2,3,4].T @ B[2,3,4]",
        "A[3,n]",
        "A[3,4.5]",
        "A[3,99999999999999999999]",
        "A[3 4]",
        "A[3,4] * B[4,5]",
        "A[3,4] + B[3,4]",
        "A[3,4] @ softmax(B[4,5])",
        "A[3,4] @ einsum('ij->ji', B[5,4])",
        "A[3,4].inv @ B[4,5]",
        "A[3,4].3",
        "A[3,4] @ B[4,5] ; C",
        "einsum(\"ij,jk->ik\", A[3,4], B[5,6])",
        "einsum(\"ij,jk->ik\", A[3,4])",
        "einsum(\"i?\", A[3,4])",
        "einsum(A[3,4])",
        "einsum('ij', A[3,4]",
        "einsum('ij, A[3,4])",
        "einsum('ij', A[3,4]) @ B[4,5]",
    ]
    .iter()
    .map(|text| format!("{text}\n    {}", refused(text)))
    .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
        "": expected an operand, found the end
    A
        "A": `A` has no shape (write its sizes behind it: `A[100, 5]`)
    A[3,4] @
        "": expected an operand, found the end
    A[3,4] B[4,5]
        "B": expected `@`, found `B`
    (A[3,4] @ B[4,5]
        "(": this `(` is not closed
    A[3,4])
        ")": nothing opens this `)`
    A[3,4] @ ()
        ")": expected an operand, found `)`
    A[100,5] @ B[6,200]
        "A[100,5] @ B[6,200]": A is [100, 5], B is [6, 200]: 5 ≠ 6
    A[5,100].T @ B[6,200]
        "A[5,100].T @ B[6,200]": A.T is [100, 5], B is [6, 200]: 5 ≠ 6
    A[8,3,4] @ B[7,4,5]
        "A[8,3,4] @ B[7,4,5]": A is [8, 3, 4], B is [7, 4, 5]: batches of 8 and 7 do not broadcast
    A[8,3,4] @ B[4,5] @ C[7,5,6]
        "A[8,3,4] @ B[4,5] @ C[7,5,6]": A is [8, 3, 4], C is [7, 5, 6]: batches of 8 and 7 do not broadcast
    A[3,4] @ x[4] @ B[4,5]
        "x[4]": the vector `x` stands between factors (`@` takes it for a row or a column depending on the grouping, so the order is part of the meaning; give it two dimensions)
    A[3,4] @ s[]
        "s[]": `s` is a scalar, which `@` does not multiply (leave it out)
    A[3,4] @ A[4,3]
        "A[4,3]": `A` was [3, 4] before and is [4, 3] here
    x[3].T @ A[3,4]
        ".T": `.T` transposes matrices; `x` is [3]
    A[2,3,4].T @ B[2,3,4]
        ".T": `.T` transposes matrices; `A` is [2, 3, 4] (`.mT` transposes each matrix of a batch)
    A[3,n]
        "n": `n` is no size: sizes are whole numbers
    A[3,4.5]
        "4.5": `4.5` is no size: sizes are whole numbers
    A[3,99999999999999999999]
        "99999999999999999999": a size of 2⁶⁴ or more cannot be dealt with
    A[3 4]
        "4": expected `,` or `]`, found `4`
    A[3,4] * B[4,5]
        "*": `*` has no meaning here (`@` multiplies matrices; `*` works element by element, which has no order to choose)
    A[3,4] + B[3,4]
        "+": `+` has no meaning here (only products are ordered: `@` and `einsum`)
    A[3,4] @ softmax(B[4,5])
        "softmax(": a call of `softmax` is no operand (order the factors on either side of it by themselves)
    A[3,4] @ einsum('ij->ji', B[5,4])
        "einsum(": a call of `einsum` is no operand (order the factors on either side of it by themselves)
    A[3,4].inv @ B[4,5]
        ".inv": `.inv` is not known here (`.T` and `.mT` transpose)
    A[3,4].3
        ".3": `.3` is not known here (`.T` and `.mT` transpose)
    A[3,4] @ B[4,5] ; C
        ";": `;` has no meaning here
    einsum("ij,jk->ik", A[3,4], B[5,6])
        "jk": `j` is 4 in operand 1 and 5 in operand 2
    einsum("ij,jk->ik", A[3,4])
        "ij,jk->ik": the equation is of 2 operands; 1 given
    einsum("i?", A[3,4])
        "?": `?` is no subscript: those are the letters a-z and A-Z
    einsum(A[3,4])
        "A": expected the equation in quotes, found `A`
    einsum('ij', A[3,4]
        "": expected `,` or `)`, found the end
    einsum('ij, A[3,4])
        "'ij, A[3,4])": the string is not closed by `'`
    einsum('ij', A[3,4]) @ B[4,5]
        "@": expected the end after `einsum(…)`, found `@` (order each einsum by itself)
    "#);
    let deep = format!("A[1{}]", ",1".repeat(MAX_RANK));
    assert!(refused(&deep).contains("65 dimensions"));
    assert!(refused(&" ".repeat(MAX_LENGTH + 1)).contains("at most"));
}

/// Sizes whose cost does not fit are an error, not a wrong number.
#[test]
fn overflow_is_said() {
    let big = u64::MAX;
    for text in [
        format!("A[{big},{big}] @ B[{big},{big}]"),
        format!("A[{big},{big},{big},3] @ B[3,4]"),
        format!("einsum('ij,jk', A[{big},{big}], B[{big},{big}])"),
    ] {
        assert_eq!(
            parse_expression(&text).unwrap().answer(),
            Err(OrderError::Overflow),
            "{text}"
        );
    }
}

/// Long and deep expressions take neither stack nor quadratic time.
#[test]
fn long_and_deep_expressions() {
    let deep = format!("{}A[9,9]{}", "(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(answer(&deep).written.text, "A");
    let nested = format!("A[9,9]{}{}", " @ (A".repeat(40_000), ")".repeat(40_000));
    let answer = answer(&nested);
    assert_eq!(answer.best.cost.multiplications, 40_000 * 729);
    assert!(answer.proved);
    let turned = format!("{}A[9,8]{}", "(".repeat(50_001), ").T".repeat(50_001));
    assert_eq!(parse_expression(&turned).unwrap().names(), ["A.T"]);
    let mixed = format!(
        "x[2,1,1]{} @ y[2,1,1]",
        " @ z[1,1]".to_owned() + &" @ z".repeat(400)
    );
    let error = parse_expression(&mixed).unwrap().answer().unwrap_err();
    assert!(matches!(error, OrderError::TooLong { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever is typed is answered or refused at a place in the text.
    #[test]
    fn no_text_panics(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "A", "B[2,3]", "A[3,2]", "x[3]", "[", "]", "(", ")", "@", " @ ", ".T", ".mT", ",",
                "einsum(", "'ij,jk'", "\"", "'", "3", "0", "é", ".", "→", "[2,2]", "...", "->", " ",
            ]),
            0..16,
        ),
    ) {
        let text = pieces.concat();
        match parse_expression(&text) {
            Ok(problem) => drop(problem.answer()),
            Err(error) => prop_assert!(text.get(error.span.clone()).is_some(), "{error:?}"),
        }
    }

    #[test]
    fn no_characters_panic(text in ".{0,40}") {
        if let Err(error) = parse_expression(&text) {
            prop_assert!(text.get(error.span.clone()).is_some(), "{error:?}");
        }
    }

    /// What is rendered can be read again, and then costs what was said; the orders listed begin
    /// with the best and end with the worst. The same product as an einsum gives the same costs.
    #[test]
    fn answers_are_consistent(
        dims in prop::collection::vec(0..30u64, 2..=7),
        batched in any::<u8>(),
        closes in any::<prop::sample::Index>(),
    ) {
        let names = ["A", "B", "C", "D", "E", "F"];
        let count = dims.len() - 1;
        let orders: Vec<_> = crate::facts::order::Orders::of(count).collect();
        let shape = |place: usize, batch: &str| format!("{}[{batch}{},{}]", names[place], dims[place], dims[place + 1]);
        let spell = |place: usize| shape(place, if batched >> place & 1 == 1 { "5," } else { "" });
        let operands: Vec<String> = (0..count).map(spell).collect();
        let text = orders[closes.index(orders.len())].render(&operands);
        let first = answer(&text);
        prop_assert!(first.proved);
        prop_assert_eq!(first.orders.len() as u128, first.order_count);
        prop_assert_eq!(&first.orders[0].cost, &first.best.cost);
        prop_assert_eq!(first.orders.last().map(|it| it.cost), first.worst.map(|it| it.cost));
        for order in first.orders.iter().chain([&first.best, &first.written]) {
            // Shapes go back in where a name stands.
            let again: String = order
                .text
                .chars()
                .map(|c| names.iter().position(|name| name.starts_with(c)).map_or(c.to_string(), spell))
                .collect();
            prop_assert_eq!(&answer(&again).written, order);
        }
        let plain: Vec<String> = (0..count).map(|place| shape(place, "")).collect();
        let terms: Vec<&str> = ["ab", "bc", "cd", "de", "ef", "fg"][..count].to_vec();
        let output = format!("a{}", char::from(b'a' + count as u8));
        let call = format!("einsum('{}->{output}', {})", terms.join(","), plain.join(", "));
        let products = answer(&plain.join(" @ "));
        let einsum = answer(&call);
        prop_assert_eq!(products.best.cost.multiplications, einsum.best.cost.multiplications);
        prop_assert_eq!(products.left_to_right.cost.multiplications, einsum.left_to_right.cost.multiplications);
    }
}
