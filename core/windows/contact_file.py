"""A CSV file of contacts, as people and spreadsheets write it: rows by column name, and the line of each."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

REQUIRED = ("name", "phone", "timezone")
COLUMNS = (*REQUIRED, "pronunciation", "plan", "days", "start", "end")
DELIMITERS = (",", ";")
# 100,000 contacts are 10 MB.
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in one place of the file. Lines count from 1, the header's included."""

    line: int
    column: str | None
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Row:
    """One contact's cells by column, stripped; missing ones are empty. `line` is where it begins."""

    line: int
    cells: dict[str, str]


@dataclass(slots=True)
class ContactFile:
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_contact_file(raw: bytes) -> ContactFile:
    """Every readable row, and every fault of form. UTF-8 with or without a byte-order mark; `,` or `;` between the cells."""
    found = ContactFile()
    text = _decoded(raw, found)
    if text is None:
        return found
    records = _records(text, found)
    header_line, header = next(((line, cells) for line, cells in records if any(cells)), (1, []))
    columns = _columns(header_line, header, found)
    if columns is None:
        return found
    for line, cells in records:
        if not any(cells):
            continue
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            found.faults.append(
                Fault(line, None, f"has {len(cells)} cells, and the header has {len(columns)}; put a cell that holds a delimiter in quotes")
            )
            continue
        row = dict.fromkeys(COLUMNS, "")
        row.update(zip(columns, cells, strict=False))
        found.rows.append(Row(line, row))
    if not found.rows and not found.faults:
        found.faults.append(Fault(header_line, None, "is the header, and no contact follows it"))
    return found


def _decoded(raw: bytes, found: ContactFile) -> str | None:
    if len(raw) > MAX_BYTES:
        found.faults.append(Fault(1, None, f"the file has more than {MAX_BYTES // 1024 // 1024} MB; import it in parts"))
        return None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        found.faults.append(Fault(1, None, "the file is UTF-16; save it as 'CSV UTF-8'"))
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found.faults.append(Fault(line, None, f"is not UTF-8 (byte 0x{raw[error.start]:02X}); save the file as 'CSV UTF-8'"))
        return None


def _records(text: str, found: ContactFile) -> Iterator[tuple[int, list[str]]]:
    """Line and stripped cells of each record."""
    skipped = 0
    first, _, rest = text.partition("\n")
    if first.strip().lower() in {f"sep={delimiter}" for delimiter in DELIMITERS}:
        # Excel's way of naming the delimiter.
        text, skipped = rest, 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1 + skipped
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows cannot be trusted to be cells: a quotation mark may have swallowed lines.
            found.faults.append(Fault(line, None, f"is not CSV ({error}); is a quotation mark left open? Nothing after it was read"))
            return
        yield line, [cell.strip() for cell in cells]


def _delimiter(text: str) -> str:
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(DELIMITERS, key=lambda each: sum(cell.strip(' "').lower() in COLUMNS for cell in header.split(each)))


def _columns(line: int, header: list[str], found: ContactFile) -> list[str] | None:
    columns = [cell.lower() for cell in header]
    while columns and not columns[-1]:
        columns.pop()
    known = ", ".join(COLUMNS)
    faults = []
    for column in columns:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column, COLUMNS, n=1)
            hint = f"did you mean {near[0]}?" if near else "take it out, or rename it"
            faults.append(Fault(line, None, f"no column is called {column[:40]!r}; {hint} Columns: {known}"))
    faults += [Fault(line, None, f"column {column} is there twice") for column in COLUMNS if columns.count(column) > 1]
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        faults.append(
            Fault(line, None, f"the header lacks {', '.join(missing)}; the first line names the columns, such as name,phone,timezone")
        )
    found.faults += faults
    return None if faults else columns
