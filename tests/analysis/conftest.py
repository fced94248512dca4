from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from joblib import parallel_config

from analysis import study


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    """Run studies in this process; a second one would take longer to start than it has to do.

    Tests of `GroundTruth` have some.
    """
    with parallel_config(backend="sequential"):
        yield


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], pd.DataFrame]:
    """Render a study at smoke scale in a folder of its own, and give its table."""

    def render(name: str) -> pd.DataFrame:
        monkeypatch.chdir(tmp_path)
        table = study.run(name, "smoke", 1, tmp_path / "figures", resume=False)
        assert set(table.seed) == {0}
        assert not study.load(name).summary(table).empty
        assert (tmp_path / "figures" / f"{name}.png").exists()
        return table.drop(columns="seconds")

    return render
