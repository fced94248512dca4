from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from joblib import parallel_config

from analysis import study
from gradex.learners import evaluation, transitions


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    """Run studies in this process; a second one would take longer to start than it has to do.

    Tests of `GroundTruth` have some.
    """
    with parallel_config(backend="sequential"):
        yield


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], pd.DataFrame]:
    """Render a study at smoke scale in a folder of its own, and give its table.

    A simulator of Meta-World takes as long to make as a hundred of its steps: there are as few as there are
    folds, and none goes on for long after its episode has ended.
    """
    monkeypatch.setattr(transitions, "_COPIES", (4, 4))
    monkeypatch.setattr(evaluation, "_CHUNK", 16)

    def render(name: str) -> pd.DataFrame:
        monkeypatch.chdir(tmp_path)
        table = study.run(name, "smoke", 1, tmp_path / "figures", resume=False)
        assert set(table.seed) == {0}
        assert not study.load(name).summary(table).empty
        assert (tmp_path / "figures" / f"{name}.png").exists()
        return table.drop(columns="seconds")

    return render
