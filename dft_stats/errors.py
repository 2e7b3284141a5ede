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


class VersionNotFound(ProfileNotFound):
    """The profile is there, the version that was asked for is not."""


class HubError(DftStatsError):
    """The Hugging Face Hub answered with an error, or not as a Hub does."""


class HubUnreachable(HubError):
    """No Hub answers, or none that has time, or offline mode is on, and what was asked for is not kept here."""


class AccessDenied(HubError):
    """The Hub refuses: no token, a bad one, or one without the right to this."""


class TagMoved(IntegrityError):
    """The tag of a version names another commit than it did before: versions do not change."""


class UnsafeProfile(ProfileFormatError):
    """A profile claims sizes or holds values that no profile of ours has; it was not parsed any further."""


class LockError(DftStatsError):
    """The lock file is damaged, or names something else than was asked for."""


class PublishError(DftStatsError):
    """A profile cannot be published like this; nothing was changed on the Hub."""


class VersionExists(PublishError):
    """This version is published already; versions do not change."""


class VersionTooSmall(PublishError):
    """More changed since the version before than the step of the version number says."""


class PublishConflict(PublishError):
    """Others kept committing to the repository; try again."""
