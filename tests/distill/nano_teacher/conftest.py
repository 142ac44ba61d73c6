from __future__ import annotations

import pytest

from tests.distill.nano_teacher.made import Pieces, pieces


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    return pieces(tmp_path_factory.mktemp("nano_teacher"))
