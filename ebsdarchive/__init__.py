"""Archive format and tool for electron backscatter diffraction (EBSD) scans.

The verbs below are the library's surface; each is loaded when it is first used, so that importing
this package costs nothing. Every command of the same name is a thin wrapper of its verb.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "add_model": "ebsdarchive.verbs.modelling",
    "annotate": "ebsdarchive.verbs.annotating",
    "attach": "ebsdarchive.verbs.attaching",
    "boundaries": "ebsdarchive.verbs.segmenting",
    "compare": "ebsdarchive.verbs.comparing",
    "compress": "ebsdarchive.verbs.compressing",
    "compress_many": "ebsdarchive.verbs.compressing_many",
    "demo": "ebsdarchive.verbs.demonstration",
    "export": "ebsdarchive.verbs.exporting",
    "export_model": "ebsdarchive.verbs.modelling",
    "export_many": "ebsdarchive.verbs.exporting_many",
    "extract": "ebsdarchive.verbs.sharing",
    "fit": "ebsdarchive.verbs.fitting",
    "fuse": "ebsdarchive.verbs.fusing",
    "fuse_boundaries": "ebsdarchive.verbs.fusing",
    "fuse_denoise": "ebsdarchive.verbs.fusing",
    "fuse_superres": "ebsdarchive.verbs.fusing",
    "fuse_train": "ebsdarchive.verbs.fuse_training",
    "formats": "ebsdarchive.verbs.listing",
    "index": "ebsdarchive.verbs.indexing",
    "info": "ebsdarchive.verbs.describing",
    "merge": "ebsdarchive.verbs.sharing",
    "models": "ebsdarchive.verbs.modelling",
    "open_archive": "ebsdarchive.archive.file",
    "open_scan": "ebsdarchive.exchange",
    "plot": "ebsdarchive.verbs.plotting",
    "profile": "ebsdarchive.verbs.profiling",
    "publish": "ebsdarchive.verbs.publishing",
    "query": "ebsdarchive.verbs.querying",
    "reference": "ebsdarchive.verbs.referencing",
    "remove_model": "ebsdarchive.verbs.modelling",
    "repack": "ebsdarchive.verbs.repacking",
    "restore": "ebsdarchive.verbs.restoring",
    "simulate": "ebsdarchive.verbs.simulating",
    "train": "ebsdarchive.verbs.training",
    "upgrade": "ebsdarchive.verbs.sharing",
    "validate": "ebsdarchive.verbs.checking",
    "verify": "ebsdarchive.verbs.checking",
}

__all__ = [*_VERBS, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_VERBS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
