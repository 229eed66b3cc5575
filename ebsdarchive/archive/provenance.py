"""Provenance: one W3C PROV activity per command, as PROV-JSON, written by the command itself."""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import h5py

from ebsdarchive.archive.nodes import attributes_of, container, new_node, plain, read_array

__all__ = ["Activity", "activities", "command_line", "record"]

_PACKAGES = (
    "h5py",
    "hdf5plugin",
    "numpy",
    "torch",
    "kikuchipy",
    "orix",
    "pyebsdindex",
    "scikit-image",
)
_NAMESPACE = "urn:ebsdarchive:1.0:"
_argv: ContextVar[list[str] | None] = ContextVar("argv", default=None)


@contextmanager
def command_line(argv: list[str]) -> Iterator[None]:
    """Let activities begun in this context record the command line they were asked by."""
    token = _argv.set(argv)
    try:
        yield
    finally:
        _argv.reset(token)


@dataclass
class Activity:
    """What one command did.

    Parameters
    ----------
    command
        The verb.
    parameters
        Its parameters, as plain JSON values.
    seed, device
        Where random numbers or an accelerator took part.
    used, generated
        {"path or name": sha256} of what it read and of the layers it made.
    """

    command: str
    parameters: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    device: str | None = None
    used: dict[str, str] = field(default_factory=dict)
    generated: dict[str, str] = field(default_factory=dict)
    identifier: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def prov_json(self) -> dict[str, Any]:
        """The activity as a PROV-JSON document (W3C member submission, 2013)."""
        from ebsdarchive import __version__

        activity = f"ea:{self.identifier}"
        agent = f"ea:ebsdarchive-{__version__}"
        entities: dict[str, Any] = {}
        relations: dict[str, dict[str, Any]] = {"used": {}, "wasGeneratedBy": {}}
        for relation, table in (("used", self.used), ("wasGeneratedBy", self.generated)):
            for name, digest in table.items():
                entity = f"ea:sha256-{digest}"
                entities.setdefault(entity, {"ea:sha256": digest, "prov:label": name})
                key = f"_:{relation}{len(relations[relation])}"
                relations[relation][key] = {
                    "prov:activity": activity,
                    "prov:entity": entity,
                    "prov:role": name,  # one content may go by several names
                }
        details: dict[str, Any] = {
            "prov:startTime": self.started.isoformat(),
            "prov:endTime": datetime.now(UTC).isoformat(),
            "prov:label": self.command,
            "ea:parameters": json.dumps(self.parameters, ensure_ascii=False, sort_keys=True),
            "ea:packages": json.dumps(_versions(), sort_keys=True),
            "ea:python": platform.python_version(),
            "ea:platform": f"{platform.system()} {platform.machine()}",
        }
        if _argv.get() is not None:
            details["ea:argv"] = json.dumps(_argv.get(), ensure_ascii=False)
        if self.seed is not None:
            details["ea:seed"] = self.seed
        if self.device is not None:
            details["ea:device"] = self.device
        document = {
            "prefix": {"ea": _NAMESPACE},
            "activity": {activity: details},
            "agent": {agent: {"prov:type": "prov:SoftwareAgent", "ea:version": __version__}},
            "entity": entities,
            "wasAssociatedWith": {"_:who0": {"prov:activity": activity, "prov:agent": agent}},
            **relations,
        }
        return {key: value for key, value in document.items() if value}


def record(archive: h5py.Group, activity: Activity) -> None:
    """Write an activity into the archive; a second call for the same one replaces the first."""
    group = container(archive, "provenance")
    if activity.identifier in group:
        del group[activity.identifier]
    attributes = {"command": activity.command, "started": activity.started.isoformat()}
    text = json.dumps(activity.prov_json(), ensure_ascii=False, indent=1)
    with new_node(group, activity.identifier, "activity", attributes, {"prov": text}):
        pass


def activities(archive: h5py.Group) -> list[dict[str, Any]]:
    """The PROV-JSON documents of all activities, oldest first."""
    nodes = sorted(archive["provenance"].values(), key=lambda node: attributes_of(node)["started"])
    return [json.loads(plain(read_array(node["prov"]))) for node in nodes]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
