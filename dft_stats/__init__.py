"""Reference statistics of human writing, and a loss that steers a language model towards them.

`load("news")` gives a domain's profile, `build(...)` makes one of your own texts, `push` and `pull` exchange them with the Hugging
Face Hub, `compare` and `nearest` say how texts differ,
`Profile.compile(tokenizer)` makes the tensors of `dft_stats.loss.DistributionLoss`. No relation to Dynamic Fine-Tuning.

Everything here is imported when it is first used: `import dft_stats` alone costs milliseconds.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dft_stats.build import build  # type: ignore[no-redef]  # a sub-module and its verb
    from dft_stats.compare import compare, nearest
    from dft_stats.hub.push import push
    from dft_stats.hub.verbs import lock, pull, versions
    from dft_stats.profile import Profile
    from dft_stats.registry import list_profiles, load

    __version__: str

__all__ = ["Profile", "__version__", "build", "compare", "list_profiles", "load", "lock", "nearest", "pull", "push", "versions"]

_HOME = {
    "load": "registry",
    "list_profiles": "registry",
    "nearest": "compare",
    "Profile": "profile",
    "push": "hub.push",
    "pull": "hub.verbs",
    "versions": "hub.verbs",
    "lock": "hub.verbs",
}
_VERBS = ("build", "compare")
"""Sub-modules whose name is also that of their function."""


class _Verb(ModuleType):
    """A sub-module that can be called like the function of its name: `dft_stats.build` is both, whatever was imported first."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **named)


class _Package(ModuleType):
    """The import system sets a sub-module as an attribute here; that is when a verb becomes callable."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _VERBS and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("dft-stats")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
