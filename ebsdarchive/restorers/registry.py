"""Which methods there are, and how each is made: the one table of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ebsdarchive.errors import ArgumentError, VersionError
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.corrections import Step
from ebsdarchive.restorers.pipeline import Pipeline
from ebsdarchive.restorers.restorer import Restorer

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "STEPS",
    "Method",
    "Option",
    "method_of",
    "options_of",
    "pipeline_of",
    "restorer_of",
    "shipped_model",
]

DEFAULT_METHOD = "kikuchi"
_KEYWORDS = {"lambda": "lam"}  # a word of Python's own


@dataclass(frozen=True)
class Option:
    """A parameter of a method: its type, smallest and largest value, and meaning in words."""

    kind: type[int] | type[float]
    lowest: float
    highest: float
    meaning: str


@dataclass(frozen=True)
class Method:
    """How a restorer is made.

    Parameters
    ----------
    made_by
        "module:Class". A class of a method without a model is called with its options. One of a
        learned method has ``from_checkpoint(checkpoint, device, steps, samples)``, where steps is
        None unless the caller chose, and the attribute `version` of checkpoints that it takes.
    summary
        What it does, in a line.
    learned
        Whether it needs a checkpoint.
    samples
        Whether it draws: then it takes a number of steps and of samples.
    models_of
        The method whose models it takes, if not its own.
    options
        By name, of methods without a model.
    """

    made_by: str
    summary: str
    learned: bool = False
    samples: bool = False
    models_of: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)

    def load(self) -> Any:
        """The class, whose module is imported only now."""
        module, _, name = self.made_by.partition(":")
        return getattr(importlib.import_module(module), name)


METHODS: dict[str, Method] = {
    "nlpar": Method(
        "ebsdarchive.restorers.nlpar:Nlpar",
        "mean of similar patterns around (PyEBSDIndex)",
        options={
            "search-radius": Option(int, 1, 50, "half the window in points"),
            "lambda": Option(float, 1e-3, 10, "how unlike patterns may be"),
        },
    ),
    "neighbour": Method(
        "ebsdarchive.restorers.averaging:NeighbourAverage",
        "mean with the patterns around, whatever they show",
        options={"window": Option(int, 3, 99, "points across the window, odd")},
    ),
    "klt": Method(
        "ebsdarchive.restorers.components:PrincipalComponents",
        "what the scan's leading principal components hold",
        options={"rank": Option(int, 1, 512, "number of components")},
    ),
    "field": Method(
        "ebsdarchive.restorers.neural_estimate:FieldEstimate",
        "the neural layer's own estimate at the measured points",
    ),
    "kikuchi": Method(
        "ebsdarchive.restorers.learned:KikuchiRestorer",
        "network on a pattern and the like ones around it; tells its uncertainty",
        learned=True,
    ),
    "autoencoder": Method(
        "ebsdarchive.restorers.learned:AutoencoderRestorer",
        "network that passes each pattern through a bottleneck",
        learned=True,
    ),
    "autoencoder-smooth": Method(
        "ebsdarchive.restorers.learned:SmoothAutoencoderRestorer",
        "the same without its checkerboard",
        learned=True,
    ),
    "ddpm": Method(
        "ebsdarchive.restorers.learned:DdpmRestorer",
        "diffusion conditioned on each pattern, 1,000 steps; slow",
        learned=True,
        samples=True,
    ),
    "ddim": Method(
        "ebsdarchive.restorers.learned:DdimRestorer",
        "the same network in 20 steps",
        learned=True,
        samples=True,
        models_of="ddpm",
    ),
    "mldm": Method(
        "ebsdarchive.restorers.learned:LatentRestorer",
        "diffusion of codes, an eighth of a pattern in size",
        learned=True,
        samples=True,
    ),
}

STEPS: dict[str, Method] = {
    "static": Method(
        "ebsdarchive.restorers.corrections:StaticStep", "division by the static background"
    ),
    "dynamic": Method(
        "ebsdarchive.restorers.corrections:DynamicStep",
        "division by the static background, less the pattern's own blur",
    ),
    "clahe": Method(
        "ebsdarchive.restorers.corrections:ContrastStep",
        "contrast limited adaptive histogram equalisation (scikit-image)",
        options={
            "kernel": Option(int, 2, 512, "size of the regions in pixels"),
            "clip": Option(float, 0, 1, "limit of the contrast"),
        },
    ),
}


def method_of(name: str) -> Method:
    """The method of a name; ArgumentError where there is none."""
    if name not in METHODS:
        raise ArgumentError(f"method: expected one of {', '.join(METHODS)}, found {name!r}")
    return METHODS[name]


def shipped_model(name: str) -> Path | None:
    """The checkpoint of a method that comes with this package, if one does."""
    path = Path(__file__).parents[1] / "data" / "models" / f"{name}.safetensors"
    return path if path.is_file() else None


def restorer_of(
    name: str,
    checkpoint: Checkpoint | None = None,
    *,
    device: str = "cpu",
    steps: int | None = None,
    samples: int = 1,
    options: Mapping[str, float] | None = None,
) -> Restorer:
    """The restorer of a method with its parameters.

    Parameters
    ----------
    checkpoint
        Of learned methods.
    device
        Where the networks of learned methods work: "cpu", "cuda" or "cuda:N".
    steps, samples
        Of methods that draw samples: steps for each (the method's own number by default), and how
        many are drawn and averaged.
    options
        Of methods without a model, by name; the method's own values by default.

    Raises
    ------
    ArgumentError
        If there is no such method, or a parameter is not one of it.
    VersionError
        If the checkpoint is of another version of the method.
    """
    method = method_of(name)
    _require_of(name, method, device, steps, samples)
    if not method.learned:
        if checkpoint is not None:
            raise ArgumentError(f"{name}: expected no model, found one of {checkpoint.method}")
        made: Restorer = method.load()(**_checked_options(name, method, options or {}))
        return made
    if options:
        raise ArgumentError(f"{name}: expected no options, found {', '.join(options)}")
    if checkpoint is None:
        raise ArgumentError(
            f"{name}: expected a model, found none; give one with --model NAME|FILE"
        )
    if checkpoint.method != (method.models_of or name):
        raise ArgumentError(
            f"{name}: expected a model of {method.models_of or 'this method'}, found one of "
            f"{checkpoint.method}; use --method {checkpoint.method}"
        )
    kind = method.load()
    if checkpoint.version != kind.version:
        raise VersionError(
            f"{name}: model version {checkpoint.version} is not known here (known: "
            f"{kind.version}); update ebsdarchive or train the model again"
        )
    made = kind.from_checkpoint(checkpoint, device=device, steps=steps, samples=samples)
    return made


def pipeline_of(
    restorer: Restorer, before: Sequence[str] = (), after: Sequence[str] = ()
) -> Restorer:
    """The restorer with corrections before and after it, such as "static" and "clahe:kernel=15".

    Raises
    ------
    ArgumentError
        If there is no such correction, or an option is not one of it.
    """
    if not before and not after:
        return restorer
    return Pipeline(restorer, _steps(before), _steps(after))


def _steps(texts: Sequence[str]) -> tuple[Step, ...]:
    made = []
    for text in texts:
        name, options = options_of(text)
        if name not in STEPS:
            raise ArgumentError(f"step: expected one of {', '.join(STEPS)}, found {name!r}")
        made.append(STEPS[name].load()(**_checked_options(name, STEPS[name], options)))
    return tuple(made)


def options_of(text: str) -> tuple[str, dict[str, float]]:
    """A name and its options, written NAME or NAME:OPTION=NUMBER,OPTION=NUMBER.

    Raises
    ------
    ArgumentError
        If it is written otherwise.
    """
    name, _, listed = text.partition(":")
    options: dict[str, float] = {}
    for part in listed.split(",") if listed else ():
        key, _, value = part.partition("=")
        try:
            options[key] = float(value)
        except ValueError as error:
            raise ArgumentError(
                f"{name}: expected options as NAME=NUMBER,NAME=NUMBER, found {listed!r}"
            ) from error
    return name, options


def _require_of(name: str, method: Method, device: str, steps: int | None, samples: int) -> None:
    """Raise ArgumentError if a parameter is out of range, or would be ignored."""
    for what, value, lowest in (("steps", steps, 1), ("samples", samples, 1)):
        if value is not None and value < lowest:
            raise ArgumentError(f"{what}: expected {lowest} or more, found {value}")
    if not method.samples and (steps is not None or samples != 1):
        drawing = ", ".join(key for key, other in METHODS.items() if other.samples) or "none here"
        raise ArgumentError(
            f"{name}: expected no steps or samples, found some; methods that draw are: {drawing}"
        )
    if not method.learned and device != "cpu":
        raise ArgumentError(f"{name}: expected device cpu, found {device}; it has no network")


def _checked_options(
    name: str, method: Method, options: Mapping[str, float]
) -> dict[str, int | float]:
    """The options as the class takes them, by names with underscores."""
    found: dict[str, int | float] = {}
    for key, value in options.items():
        option = method.options.get(key)
        if option is None:
            known = ", ".join(method.options) or "none"
            raise ArgumentError(f"{name}: expected one of the options {known}, found {key!r}")
        if not option.lowest <= value <= option.highest or (option.kind is int and value % 1):
            kind = "a whole number" if option.kind is int else "a number"
            raise ArgumentError(
                f"{name}: {key}: expected {kind} from {option.lowest:g} to {option.highest:g}, "
                f"found {value:g}"
            )
        found[_KEYWORDS.get(key, key.replace("-", "_"))] = option.kind(value)
    return found
