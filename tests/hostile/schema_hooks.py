"""What Schemathesis sends where a zip is expected: none, some of nothing much, and a data set.

Named in the configuration that ``tests.hostile.schema`` writes; the process imports it by itself.
"""

import io
import zipfile

import schemathesis
from hypothesis import strategies as st

from tests.trees import Tree, tiny


def _zipped(tree: Tree) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in tree.items():
            # Not the name itself: of one that begins with NUL nothing is left, which zipfile writes
            # only so.
            archive.writestr(zipfile.ZipInfo(name), data)
    return sink.getvalue()


_trees = st.dictionaries(st.text(min_size=1, max_size=8), st.binary(max_size=20), max_size=3)

schemathesis.openapi.media_type(
    "application/zip",
    st.one_of(
        st.just(_zipped(tiny())),
        st.binary(max_size=200),
        _trees.map(_zipped),
        _trees.map(lambda tree: _zipped(tree | {"manifest.json": b"{}"})),
    ),
)
