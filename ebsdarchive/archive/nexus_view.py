"""The view `/entry` for NeXus programs: NXem with NXem_ebsd, as far as anything is known.

What NXem requires and neither source nor metadata say is left out rather than made up, so that a
validator reports it. Positions and words follow the NeXus definitions of January 2026.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.metadata import read_metadata
from ebsdarchive.archive.nodes import attributes_of, write_dataset
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Phase, Scan

__all__ = ["write_nexus"]

_DEFINITIONS = "v2026.01"
_EVENT = "/entry/measurement/event1"


@dataclass(frozen=True)
class _Field:
    """A dataset with attributes; of a value that is None nothing is written."""

    value: Any
    attributes: dict[str, str] = field(default_factory=dict)


class _Group(dict[str, Any]):
    """A NeXus group of a class; without members it is not written."""

    def __init__(self, nx_class: str, **members: Any) -> None:
        super().__init__(members)
        self.nx_class = nx_class


class _CertainGroup(_Group):
    """A group that is there even where nothing is known of it."""


def write_nexus(file: h5py.File, scan: Scan) -> None:
    """Write `/entry`, with the map of mean intensity as its default plot.

    References
    ----------
    NeXus definitions: NXem, NXem_ebsd, NXdata; fairmat-nfdi.github.io/nexus_definitions.
    """
    entry = file.create_group("entry")
    entry.attrs["NX_class"] = "NXentry"
    entry.attrs["default"] = "mean_intensity"
    archive = file["archive"]
    said = read_metadata(archive)
    source = attributes_of(archive["source"])
    for name, member in _entry(said, source, scan).items():
        _write(entry, name, member)
    _write_plot(entry, archive["maps/mean_intensity"], scan.grid)


def _entry(said: dict[str, Any], source: dict[str, Any], scan: Scan) -> dict[str, Any]:
    from ebsdarchive import __version__

    dates = said.get("dates", {})
    program = _Field("ebsdarchive", {"version": __version__})
    members: dict[str, Any] = {
        "definition": _Field("NXem", {"version": _DEFINITIONS}),
        "title": said.get("title", "EBSD scan"),
        "experiment_description": said.get("description"),
        "start_time": dates.get("measurement_start"),
        "end_time": dates.get("measurement_end"),
        "profiling": _Group("NXcs_profiling", program1=_Group("NXprogram", program=program)),
        "project": _Group("NXproject", name=said.get("project")),
        "sample1": _sample(said.get("sample", {}), source),
        "measurement": _measurement(said, scan, simulated=source["format"] == "simulated"),
        "roi1": _Group("NXroi_process", ebsd=_ebsd(source, scan)),
    }
    if scan.orientations is not None:
        members["consistent_rotations"] = _rotations()
    members["note1"] = _source_file(source)
    papers = [one["identifier"] for one in said.get("related", []) if one["type"] == "DOI"]
    for number, doi in enumerate(papers, start=1):
        members[f"cite{number}"] = _Group("NXcite", doi=doi)
    for number, person in enumerate(said.get("people", []), start=1):
        orcid = _Field(person.get("orcid"), {"type": "ORCID"})
        kept = {key: person.get(key) for key in ("name", "affiliation", "email", "role")}
        members[f"user{number}"] = _Group("NXuser", identifier_orcid=orcid, **kept)
    return members


def _source_file(source: dict[str, Any]) -> _Group | None:
    if "file_sha256" not in source:
        return None
    return _Group(
        "NXnote",
        type=source["format"],
        file_name=source["file_name"],
        checksum=source["file_sha256"],
        algorithm="SHA256",
    )


def _sample(sample: dict[str, Any], source: dict[str, Any]) -> _Group:
    simulated = True if source["format"] == "simulated" else None
    about = [sample[key] for key in ("material", "composition", "preparation") if key in sample]
    identifiers = {
        f"identifier_{name}": _Field(sample.get(key), {"type": "other"})
        for name, key in (("sample", "identifier"), ("parent", "parent"))
    }
    return _Group(
        "NXsample",
        is_simulation=sample.get("is_simulation", simulated),
        physical_form=sample.get("physical_form"),
        preparation_date=sample.get("preparation_date"),
        name=sample.get("name"),
        atom_types=", ".join(sample.get("atom_types", [])) or None,
        description="; ".join(about) or None,
        **identifiers,
    )


def _measurement(said: dict[str, Any], scan: Scan, simulated: bool) -> _Group:
    """Instrument, and its settings in the one event there is: the scan."""
    instrument, dates = said.get("instrument", {}), said.get("dates", {})
    microscope, detector = scan.microscope, scan.detector
    camera = instrument.get("detector", {})
    pixels = {
        f"{axis}_pixel_size": _Field(detector.pixel_size_um, {"units": "um"}) for axis in "xy"
    }
    energy = microscope.beam_energy_kev
    event = _Group(
        "NXem_event_data",
        start_time=dates.get("measurement_start"),
        end_time=dates.get("measurement_end"),
        identifier_sample=said.get("sample", {}).get("identifier"),
        instrument=_Group(
            "NXem_instrument",
            ebeam_column=_Group(
                "NXebeam_column",
                # electrons of energy E keV have passed E kV
                electron_source=_Group("NXsource", voltage=_Field(energy, {"units": "kV"})),
            ),
            optics=_Group(
                "NXem_optical_system",
                magnification=microscope.magnification,
                working_distance=_Field(microscope.working_distance_mm, {"units": "mm"}),
            ),
            stage1=_Group(
                "NXmanipulator", tilt1=_Field(detector.sample_tilt_deg, {"units": "deg"})
            ),
        ),
    )
    named = {
        "name": instrument.get("name") or microscope.name,
        "location": instrument.get("location"),
        "fabrication": _Group("NXfabrication", **instrument.get("microscope", {})),
        # an electron microscope has one, whatever else is known of it
        "ebeam_column": None if simulated else _CertainGroup("NXebeam_column"),
        "detector1": _Group(
            "NXdetector",
            name=" ".join(camera[k] for k in ("vendor", "model") if k in camera) or None,
            fabrication=_Group("NXfabrication", **camera),
            **pixels,
        ),
    }
    return _Group("NXem_measurement", instrument=_Group("NXem_instrument", **named), event1=event)


def _ebsd(source: dict[str, Any], scan: Scan) -> _Group:
    ebsd = _Group("NXem_ebsd")
    file = _source_file(source)
    if file is not None and source["format"] != "simulated":
        ebsd["measurement"] = _Group("NXprocess", depends_on=_EVENT, source=file)
    if scan.detector.pc_bruker is not None:
        # Bruker's convention, which the archive keeps projection centres in
        ebsd["pattern_center"] = _Group(
            "NXprocess",
            x_boundary_convention="left",
            x_normalization_direction="east",
            y_boundary_convention="top",
            y_normalization_direction="south",
        )
    if scan.orientations is not None:
        phase_id = scan.orientations.phase_id
        indexed = int(np.count_nonzero(phase_id >= 0))
        phases = {
            f"phase{number}": _phase(phase, int(np.count_nonzero(phase_id == phase.phase_id)))
            for number, phase in enumerate(scan.phases, start=1)
        }
        ebsd["indexing"] = _Group(
            "NXprocess",
            number_of_scan_points=np.uint64(phase_id.size),
            indexing_rate=indexed / phase_id.size,
            **phases,
        )
    return ebsd


def _phase(phase: Phase, points: int) -> _Group:
    cell = _Group("NXunit_cell")
    if phase.lattice is not None:
        units = ["angstrom"] * 3 + ["deg"] * 3
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        for name, value, unit in zip(names, phase.lattice, units, strict=True):
            cell[name] = _Field(value, {"units": unit})
    if phase.space_group is not None:
        cell["space_group"] = str(phase.space_group)
    return _Group(
        "NXphase", name=phase.name, number_of_scan_points=np.uint64(points), unit_cell=cell
    )


def _rotations() -> _Group:
    """What orix, whose quaternions the archive keeps, takes rotations for."""
    return _Group(
        "NXparameters",
        rotation_handedness="counter_clockwise",
        rotation_convention="passive",
        euler_angle_convention="zxz",
        axis_angle_convention="rotation_angle_on_interval_zero_to_pi",
        sign_convention="p_plus_one",
    )


def _write(parent: h5py.Group, name: str, member: Any) -> None:
    """Write a group, a field or a plain value; nothing for what is not known."""
    if isinstance(member, _Group):
        if not _holds(member):
            return
        group = parent.create_group(name)
        group.attrs["NX_class"] = member.nx_class
        for key, value in member.items():
            _write(group, key, value)
        return
    content = member if isinstance(member, _Field) else _Field(member)
    if content.value is None:
        return
    if isinstance(content.value, str):
        parent.create_dataset(name, data=content.value)  # of variable length, as NeXus programs do
    else:
        write_dataset(parent, name, content.value)
    parent[name].attrs.update(content.attributes)


def _holds(member: Any) -> bool:
    if isinstance(member, _Group):
        certain = isinstance(member, _CertainGroup)
        return certain or any(_holds(value) for value in member.values())
    return (member.value if isinstance(member, _Field) else member) is not None


def _write_plot(entry: h5py.Group, source: h5py.Group, grid: Grid) -> None:
    plot = entry.create_group("mean_intensity")
    plot.attrs["NX_class"] = "NXdata"
    plot.attrs["signal"] = "data"
    plot.attrs["axes"] = ["axis_y", "axis_x"]
    plot.attrs["axis_y_indices"] = 0
    plot.attrs["axis_x_indices"] = 1
    plot["data"] = source["data"]
    for axis, count, step in (
        ("x", grid.n_columns, grid.step_x_um),
        ("y", grid.n_rows, grid.step_y_um),
    ):
        plot.create_dataset(f"axis_{axis}", data=np.arange(count) * (step or 1.0))
        plot[f"axis_{axis}"].attrs["units"] = "um" if step else "step"
        plot[f"axis_{axis}"].attrs["long_name"] = f"{axis} (µm)" if step else f"{axis} (steps)"
    write_dataset(plot, "title", "Mean intensity of each pattern")
