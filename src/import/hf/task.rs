//! What a model is asked to do: which head and which loss stand on it.

/// A task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// The next token of each place.
    CausalLm,
    /// The tokens that were masked.
    MaskedLm,
    /// A text from a text, or from sound.
    SeqToSeqLm,
    /// A class, or several, of a text.
    SequenceClassification,
    /// A class of each token.
    TokenClassification,
    /// Where in a text an answer begins and ends.
    QuestionAnswering,
    /// A class of an image.
    ImageClassification,
    /// Which texts and images belong together.
    Contrastive,
    /// Nothing: the model without a head.
    Base,
}

impl Task {
    /// All tasks.
    pub const ALL: [Task; 9] = [
        Task::CausalLm,
        Task::MaskedLm,
        Task::SeqToSeqLm,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
        Task::ImageClassification,
        Task::Contrastive,
        Task::Base,
    ];

    /// The name, as a command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Task::CausalLm => "causal-lm",
            Task::MaskedLm => "masked-lm",
            Task::SeqToSeqLm => "seq2seq-lm",
            Task::SequenceClassification => "sequence-classification",
            Task::TokenClassification => "token-classification",
            Task::QuestionAnswering => "question-answering",
            Task::ImageClassification => "image-classification",
            Task::Contrastive => "contrastive",
            Task::Base => "base",
        }
    }

    /// The task of that name.
    pub fn named(name: &str) -> Option<Task> {
        Task::ALL.into_iter().find(|task| task.name() == name)
    }

    /// The task of a class of Transformers, by how its name ends.
    pub(super) fn of_class(class: &str) -> Option<Task> {
        const ENDS: [(&str, Task); 11] = [
            ("ForCausalLM", Task::CausalLm),
            ("WithLMHeadModel", Task::SeqToSeqLm),
            ("LMHeadModel", Task::CausalLm),
            ("ForMaskedLM", Task::MaskedLm),
            ("ForConditionalGeneration", Task::SeqToSeqLm),
            ("ForSequenceClassification", Task::SequenceClassification),
            ("ForTokenClassification", Task::TokenClassification),
            ("ForQuestionAnswering", Task::QuestionAnswering),
            ("ForImageClassification", Task::ImageClassification),
            ("CLIPModel", Task::Contrastive),
            ("Model", Task::Base),
        ];
        let known = ENDS.iter().find(|(end, _)| class.ends_with(end));
        known
            .filter(|_| !class.ends_with("DoubleHeadsModel"))
            .map(|&(_, task)| task)
    }
}
