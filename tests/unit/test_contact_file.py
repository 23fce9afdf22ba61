"""A CSV file of contacts, as spreadsheets and people write it."""

from __future__ import annotations

import pytest

from core.windows.contact_file import read_contact_file

HEADER = "name,phone,timezone"


def read(text: str | bytes):
    return read_contact_file(text if isinstance(text, bytes) else text.encode())


def faults(text: str | bytes) -> list[str]:
    return [str(fault) for fault in read(text).faults]


@pytest.mark.parametrize(
    "text",
    [
        "name,phone,timezone\nAda,+1,UTC\n",
        "\ufeffname,phone,timezone\r\nAda,+1,UTC\r\n",
        "name;phone;timezone\nAda;+1;UTC",
        "sep=;\r\nname;phone;timezone\r\nAda;+1;UTC\r\n",
        '"Name", "PHONE", timezone\n"Ada"," +1 ",UTC\n',
        "timezone,name,phone\nUTC,Ada,+1\n",
        "\n\nname,phone,timezone\n\n,,\nAda,+1,UTC\n,,\n",
        "name,phone,timezone,,\nAda,+1,UTC,,\n",
        "name,phone,timezone,plan\nAda,+1,UTC\n",
        "name,phone,timezone\rAda,+1,UTC\r",
    ],
    ids=["plain", "byte-order mark", "semicolons", "sep line", "quotes and blanks", "order", "blank lines", "blank columns", "short", "cr"],
)
def test_one_contact_however_it_is_written(text: str) -> None:
    found = read(text)
    assert found.faults == []
    (row,) = found.rows
    assert {column: cell for column, cell in row.cells.items() if cell} == {"name": "Ada", "phone": "+1", "timezone": "UTC"}


def test_a_cell_may_hold_the_delimiter_a_quotation_mark_and_a_formula() -> None:
    (row,) = read(f'{HEADER}\n"Lovelace, ""Ada""",=1+2,@SUM(A1)\n').rows
    assert (row.cells["name"], row.cells["phone"], row.cells["timezone"]) == ('Lovelace, "Ada"', "=1+2", "@SUM(A1)")


def test_rows_are_numbered_by_the_line_they_begin_on() -> None:
    found = read(f'{HEADER}\n"Ada\nLovelace",+1,UTC\n\nBob,+2,UTC\n')
    assert [row.line for row in found.rows] == [2, 5]


def test_rows_after_a_line_that_names_the_delimiter_keep_their_numbers() -> None:
    assert [row.line for row in read(f"sep=,\n{HEADER}\nAda,+1,UTC\n").rows] == [3]


@pytest.mark.parametrize(
    ("text", "line", "fragment"),
    [
        ("", 1, "lacks name, phone, timezone"),
        ("Ada,+1,UTC\n", 1, "no column is called 'ada'"),
        ("name,phone\nAda,+1\n", 1, "lacks timezone"),
        ("name,phone,time zone\n", 1, "did you mean timezone?"),
        ("name,phone,timezone,phone\n", 1, "column phone is there twice"),
        (f"{HEADER}\n", 1, "no contact follows"),
        (f"{HEADER}\nAda,+1,UTC\nLovelace, Ada,+2,UTC\n", 3, "has 4 cells, and the header has 3"),
        (f'{HEADER}\nAda,+1,UTC\n"Bob,+2,UTC\nCyd,+3,UTC\n', 3, "quotation mark"),
        (f"{HEADER}\nJosé,+1,UTC\n".encode("latin-1"), 2, "byte 0xE9"),
        (f"{HEADER}\nAda,+1,UTC\n".encode("utf-16"), 1, "UTF-16"),
    ],
)
def test_what_is_wrong_with_the_form_is_said_with_its_line(text: str | bytes, line: int, fragment: str) -> None:
    found = faults(text)
    assert any(fault.startswith(f"line {line}: ") and fragment in fault for fault in found), found


def test_all_faults_of_the_header_are_said_at_once() -> None:
    assert len(faults("nam,phone,phone\nAda,+1,+1\n")) == 3


def test_a_faulty_row_does_not_hide_the_others() -> None:
    found = read(f"{HEADER}\na,b,c,d\nAda,+1,UTC\ne,f,g,h\n")
    assert [fault.line for fault in found.faults] == [2, 4]
    assert [row.line for row in found.rows] == [3]
