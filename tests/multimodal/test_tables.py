"""Tables of CSV and Parquet: rows grouped by video, places counted in lines, a bad row the problem of its video alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.store import InputError
from multimodal.tables import read_table

HEADER = "video,start,text\n"


def rows(path: Path, content: str | bytes, **options) -> dict[str, tuple]:
    """Values and places by label, or the problem."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_table(path, None, None, **options)
    videos = {v.label: v.problem or (v.values, v.places) for v in table.videos}
    assert table.count == len(videos)
    return videos


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_places_are_lines_of_the_file(tmp_path, end):
    content = HEADER + 'a,0,one\n\nb,1,"two ""2""\nlines"\n , , \na,3,three\n,,\nb,4,four'
    if end != "\n":
        content = content.replace("\n", end)
    found = rows(tmp_path / "t.csv", content.replace(" , , ", ""))
    inner = 1 if end != "\r" else 0  # a lone return inside a cell is no line to most editors
    assert found == {
        "a": (["one", "three"], ["line 2", f"line {6 + inner}"]),
        "b": ([f'two "2"{end}lines', "four"], ["line 4", f"line {8 + inner}"]),
    }


def test_a_row_with_other_cells_costs_its_video_alone(tmp_path):
    found = rows(tmp_path / "t.csv", HEADER + 'a,0,"x\ny"\nb,1,one, two\na,2,z\nc,3\n')
    assert found["a"] == (["x\ny", "z"], ["line 2", "line 5"])
    assert found["b"].startswith("line 4: 4 cells") and found["c"].startswith("line 6: 2 cells")


def test_quotes_out_of_pairs_refuse_the_table_with_their_line(tmp_path):
    """Taken as they are, they would join all lines up to the next quote to one cell."""
    for line in ('a,1,"open', 'a,1,"x"y', 'a,1,"open\nb,2,"x"'):
        with pytest.raises(InputError, match="^line 3: .*quotes"):
            rows(tmp_path / "t.csv", f'{HEADER}a,0,"fine ""quoted"", with a comma"\n{line}\nc,3,x\n')
    assert rows(tmp_path / "t.csv", HEADER + 'a,0,5" pan\n')["a"][0] == ['5" pan']


def test_a_formula_or_code_in_a_cell_is_text(tmp_path):
    cells = ["=1+1", "__import__('os').system('x')", "NULL", "nan", "", "1e5"]
    found = rows(tmp_path / "t.csv", HEADER + "".join(f'a,{n},"{cell}"\n' for n, cell in enumerate(cells)))
    assert found["a"][0] == cells


def test_ends_may_be_missing_and_starts_may_not(tmp_path):
    (tmp_path / "t.csv").write_text("video,start,end,text\na,0,,x\na,1,2,y\nb,,1,z\n")
    a, b = read_table(tmp_path / "t.csv", None, None).videos
    assert (a.starts, a.ends, b.values) == ([0.0, 1.0], [None, 2.0], []) and "line 4: start ''" in b.problem
    pq.write_table(
        pa.table({"start": [0.0, 1.0], "end": [None, 2.0], "text": ["x", "y"]}), tmp_path / "t.parquet"
    )
    (one,) = read_table(tmp_path / "t.parquet", None, None).videos
    assert (one.label, one.starts, one.ends) == ("", [0.0, 1.0], [None, 2.0])


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1),
        ),
        min_size=1,
    )
)
def test_any_text_comes_back(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    body = "".join('{},{},"{}"\n'.format(v, n, text.replace('"', '""')) for n, (v, text) in enumerate(cells))
    found = rows(path, HEADER + body)
    assert {v: found[v][0] for v in found} == {
        v: [t for w, t in cells if w == v] for v in dict.fromkeys(w for w, _ in cells)
    }
