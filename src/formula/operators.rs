//! Operators, how they are written and how tightly they bind.

/// An operator in front of its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOperator {
    /// `-x`
    Negative,
    /// `+x`
    Positive,
    /// `~x`
    Invert,
    /// `not x`
    Not,
}

impl UnaryOperator {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            UnaryOperator::Negative => "-",
            UnaryOperator::Positive => "+",
            UnaryOperator::Invert => "~",
            UnaryOperator::Not => "not",
        }
    }

    /// How tightly the operator binds.
    pub(super) fn precedence(self) -> u8 {
        match self {
            UnaryOperator::Not => precedence::NOT,
            _ => precedence::UNARY,
        }
    }
}

/// An operator between two operands; comparisons and `and`/`or` are among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOperator {
    /// `or`
    Or,
    /// `and`
    And,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `|`
    BitwiseOr,
    /// `^`, exclusive or as in Python, never a power
    BitwiseXor,
    /// `&`
    BitwiseAnd,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `//`
    FloorDivide,
    /// `%`
    Remainder,
    /// `@`
    MatrixMultiply,
    /// `**`
    Power,
}

impl BinaryOperator {
    /// Every operator, from the loosest to the tightest.
    pub const ALL: [BinaryOperator; 19] = [
        BinaryOperator::Or,
        BinaryOperator::And,
        BinaryOperator::Less,
        BinaryOperator::LessEqual,
        BinaryOperator::Greater,
        BinaryOperator::GreaterEqual,
        BinaryOperator::Equal,
        BinaryOperator::NotEqual,
        BinaryOperator::BitwiseOr,
        BinaryOperator::BitwiseXor,
        BinaryOperator::BitwiseAnd,
        BinaryOperator::Add,
        BinaryOperator::Subtract,
        BinaryOperator::Multiply,
        BinaryOperator::Divide,
        BinaryOperator::FloorDivide,
        BinaryOperator::Remainder,
        BinaryOperator::MatrixMultiply,
        BinaryOperator::Power,
    ];

    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOperator::Or => "or",
            BinaryOperator::And => "and",
            BinaryOperator::Less => "<",
            BinaryOperator::LessEqual => "<=",
            BinaryOperator::Greater => ">",
            BinaryOperator::GreaterEqual => ">=",
            BinaryOperator::Equal => "==",
            BinaryOperator::NotEqual => "!=",
            BinaryOperator::BitwiseOr => "|",
            BinaryOperator::BitwiseXor => "^",
            BinaryOperator::BitwiseAnd => "&",
            BinaryOperator::Add => "+",
            BinaryOperator::Subtract => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::FloorDivide => "//",
            BinaryOperator::Remainder => "%",
            BinaryOperator::MatrixMultiply => "@",
            BinaryOperator::Power => "**",
        }
    }

    /// Whether the operator is one of `< <= > >= == !=`.
    pub fn is_comparison(self) -> bool {
        self.precedence() == precedence::COMPARISON
    }

    /// How tightly the operator binds.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            BinaryOperator::Or => precedence::OR,
            BinaryOperator::And => precedence::AND,
            BinaryOperator::Less
            | BinaryOperator::LessEqual
            | BinaryOperator::Greater
            | BinaryOperator::GreaterEqual
            | BinaryOperator::Equal
            | BinaryOperator::NotEqual => precedence::COMPARISON,
            BinaryOperator::BitwiseOr => precedence::BITWISE_OR,
            BinaryOperator::BitwiseXor => precedence::BITWISE_XOR,
            BinaryOperator::BitwiseAnd => precedence::BITWISE_AND,
            BinaryOperator::Add | BinaryOperator::Subtract => precedence::SUM,
            BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::FloorDivide
            | BinaryOperator::Remainder
            | BinaryOperator::MatrixMultiply => precedence::PRODUCT,
            BinaryOperator::Power => precedence::POWER,
        }
    }

    /// How tightly the left and the right operand must bind to stand without parentheses.
    pub(crate) fn operand_precedences(self) -> (u8, u8) {
        let own = self.precedence();
        match self {
            // `-a ** -b` is `-(a ** (-b))`: a sign may stand on the right only.
            BinaryOperator::Power => (precedence::ATOM, precedence::UNARY),
            _ if self.is_comparison() => (own + 1, own + 1),
            _ => (own, own + 1),
        }
    }
}

/// Python's operator precedence, loosest first.
/// Source: the Python Language Reference, section 6.17.
pub(crate) mod precedence {
    pub const CONDITIONAL: u8 = 0;
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const NOT: u8 = 3;
    pub const COMPARISON: u8 = 4;
    pub const BITWISE_OR: u8 = 5;
    pub const BITWISE_XOR: u8 = 6;
    pub const BITWISE_AND: u8 = 7;
    pub const SUM: u8 = 8;
    pub const PRODUCT: u8 = 9;
    pub const UNARY: u8 = 10;
    pub const POWER: u8 = 11;
    /// Names, numbers, brackets, and what follows them: `x.T`, `f(x)`, `x[0]`.
    pub const ATOM: u8 = 12;
}
