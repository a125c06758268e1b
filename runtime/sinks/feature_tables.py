"""GeoPackage 1.3 (OGC 12-128r17) by the standard library's sqlite3: tables with and without polygons, QGIS styles.

The file holds no clock; the same tables give the same bytes with the same version of SQLite, whose number SQLite writes
into every file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from lsd.runtime.commit import write_bytes
from lsd.runtime.errors import OutputError
from lsd.runtime.sinks.records import Kind, moment, readable
from lsd.runtime.sinks.wkb import geopackage_polygons

APPLICATION_ID = 0x47504B47  # "GPKG": GeoPackage 1.3, requirement 2
USER_VERSION = 10300
_UNKNOWN_SRS_ID = 100_000  # of a CRS without EPSG code: any number that EPSG does not use
_SQL_TYPES: dict[Kind, str] = {
    "text": "TEXT",
    "integer": "INTEGER",
    "real": "REAL",
    "boolean": "BOOLEAN",
    "time": "DATETIME",
    "list": "TEXT",
}
# no journal: a file that was not finished is thrown away; forced to disk once, at the end
_PRAGMAS = f"""
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {USER_VERSION};
"""
# GeoPackage 1.3, annex C: tables 20, 21 and 23
_SCHEMA = """
CREATE TABLE gpkg_spatial_ref_sys (
  srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (
  table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
  last_change DATETIME NOT NULL, min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (
  table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL,
  z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
  CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
"""
# the columns that QGIS looks for, see its manual, Saving styles in a GeoPackage
_STYLES = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
  f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT,
  owner TEXT(30), ui TEXT(30), update_time DATETIME);
"""


@dataclass(frozen=True)
class Table:
    """One table: `fields` names and types the keys of each record.

    rings: blocks of float64 (n, corner, 2), in all one closed ring a record in the CRS of the file; None for a table
    without geometry. style: QGIS layer style as QML, None for none.
    """

    name: str
    description: str
    fields: Mapping[str, Kind]
    records: Iterable[Mapping[str, Any]]
    rings: Iterable[NDArray[np.float64]] | None = None
    style: str | None = None


def write_tables(path: Path, tables: Sequence[Table], crs: CRS, last_change: str) -> None:
    """Write a GeoPackage, little by little: memory does not grow with the tables.

    Args:
        path: replaced if it is there.
        crs: of all rings.
        last_change: ISO 8601 time in UTC that stands in the file instead of the clock.
    Raises:
        OutputError: the file cannot be written; what is there now may be short.
    """
    write_bytes(path, b"")  # a missing folder or permission has its own message here
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.executescript(_PRAGMAS)
            database.execute("BEGIN")
            _put_all(database, tables, crs, _time(last_change))
            database.execute("COMMIT")
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    except (sqlite3.OperationalError, OSError) as error:
        # SQLite does not tell errno: a file a little longer than the one it could not lengthen meets the same end
        write_bytes(path, bytes(path.stat().st_size + 2**20))
        raise OutputError(f"cannot write {path}: {error}; check the disk or choose another folder with -o") from error


def _put_all(database: sqlite3.Connection, tables: Sequence[Table], crs: CRS, change: str) -> None:
    for statement in _SCHEMA.split(";"):
        database.execute(statement)
    srs_id = _put_systems(database, crs)
    for table in tables:
        _put_table(database, table, srs_id, change)
    _put_styles(database, [table for table in tables if table.style is not None], change)


def _put_systems(database: sqlite3.Connection, crs: CRS) -> int:
    """Fill in the reference systems; returns the number of `crs`."""
    epsg = crs.to_epsg(confidence_threshold=100)
    srs_id = epsg or _UNKNOWN_SRS_ID
    systems = {
        -1: ("undefined Cartesian", "NONE", "undefined"),
        0: ("undefined geographic", "NONE", "undefined"),
        4326: ("WGS 84", "EPSG", CRS.from_epsg(4326).to_wkt()),
    }
    systems.setdefault(
        srs_id, (crs.to_string() if epsg else "CRS of the tile", "EPSG" if epsg else "NONE", crs.to_wkt())
    )
    database.executemany(
        "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, NULL)",
        [(name, number, authority, number, wkt) for number, (name, authority, wkt) in systems.items()],
    )
    return int(srs_id)


def _put_table(database: sqlite3.Connection, table: Table, srs_id: int, change: str) -> None:
    columns = [f'"{name}" {_SQL_TYPES[kind]}' for name, kind in table.fields.items()]
    rows = _rows(table)
    if table.rings is None:
        _create(database, table.name, columns, rows)
        _put_content(database, table, "attributes", change)
        return
    extent = _Extent()
    blobs = (blob for rings in table.rings for blob in geopackage_polygons(extent.over(rings), srs_id))
    shaped = ([blob, *row] for blob, row in zip(blobs, rows, strict=True))
    _create(database, table.name, ["geom POLYGON NOT NULL", *columns], shaped)
    _put_content(database, table, "features", change, (*extent.box(), srs_id))
    database.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'POLYGON', ?, 0, 0)", (table.name, srs_id))


def _create(database: sqlite3.Connection, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    database.execute(f'CREATE TABLE "{name}" (fid INTEGER PRIMARY KEY NOT NULL, {", ".join(columns)})')
    database.executemany(f'INSERT INTO "{name}" VALUES (NULL, {", ".join("?" * len(columns))})', rows)


def _put_content(
    database: sqlite3.Connection,
    table: Table,
    data_type: str,
    change: str,
    place: Sequence[float | None] = (None, None, None, None, None),
) -> None:
    row = table.name, data_type, table.name, table.description, change, *place
    database.execute("INSERT INTO gpkg_contents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


class _Extent:
    """Box around rings that pass by."""

    def __init__(self) -> None:
        self._corners: NDArray[np.float64] | None = None  # (2, 2): least and largest x, y

    def over(self, rings: NDArray[np.float64]) -> NDArray[np.float64]:
        """Widen the box by rings (n, corner, 2) and hand them on."""
        if len(rings):
            found = np.stack([rings.min(axis=(0, 1)), rings.max(axis=(0, 1))])
            known = found if self._corners is None else self._corners
            self._corners = np.stack([np.minimum(found[0], known[0]), np.maximum(found[1], known[1])])
        return rings

    def box(self) -> list[float] | list[None]:
        """Least x and y, largest x and y; None each where no ring passed."""
        return [None] * 4 if self._corners is None else self._corners.reshape(4).tolist()


def _rows(table: Table) -> Iterator[list[Any]]:
    """The records as SQLite takes them."""
    told = [(place, _STORED[kind]) for place, kind in enumerate(table.fields.values()) if kind in _STORED]
    for record in table.records:
        row = [record[name] for name in table.fields]
        for place, stored in told:
            if row[place] is not None:
                row[place] = stored(row[place])
        yield row


def _time(iso: str) -> str:
    """GeoPackage 1.3, table 1: a DATETIME has three decimals of a second."""
    return moment(iso).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# what becomes of the values of a kind, where they are not stored as they are
_STORED: dict[Kind, Callable[[Any], Any]] = {
    "text": readable,
    "list": lambda texts: readable("; ".join(texts)),
    "time": _time,
}


def _put_styles(database: sqlite3.Connection, tables: Sequence[Table], change: str) -> None:
    styles = Table("layer_styles", "QGIS layer styles, applied when the layers are opened", {}, ())
    database.execute(_STYLES)
    _put_content(database, styles, "attributes", change)
    database.executemany(
        "INSERT INTO layer_styles VALUES (NULL, '', '', ?, 'geom', ?, ?, '', 1, ?, '', NULL, ?)",
        [(table.name, table.name, table.style, table.description, change) for table in tables],
    )
