"""What can go wrong, by fault. Every message says what was given, what was expected and what to do."""


class DftStatsError(Exception):
    """Parent of every error that this package raises on purpose."""


class CorpusError(DftStatsError):
    """A corpus is missing, unreadable, empty, or lacks the text column."""


class ProfileNotFound(DftStatsError):
    """No profile of this name and version where it was looked for."""


class ProfileFormatError(DftStatsError):
    """A folder is no profile, is half-written, or has another format than this version reads."""


class IntegrityError(ProfileFormatError):
    """A file of a profile differs from what its manifest says."""


class IncomparableError(DftStatsError):
    """Two profiles were counted by different rules, so that a difference would say nothing of the writing."""


class CompiledProfileError(DftStatsError):
    """A profile cannot be compiled for this tokenizer, or a compiled file is damaged."""


class VocabularyMismatch(DftStatsError):
    """Logits or labels do not fit the tokenizer that the profile was compiled for."""


class NotFinite(DftStatsError):
    """NaN or infinity where numbers were expected."""
